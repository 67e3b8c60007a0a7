"""What a watcher announces, what it remembers, and what it says when the platform cannot be read."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseEventTrigger

from include.errors import ConfigError
from include.newsletters import Newsletter
from newsletters import triggers
from newsletters.triggers import AGAIN_SECONDS, NewsletterTrigger
from vendor_http.errors import Unauthorized, Unreachable

NOW = datetime(2026, 11, 27, 6, tzinfo=UTC)
PUBLISHER = """
audience: {connection: warehouse, sql: SELECT 1}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
"""


class Platform(NewsletterTrigger):
    """A platform whose newsletters, or whose trouble, a test says."""

    def __init__(self, publisher: str = "shop") -> None:
        super().__init__(publisher)
        self.newsletters: list[Newsletter] = [newsletter("SALE")]
        self.trouble: Exception | None = None
        self.runs: set[str] = set()
        self.unanswered = ""

    async def scheduled(self, campaigns: Any) -> list[Newsletter]:
        if self.trouble:
            raise self.trouble
        return self.newsletters

    async def has_run(self, run_id: str) -> bool:
        if self.unanswered and self.unanswered in run_id:
            raise RuntimeError("Airflow does not answer")
        return run_id in self.runs

    def told(self, now: datetime = NOW) -> list[str]:
        return [payload["id"] for payload in asyncio.run(self.look(now))]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def newsletter(name: str, hours: float = 2) -> Newsletter:
    return Newsletter("smartemailing", name, f"The {name}", NOW + timedelta(hours=hours))


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    path = tmp_path / "shop.yaml"
    path.write_text(PUBLISHER + "campaigns: {kind: smartemailing, connection: se, poll_seconds: 90}\n")
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(triggers, "time", made)
    return made


def test_a_newsletter_is_announced_once(clock: Clock) -> None:
    platform = Platform()
    assert platform.told() == ["SALE"]
    assert platform.told() == []
    platform.newsletters.append(newsletter("NEWS", 3))
    assert platform.told() == ["NEWS"]
    assert platform.told() == []


def test_a_question_that_fails_costs_the_newsletters_before_it_one_look_only(clock: Clock) -> None:
    platform = Platform()
    platform.newsletters.append(newsletter("NEWS", 3))
    platform.unanswered = "NEWS"
    assert platform.told() == []
    platform.unanswered = ""
    assert platform.told() == ["SALE", "NEWS"]


def test_a_newsletter_that_is_listed_twice_is_announced_once(clock: Clock) -> None:
    platform = Platform()
    platform.newsletters *= 2
    assert platform.told() == ["SALE"]


def test_the_announcement_holds_references_only() -> None:
    [payload] = asyncio.run(Platform().look(NOW))
    assert payload == {
        "publisher": "shop",
        "platform": "smartemailing",
        "id": "SALE",
        "name": "The SALE",
        "send_at": "2026-11-27T08:00:00+00:00",
    }


def test_a_restarted_watcher_announces_nothing_that_has_a_run() -> None:
    before, after = Platform(), Platform()
    assert before.told() == ["SALE"]
    after.runs = {newsletter("SALE").run_id("shop")}
    assert after.told() == []


def test_a_newsletter_that_got_no_run_is_announced_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    platform = Platform()
    assert platform.told() == ["SALE"]
    clock.now += AGAIN_SECONDS - 1
    assert platform.told() == []
    clock.now += 1
    assert platform.told() == ["SALE"]
    assert "no run smartemailing__shop__SALE__20261127T080000Z of the DAG campaign came of it" in caplog.text
    platform.runs = {newsletter("SALE").run_id("shop")}
    clock.now += AGAIN_SECONDS
    assert platform.told() == []
    platform.runs = set()  # removed by hand: the watcher has seen it
    clock.now += AGAIN_SECONDS
    assert platform.told() == []


def test_a_newsletter_at_another_time_is_news() -> None:
    platform = Platform()
    platform.runs = {newsletter("SALE").run_id("shop")}
    assert platform.told() == []
    platform.newsletters = [newsletter("SALE", 5)]
    assert platform.told() == ["SALE"]


def test_the_file_is_read_at_each_look(file: Path) -> None:
    platform = Platform()
    platform.newsletters = [newsletter("SALE", 30)]
    assert platform.told() == []
    file.write_text(PUBLISHER + "campaigns: {kind: smartemailing, connection: se, lead_hours: 48}\n")
    assert platform.told() == ["SALE"]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Unauthorized("GET /newsletters answered 401.", status=401), "refuses the key, so no newsletter starts a run"),
        (Unreachable("GET /newsletters: no route."), "Trying again in 90 s"),
        (ConfigError("connection se: password: is missing"), "connection se: password: is missing"),
        (RuntimeError("a bug"), "could not be read"),
    ],
)
def test_trouble_is_said_once_a_look_and_ends_with_it(
    trouble: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform()
    platform.trouble = trouble
    with caplog.at_level(logging.ERROR):
        assert [platform.told(), platform.told()] == [[], []]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert said in caplog.text
    platform.trouble = None
    assert platform.told() == ["SALE"]


def test_a_file_without_campaigns_or_with_a_mistake_ends_no_watcher(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform()
    for text, said in ((PUBLISHER, "campaigns is missing"), ("audience: 1\n", "audience"), (None, "no such publisher")):
        file.unlink() if text is None else file.write_text(text)
        assert platform.told() == []
        assert said in caplog.text


def test_it_looks_again_after_the_pause_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    platform, pauses = Platform(), []
    soon = datetime.now(UTC) + timedelta(hours=1)
    platform.newsletters = [replace(newsletter(name), send_at=soon) for name in ("SALE", "MORE")]

    async def sleep(seconds: float) -> None:
        assert not pauses
        pauses.append(seconds)
        platform.newsletters.append(replace(newsletter("NEWS"), send_at=soon))

    async def first_two() -> list[list[str]]:
        events = platform.run()
        payloads = [(await anext(events)).payload for _ in range(2)]
        return [[each["id"] for each in payload["newsletters"]] for payload in payloads]

    monkeypatch.setattr(triggers.asyncio, "sleep", sleep)
    assert asyncio.run(first_two()) == [["SALE", "MORE"], ["NEWS"]]
    assert pauses == [90.0]


def test_its_arguments_are_the_publishers_name_alone() -> None:
    from klaviyo.campaign_trigger import KlaviyoCampaignTrigger
    from smartemailing.newsletters import SmartEmailingNewsletterTrigger

    for kind, path in (
        (KlaviyoCampaignTrigger, "klaviyo.campaign_trigger.KlaviyoCampaignTrigger"),
        (SmartEmailingNewsletterTrigger, "smartemailing.newsletters.SmartEmailingNewsletterTrigger"),
    ):
        assert issubclass(kind, BaseEventTrigger)
        assert kind("shop").serialize() == (path, {"publisher": "shop"})
