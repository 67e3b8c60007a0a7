"""The retry loop: only what is transient, few attempts, the vendor's pause honoured up to a cap."""

import pytest

from vendor_http.errors import PermanentError, RateLimited, TransientError, Unreachable, VendorError
from vendor_http.retry import Retry


class Script:
    """Fails as told, then succeeds; keeps the pauses."""

    def __init__(self, *failures: VendorError) -> None:
        self.failures = list(failures)
        self.numbers: list[int] = []
        self.pauses: list[float] = []

    def __call__(self, number: int) -> str:
        self.numbers.append(number)
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    def run(self, **options: float) -> str:
        return Retry(sleep=self.pauses.append, jitter=lambda: 1.0, **options).run("test", self)  # type: ignore[arg-type]


def test_success_needs_one_attempt() -> None:
    script = Script()
    assert script.run() == "done"
    assert script.numbers == [1]
    assert script.pauses == []


def test_transient_failures_are_tried_again_with_growing_pauses() -> None:
    script = Script(Unreachable("a"), Unreachable("b"), Unreachable("c"))
    assert script.run() == "done"
    assert script.numbers == [1, 2, 3, 4]
    assert script.pauses == [2, 4, 8]


def test_the_last_failure_is_raised() -> None:
    script = Script(*(Unreachable(str(number)) for number in range(9)))
    with pytest.raises(Unreachable, match="3"):
        script.run()
    assert script.numbers == [1, 2, 3, 4]


def test_permanent_failures_are_not_tried_again() -> None:
    script = Script(PermanentError("no"))
    with pytest.raises(PermanentError):
        script.run()
    assert script.numbers == [1]


def test_the_vendors_pause_is_kept() -> None:
    script = Script(RateLimited("slow down", retry_after=30))
    assert script.run() == "done"
    assert script.pauses == [30]


def test_a_pause_beyond_the_cap_is_left_to_airflow() -> None:
    script = Script(RateLimited("come back tomorrow", retry_after=3600))
    with pytest.raises(RateLimited):
        script.run()
    assert script.pauses == []


def test_pauses_are_jittered_and_capped() -> None:
    assert Retry(jitter=lambda: 0.0)._pause(1, TransientError("x")) == 1
    assert Retry(jitter=lambda: 1.0)._pause(20, TransientError("x")) == 60
