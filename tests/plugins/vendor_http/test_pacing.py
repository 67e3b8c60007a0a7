"""The pacer: requests are spaced, and the next window is waited for before the vendor has to refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vendor_http.pacing import MAX_WAIT_SECONDS, Pacer


class Account:
    """An account with fixed windows of a second and of a minute, on a clock that only sleeping moves."""

    def __init__(self, per_second: int = 75, per_minute: int = 700, took: float = 0.0) -> None:
        self.now, self.took = 1000.0, took
        self.limits = {1: per_second, 60: per_minute}
        self.counts: dict[tuple[int, int], int] = {}
        self.refused = 0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def pacer(self) -> Pacer:
        return Pacer(self.limits[1], self.limits[60], sleep=self.sleep, clock=lambda: self.now)

    def ask(self) -> dict[str, str]:
        """Count one request; the headers of its answer."""
        self.now += self.took
        windows = [(length, int(self.now // length)) for length in self.limits]
        if any(self.counts.get(window, 0) >= self.limits[window[0]] for window in windows):
            self.refused += 1
            return {"Retry-After": "1"}
        for window in windows:
            self.counts[window] = self.counts.get(window, 0) + 1
        left = self.limits[60] - self.counts[windows[1]]
        reset = 60 - int(self.now % 60)
        return {
            "RateLimit-Limit": f"{self.limits[60]}",
            "RateLimit-Remaining": f"{left}",
            "RateLimit-Reset": f"{reset}",
        }


def full_minutes(account: Account) -> list[int]:
    minutes = sorted((window, count) for (length, window), count in account.counts.items() if length == 60)
    return [count for _, count in minutes[1:-1]]


@pytest.mark.parametrize("took", [0.0, 0.02, 0.07])
@pytest.mark.parametrize("workers", [1, 2])
def test_nearly_all_that_is_allowed_is_used_and_nothing_is_refused(workers: int, took: float) -> None:
    account = Account(took=took / workers)
    pacers = [account.pacer() for _ in range(workers)]
    headers: list[dict[str, str]] = [{}] * workers
    while account.now < 1000 + 6 * 60:
        for number, pacer in enumerate(pacers):
            pacer.before()
            headers[number] = account.ask()
        for number, pacer in enumerate(pacers):  # the answers come after all have asked
            pacer.after(headers[number])
    assert account.refused == 0
    assert min(full_minutes(account)) >= 0.95 * 700


@pytest.mark.parametrize(("per_second", "per_minute"), [(1, 15), (10, 150)])
def test_small_limits_are_kept_too(per_second: int, per_minute: int) -> None:
    account = Account(per_second, per_minute)
    pacer = account.pacer()
    while account.now < 1000 + 4 * 60:
        pacer.before()
        pacer.after(account.ask())
    assert account.refused == 0
    assert min(full_minutes(account)) >= 0.95 * per_minute


def test_headers_come_in_any_case_and_may_list_more_limits() -> None:
    account = Account()
    pacer = account.pacer()
    pacer.after({"ratelimit-limit": "700, 75;w=1, 700;w=60", "RATELIMIT-REMAINING": "7", "ratelimit-reset": "31"})
    pacer.before()
    assert account.now == pytest.approx(1031)


def test_a_window_that_has_just_ended_is_waited_out_for_a_moment() -> None:
    account = Account()
    pacer = account.pacer()
    pacer.after({"RateLimit-Remaining": "0", "RateLimit-Reset": "0"})
    pacer.before()
    assert account.now == pytest.approx(1000.5)


@given(st.dictionaries(st.sampled_from(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]), st.text()))
def test_unreadable_headers_stop_nobody(headers: dict[str, str]) -> None:
    account = Account()
    pacer = account.pacer()
    pacer.after(headers)
    pacer.before()
    assert account.now <= 1000 + MAX_WAIT_SECONDS


def test_a_reset_in_a_year_is_a_mistake_of_theirs() -> None:
    account = Account()
    pacer = account.pacer()
    pacer.after({"RateLimit-Remaining": "0", "RateLimit-Reset": "31536000"})
    pacer.before()
    assert account.now == 1000 + MAX_WAIT_SECONDS


def test_without_headers_requests_are_spaced() -> None:
    account = Account(per_second=10)
    pacer = account.pacer()
    for _ in range(10):
        pacer.before()
        pacer.after({})
    assert account.now == pytest.approx(1000 + 9 / 4.5)
