"""Whether a run can be ready in time is known at its start, and what is said then."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.errors import ConfigError
from include.publishers.models import Publisher
from include.staging import write_json
from pipeline.deadlines import deadline_of, lateness

NOW = datetime(2026, 11, 27, 6, tzinfo=UTC)
SET = "2026-11-26T04-00-00-abc"


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STAGING_URI", tmp_path.as_uri())
    return tmp_path


def publisher(on_deadline: str = "fail", **campaigns: Any) -> Publisher:
    kind = {"kind": "smartemailing", "connection": "se"}
    return Publisher.model_validate(
        {
            "name": "shop",
            "audience": {"connection": "warehouse", "sql": "SELECT 1"},
            "batch": {"link": "https://example.com/b.xml", "on_deadline": on_deadline},
            "deliveries": [{"name": "ready", "kind": "asset"}],
            "campaigns": kind | campaigns if campaigns else None,
        }
    )


def took(staging: Path, minutes: float, user_set: str = SET) -> None:
    """The last batch came so long after the upload of its list."""
    sent = NOW - timedelta(days=1)
    write_json(staging / "shop" / "user_sets" / SET / "record.json", {"sent_at": sent.isoformat()})
    accepted = (sent + timedelta(minutes=minutes)).isoformat()
    write_json(staging / "shop" / "batches" / "latest.json", {"user_set": user_set, "accepted_at": accepted})


def late(minutes_left: float, of: Publisher) -> dict[str, Any] | None:
    return lateness(of, (NOW + timedelta(minutes=minutes_left)).isoformat(), NOW)


def test_the_deadline_is_given_or_lies_before_the_newsletter() -> None:
    six, seven = NOW + timedelta(hours=6), NOW + timedelta(hours=7)
    assert deadline_of(publisher(), None, None, NOW) is None
    assert deadline_of(publisher(), six, None, NOW) == six
    assert deadline_of(publisher(), six, seven, NOW) == six
    assert deadline_of(publisher(), None, seven, NOW) == seven - timedelta(minutes=30)
    assert deadline_of(publisher(ready_minutes=45), None, seven, NOW) == seven - timedelta(minutes=45)


@pytest.mark.parametrize(
    ("deadline", "send_at", "message"),
    [
        (-1, None, "is past. Nothing was done"),
        (None, -1, "was to be sent at 2026-11-27T05:59:00"),
        (-2, 5, "deadline: 2026-11-27T05:58:00.* is past; the newsletter is sent at 2026-11-27T06:05:00"),
        (None, 20, "deadline: 2026-11-27T05:50:00.* is past"),
        (20, 10, "is after send_at"),
    ],
)
def test_a_run_that_comes_too_late_is_told_so(deadline: int | None, send_at: int | None, message: str) -> None:
    times = (None if minutes is None else NOW + timedelta(minutes=minutes) for minutes in (deadline, send_at))
    with pytest.raises(ConfigError, match=message):
        deadline_of(publisher(), *times, NOW)


@pytest.mark.parametrize("on_deadline", ["use_previous", "default_only"])
def test_a_newsletter_that_is_sent_too_soon_for_a_batch_gets_what_stands_in(staging: Path, on_deadline: str) -> None:
    took(staging, 90)
    of, soon = publisher(on_deadline), NOW + timedelta(minutes=20)
    ends = deadline_of(of, None, soon, NOW)
    assert ends == NOW
    figures = lateness(of, ends.isoformat(), NOW)
    assert figures
    assert (figures["left_minutes"], figures["needed_minutes"]) == (0.0, 90.0)
    with pytest.raises(ConfigError, match="is past"):  # a time that a person gave is a mistake
        deadline_of(of, NOW - timedelta(minutes=1), soon, NOW)
    with pytest.raises(ConfigError, match="was to be sent"):
        deadline_of(of, None, NOW - timedelta(minutes=1), NOW)


def test_without_a_deadline_no_run_is_late() -> None:
    assert lateness(publisher(), None, NOW) is None


def test_the_usual_time_is_asked_for_where_nothing_is_known() -> None:
    assert late(61, publisher()) is None
    assert late(59, publisher()) == {
        "publisher": "shop",
        "deadline": "2026-11-27T06:59:00+00:00",
        "left_minutes": 59.0,
        "needed_minutes": 60.0,
        "needed_from": "no batch yet",
        "instead": "the run fails and nothing is delivered (batch.on_deadline is fail)",
    }


def test_the_time_of_the_last_batch_is_better_and_the_files_word_is_best(staging: Path) -> None:
    took(staging, 90)
    measured, said = late(80, publisher()), late(80, publisher(run_minutes=100))
    assert measured
    assert said
    assert (measured["needed_minutes"], measured["needed_from"]) == (90.0, "the last batch")
    assert (said["needed_minutes"], said["needed_from"]) == (100.0, "campaigns.run_minutes")
    assert late(80, publisher(run_minutes=70)) is None
    took(staging, 20)
    assert late(30, publisher()) is None


def test_a_batch_whose_list_is_gone_says_nothing(staging: Path) -> None:
    took(staging, 90, user_set="gone")
    assert late(80, publisher()) is None


@pytest.mark.parametrize(
    ("on_deadline", "batch", "instead"),
    [
        ("use_previous", True, "the batch before is delivered"),
        ("default_only", True, "everyone gets the default set"),
        ("use_previous", False, "the run fails: on_deadline is use_previous, but there is no earlier batch"),
    ],
)
def test_what_happens_instead_is_said(staging: Path, on_deadline: str, batch: bool, instead: str) -> None:
    if batch:
        took(staging, 90)
    figures = late(10, publisher(on_deadline))
    assert figures
    assert figures["instead"].startswith(instead)
    json.dumps(figures)
