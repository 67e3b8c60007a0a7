"""The guard lets good lists pass, holds odd ones and refuses dangerous ones, and says how to go on."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.audience import user_sets
from include.audience.guard import NotPassed, Verdict, judge, mask, require_passed
from include.publishers.models import Guard
from include.staging import read_json, write_json

NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
LIVE = [f"customer-{number:05d}" for number in range(1000)]


@pytest.fixture
def judged(tmp_path: Path, built: Any) -> Any:
    """Judge a list against the thousand customers."""

    def run(ids: Iterable[Any], thresholds: dict[str, Any] | None = None, **staged: Any) -> Verdict:
        live = user_sets.live(tmp_path, "shop") or user_sets.accept(
            tmp_path, "shop", built("live", LIVE), sent_at=NOON, accepted_at=NOON, answer={}
        )
        return judge(built("new", ids, **staged), live, Guard(**(thresholds or {})))

    return run


def fresh(count: int) -> list[str]:
    return [f"customer-{number:05d}" for number in range(50_000, 50_000 + count)]


@pytest.mark.parametrize(
    ("ids", "verdict", "part_of_reason"),
    [
        (LIVE, "pass", None),
        (LIVE[:900], "pass", None),
        (LIVE[:899], "hold", "shrunk, 1,000 → 899 users: 10.1 %, more than guard.hold_shrink_percent = 10"),
        (LIVE[:500], "hold", "guard.hold_shrink_percent"),
        (LIVE[:499], "refuse", "shrunk, 1,000 → 499 users: 50.1 %, more than guard.refuse_shrink_percent = 50"),
        ([], "refuse", "the list is empty; uploading it would delete the live list"),
        (LIVE + fresh(300), "pass", None),
        (LIVE + fresh(501), "hold", "grown, 1,000 → 1,501 users: 50.1 %, more than guard.hold_grow_percent = 50"),
        (LIVE + fresh(5001), "refuse", "guard.refuse_grow_percent = 500"),
        (LIVE[301:] + fresh(301), "hold", "301 ids removed, measured against the live list's 1,000: 30.1 %"),
        (LIVE[300:] + fresh(300), "pass", None),
        (LIVE + [" bad"] * 10, "pass", None),
        (LIVE + [" bad"] * 11, "hold", "11 of 1,011 extracted rows were rejected (surrounding_blanks 11): 1.088 %"),
        (LIVE + [" bad"] * 251, "refuse", "guard.refuse_reject_percent = 20"),
        (LIVE * 3, "pass", None),
        (
            LIVE[:790] + list(range(210)),
            "hold",
            "(digits +21 points, other -21 points): 21 points, more than guard.hold_format_percent = 20",
        ),
    ],
)
def test_each_rule(judged: Any, ids: list[Any], verdict: str, part_of_reason: str | None) -> None:
    found = judged(ids)
    assert found.verdict == verdict
    assert part_of_reason is None or any(part_of_reason in reason for reason in found.reasons)
    assert bool(found.reasons) == bool(found.samples) == (verdict != "pass")
    assert len(found.samples) <= 10


def test_figures_are_right_whatever_the_lists(judged: Any) -> None:
    chance = random.Random(3)
    for _ in range(5):
        ids = chance.sample(LIVE, chance.randrange(1, 1000)) + fresh(chance.randrange(200))
        figures = judged(ids).figures
        kept = len(set(ids) & set(LIVE))
        assert (figures["kept"], figures["added"], figures["removed"]) == (kept, len(ids) - kept, 1000 - kept)
        assert figures["users"] == len(ids)


def test_an_older_list_is_refused(judged: Any) -> None:
    found = judged(LIVE, as_of=NOON - timedelta(days=1))
    assert found.verdict == "refuse"
    assert "older than the live list's" in found.reasons[0]


def test_a_source_that_is_not_complete_is_refused(judged: Any) -> None:
    found = judged(LIVE, parts=2)
    assert found.verdict == "refuse"
    assert "not proven complete" in found.reasons[0]


def test_the_first_list_needs_no_live_one(built: Any) -> None:
    assert judge(built("new", ["a"]), None, Guard()).verdict == "pass"
    few = judge(built("new", ["a"]), None, Guard(min_users=2))
    assert few.verdict == "refuse"
    assert few.reasons == ["1 users are fewer than guard.min_users = 2"]


def test_refusals_come_first_and_the_worst_decides(judged: Any) -> None:
    found = judged([*LIVE[:400], *[" x"] * 10])
    assert found.verdict == "refuse"
    assert "refuse_shrink_percent" in found.reasons[0]
    assert any("hold_reject_percent" in reason for reason in found.reasons[1:])


def test_thresholds_are_the_publishers(judged: Any) -> None:
    assert judged(LIVE[:300], {"hold_shrink_percent": 80, "refuse_shrink_percent": 90, "hold_churn_percent": 80})
    relaxed = {"hold_shrink_percent": 80, "refuse_shrink_percent": 90, "hold_churn_percent": 80}
    assert judged(LIVE[:300], relaxed).verdict == "pass"


def test_a_threshold_of_nothing_means_nothing(built: Any) -> None:
    run = built("new", [*range(30_000), " x"])
    assert judge(run, None, Guard()).verdict == "pass"
    strict = judge(run, None, Guard(hold_reject_percent=0))
    assert strict.verdict == "hold"
    assert "0.003333 %, more than guard.hold_reject_percent = 0" in strict.reasons[0]


def test_the_sentence_says_how_to_go_on_and_shows_no_id(judged: Any, tmp_path: Path) -> None:
    held = judged(LIVE[:899])
    assert "HOLD: a list of 899 users" in held.sentence()
    assert "accept_held=true" in held.sentence()
    refused = judged([*LIVE[:10], " secret-customer", None])
    assert "change the keys named above" in refused.sentence()
    everything = refused.sentence() + held.sentence() + str(refused.as_dict())
    assert not any(one in everything for one in (*LIVE, "secret-customer"))
    assert {sample.split()[0] for sample in refused.samples} == {"null_id", "surrounding_blanks", "removed"}
    assert judged(LIVE).sentence().startswith("PASS: a list of 1,000 users")


def test_the_verdict_is_kept_with_the_run(judged: Any, tmp_path: Path) -> None:
    found = judged(LIVE[:100])
    assert read_json(tmp_path / "shop" / "audience" / "new" / "verdict.json") == found.as_dict()
    assert not (tmp_path / "shop" / "audience" / "new" / ".guard").exists()


def test_the_verdict_is_for_one_list_against_one_live_list(tmp_path: Path, built: Any) -> None:
    def accept(run: Path, after: timedelta = timedelta()) -> user_sets.UserSet:
        return user_sets.accept(tmp_path, "shop", run, sent_at=NOON + after, accepted_at=NOON + after, answer={})

    run = built("new", LIVE)
    with pytest.raises(NotPassed, match=r"has not judged this list\. Nothing was sent\. Clear `judge` and `upload`"):
        require_passed(run, None)
    judge(run, None, Guard())
    require_passed(run, None)
    other = accept(built("other", LIVE[1:]))
    with pytest.raises(NotPassed, match=f"compared it with no list, live is {other.name} now"):
        require_passed(run, other)
    judge(run, other, Guard())
    require_passed(run, other)
    with pytest.raises(NotPassed, match="live is none now"):
        require_passed(run, None)
    require_passed(run, accept(run, timedelta(minutes=1)))
    built("new", LIVE[2:])
    with pytest.raises(NotPassed, match="built again after the guard judged it"):
        require_passed(run, other)


def test_a_person_lets_a_held_list_pass_and_never_a_refused_one(tmp_path: Path, built: Any) -> None:
    run, strict = built("new", ["a", "b"]), Guard(min_users=3)
    held = built("held", [*range(100), " x", " y"])
    assert not judge(held, None, Guard()).accepted_by_hand
    with pytest.raises(NotPassed, match="the guard's verdict is hold: 2 of 102"):
        require_passed(held, None)
    assert judge(held, None, Guard(), accept_held=True).accepted_by_hand
    require_passed(held, None)
    refused = judge(run, None, strict, accept_held=True)
    assert (refused.verdict, refused.accepted_by_hand) == ("refuse", False)
    write_json(run / "verdict.json", {**refused.as_dict(), "accepted_by_hand": True})
    with pytest.raises(NotPassed, match=r"verdict is refuse: 2 users are fewer than guard\.min_users = 3"):
        require_passed(run, None)
    assert not judge(built("good", LIVE), None, Guard(), accept_held=True).accepted_by_hand


@pytest.mark.parametrize(
    ("value", "masked"),
    [("1234567", "12…(7)"), ("ab", "…(2)"), ("abc", "a…(3)"), ("", "…(0)"), ("\n\x00bcdef", "\\n\\x00…(7)")],
)
def test_masks(value: str, masked: str) -> None:
    assert mask(value) == masked


def test_a_segment_may_be_of_any_size_and_leaves_the_whole_lists_their_measure(tmp_path: Path, built: Any) -> None:
    def accept(run: Path, hours: int, segment: bool) -> user_sets.UserSet:
        moment = NOON + timedelta(hours=hours)
        return user_sets.accept(tmp_path, "shop", run, sent_at=moment, accepted_at=moment, answer={}, segment=segment)

    whole = accept(built("whole", LIVE), 0, False)
    for hour in range(1, 15):  # more than are kept
        run = built(f"campaign-{hour}", LIVE[: 10 + hour])
        verdict = judge(run, user_sets.live(tmp_path, "shop"), Guard(), segment=True)
        assert (verdict.verdict, verdict.segment) == ("pass", True)
        assert "asked for by this run" in verdict.sentence()
        accept(run, hour, True)
    live = user_sets.live(tmp_path, "shop")
    again = judge(built("next", LIVE[5:]), live, Guard())
    assert (again.verdict, again.figures["live"]) == ("pass", whole.name)
    assert judge(built("small", LIVE[:20]), live, Guard()).verdict == "refuse"


@pytest.mark.parametrize(
    ("ids", "said"),
    [([], "the list is empty"), ([str(number) for number in range(100)], "ids look different")],
)
def test_a_segment_is_still_judged_on_its_own_and_by_its_looks(
    tmp_path: Path, built: Any, ids: list[str], said: str
) -> None:
    live = user_sets.accept(tmp_path, "shop", built("live", LIVE), sent_at=NOON, accepted_at=NOON, answer={})
    verdict = judge(built("segment", ids), live, Guard(), segment=True)
    assert not verdict.passed
    assert said in verdict.reasons[0]


def test_a_held_list_that_a_person_lets_pass_says_so(judged: Any, tmp_path: Path, built: Any) -> None:
    judged(LIVE)
    verdict = judge(built("held", LIVE[:880]), user_sets.live(tmp_path, "shop"), Guard(), accept_held=True)
    assert verdict.passed
    assert "A person lets it pass: it is uploaded." in verdict.sentence()
    assert "Nothing is uploaded" not in verdict.sentence()
