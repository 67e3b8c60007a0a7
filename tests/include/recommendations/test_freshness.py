"""A batch is fresh or stale by evidence, and the trigger knows what is worth a fetch."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.recommendations.freshness import Freshness, Seen, judge, still_waiting
from include.recommendations.parse import parse_batch
from include.staging import read_json, write_json
from tests.include.recommendations.documents import User, batch_of, settings, user_set, xml

SENT_AT = datetime(2026, 11, 20, 9, 0, 0, 500_000, tzinfo=UTC)
BEFORE, SAME_SECOND, AFTER = (f"Fri, 20 Nov 2026 {time} GMT" for time in ("08:59:59", "09:00:00", "11:00:00"))


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(), None),
        (Seen(last_modified=AFTER), None),
        (Seen(last_modified=SAME_SECOND), None),
        (Seen(last_modified="not a date"), None),
        (Seen(last_modified=AFTER.replace("2026", "9" * 30)), None),
        (Seen(last_modified="Fri, 31 Dec 9999 23:59:59 -1200"), None),
        (Seen(last_modified=BEFORE), "before 2026-11-20T09:00:00Z"),
        (Seen(etag='"2"', last_modified=BEFORE), "before 2026"),
    ],
)
def test_what_was_made_before_the_upload_is_not_worth_a_fetch(seen: Seen, reason: str | None) -> None:
    said = still_waiting(seen, [], SENT_AT)
    assert said == reason if reason is None else reason in (said or "")


@pytest.mark.parametrize(
    ("seen", "refused", "same"),
    [
        (Seen(etag='"1"'), Seen(etag='"1"'), True),
        (Seen(etag='W/"1"'), Seen(etag='"1"'), True),
        (Seen(etag='"1"', last_modified=AFTER), Seen(etag='"2"', last_modified=AFTER), False),
        (Seen(last_modified=AFTER, length=5), Seen(last_modified=AFTER, length=5), True),
        (Seen(last_modified=AFTER, length=6), Seen(last_modified=AFTER, length=5), False),
        (Seen(length=5, head_sha256="a"), Seen(length=5, head_sha256="a"), True),
        (Seen(length=5, head_sha256="a"), Seen(length=5, head_sha256="b"), False),
        (Seen(length=5, head_sha256="a"), Seen(length=6, head_sha256="a"), False),
        (Seen(), Seen(), False),
    ],
)
def test_a_batch_that_was_refused_is_not_fetched_again(seen: Seen, refused: Seen, same: bool) -> None:
    said = still_waiting(seen, [Seen(etag='"other"'), refused], SENT_AT)
    assert bool(said) == same
    assert "\n" not in (said or "")


def test_seen_survives_json() -> None:
    seen = Seen('"1"', AFTER, 5, "ab")
    assert Seen.from_dict(json.loads(json.dumps(seen.as_dict()))) == seen


def judged(
    root: Path,
    *,
    updated_at: str | None = None,
    headers: dict[str, str] | None = None,
    in_batch: tuple[str, ...] = ("a", "b"),
    now: tuple[str, ...] = ("a", "b"),
    before: tuple[str, ...] | None = None,
    latest: dict[str, Any] | None = None,
    accepted: tuple[str, str, str] | None = None,
    since: datetime | None = None,
    earlier: tuple[str, ...] = (),
) -> Freshness:
    users = [User(name, updated_at=updated_at) for name in in_batch]
    batch = batch_of(root / "shop" / "batches" / "x", xml(users))
    sha256 = parse_batch(batch, settings())["sha256"]
    if headers is not None:
        (batch / "fetch.json").write_text(json.dumps({"headers": headers}))
    if accepted:
        note = dict(zip(("user_set", "run", "fetched_at"), accepted, strict=True))
        write_json(batch / f"for-{accepted[0]}" / "accepted.json", note)
        write_json(batch.parent / "index.json", {"batches": {batch.name: {"fetched_at": "", "lists": [accepted[0]]}}})
    earlier = tuple(sha256 if each == "this one" else each for each in earlier)
    previous = user_set(root, "before", before) if before is not None else None
    found = judge(batch, user_set(root, "now", now), previous, latest, "run 2", since, earlier)
    assert read_json(batch / "freshness.json") == found.as_dict()
    return found


WEEK = datetime(2026, 11, 27, 9, tzinfo=UTC)
OTHER_BATCH = {"sha256": "other", "user_set": "before", "run": "run 1"}
FOR_BEFORE = ("before", "run 1", "2026-11-20T08:00:00+00:00")
LATE_FOR_BEFORE = ("before", "run 1", "2026-11-20T11:00:00+00:00")
FOR_NOW = ("now", "run 1", "2026-11-20T12:00:00+00:00")
OLD, NEW = "2026-11-20T08:59:59", "2026-11-20T09:00:00"


SOME = ("a", "b")
MANY = tuple(f"new-{number:02d}" for number in range(20))
GROWN: dict[str, Any] = {"before": SOME, "now": SOME + MANY, "earlier": ("other",)}
HUGE = tuple(f"old-{number:03d}" for number in range(400))


@pytest.mark.parametrize(
    ("evidence", "verdict", "why"),
    [
        ({"updated_at": NEW}, "fresh", "updated_at reaches 2026-11-20T09:00:00Z"),
        ({"updated_at": OLD}, "stale", "newest updated_at"),
        ({"headers": {"last-modified": AFTER}}, "fresh", "last changed 2026-11-20T11:00:00Z, not before"),
        ({"headers": {"last-modified": SAME_SECOND}}, "fresh", "last changed"),
        ({"headers": {"last-modified": BEFORE}}, "stale", "last changed 2026-11-20T08:59:59Z, before"),
        ({"headers": {"etag": '"1"'}}, "stale", "cannot be proven fresh"),
        ({}, "stale", "cannot be proven fresh"),
        ({"before": ("a", "b")}, "stale", "cannot be proven fresh"),
        ({"before": ("a",)}, "fresh", "1 of 1 users added"),
        ({"before": ("a", "b", "c"), "in_batch": ("a", "c")}, "stale", "made from the previous list: 1 users"),
        ({"before": ("a", "c"), "in_batch": ("a", "c"), "updated_at": NEW}, "stale", "made from the previous list"),
        ({"before": ("a", "c"), "in_batch": ("a",), "updated_at": NEW}, "fresh", "updated_at"),
        ({"before": ("a", "c"), "in_batch": ("a", "b", "c")}, "fresh", "1 of 1 users added"),
        ({"latest": OTHER_BATCH}, "stale", "cannot be proven fresh"),
        ({"accepted": FOR_BEFORE}, "stale", "the same content was accepted before"),
        ({"accepted": FOR_BEFORE, "updated_at": NEW}, "stale", "the same content"),
        ({"accepted": FOR_NOW, "updated_at": OLD}, "fresh", "accepted for now before"),
        ({"accepted": FOR_NOW, "latest": OTHER_BATCH}, "fresh", "accepted for now before"),
        ({"latest": {**OTHER_BATCH, "user_set": "now"}, "updated_at": OLD}, "stale", "newest updated_at"),
        # taken for the list before although that was replaced already: it may well be ours
        ({"accepted": LATE_FOR_BEFORE, "updated_at": NEW}, "fresh", "updated_at reaches"),
        ({"accepted": LATE_FOR_BEFORE}, "stale", "cannot be proven fresh"),
        ({"earlier": ("other",)}, "fresh", "not what was published when the list had just been sent"),
        ({"earlier": ("this one",)}, "stale", "cannot be proven fresh"),
        ({"earlier": ("other",), "updated_at": OLD}, "stale", "newest updated_at"),
        # many were added and none of them is in it: a change is no proof then, a time is
        (GROWN, "stale", "none of the 20 added users is in it"),
        ({**GROWN, "since": WEEK, "latest": OTHER_BATCH}, "stale", "none of the 20 added users is in it"),
        ({**GROWN, "updated_at": NEW}, "fresh", "updated_at reaches"),
        ({**GROWN, "headers": {"last-modified": AFTER}}, "fresh", "last changed"),
        ({**GROWN, "in_batch": ("a", MANY[0])}, "fresh", "1 of 20 users added"),
        ({**GROWN, "now": SOME + MANY[1:]}, "fresh", "not what was published"),
        ({**GROWN, "before": SOME + HUGE, "now": SOME + HUGE + MANY}, "fresh", "not what was published"),
        # a run on a schedule: the batch of the interval before does not count, whoever took it
        ({"since": WEEK, "latest": OTHER_BATCH}, "fresh", "content differs"),
        ({"since": WEEK, "accepted": FOR_NOW}, "stale", "the same content was accepted before"),
        ({"since": WEEK, "accepted": FOR_NOW, "updated_at": "2026-11-28T09:00:00"}, "stale", "the same content"),
        ({"since": WEEK, "accepted": FOR_NOW, "latest": OTHER_BATCH}, "stale", "the same content"),
        ({"since": WEEK, "accepted": ("now", "run 2", FOR_NOW[2])}, "fresh", "accepted for now before"),
        ({"since": WEEK, "updated_at": "2026-11-27T08:59:59"}, "stale", "is before 2026-11-27T09:00:00Z"),
        ({"since": WEEK, "updated_at": "2026-11-27T09:00:00"}, "fresh", "updated_at reaches"),
        ({"since": WEEK, "headers": {"last-modified": AFTER}}, "stale", "before 2026-11-27T09:00:00Z"),
        ({"since": datetime(2026, 11, 1, tzinfo=UTC), "updated_at": OLD}, "stale", "before 2026-11-20T09:00:00Z"),
    ],
)
def test_the_verdict_follows_the_evidence(tmp_path: Path, evidence: dict[str, Any], verdict: str, why: str) -> None:
    found = judged(tmp_path, **evidence)
    assert found.verdict == verdict
    assert why in found.sentence
