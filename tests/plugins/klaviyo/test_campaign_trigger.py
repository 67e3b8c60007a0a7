"""Which campaigns of an account the watcher announces, in both shapes of Klaviyo's API, over a real socket."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.server import running
from klaviyo import look
from klaviyo.campaign_trigger import KlaviyoCampaignTrigger

NOW = datetime.now(UTC).replace(microsecond=0)
REVISIONS = ["2026-07-15", "2026-10-15"]
PUBLISHER = """
audience: {kind: klaviyo, connection: shop_klaviyo, lists: [LIST01], segments: [SEGM01]}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
campaigns: {kind: klaviyo, connection: shop_klaviyo}
"""


class Watcher(KlaviyoCampaignTrigger):
    """Airflow knows the runs; here a test does."""

    def __init__(self, runs: set[str] | None = None) -> None:
        super().__init__("shop")
        self.runs = runs if runs is not None else set()

    async def has_run(self, run_id: str) -> bool:
        return run_id in self.runs

    def told(self) -> list[tuple[str, str]]:
        return [(each["id"], each["send_at"]) for each in asyncio.run(self.look())]


class Account:
    """The sandbox's Klaviyo account."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put(self, campaign: str, *, hours: float = 2, status: str = "scheduled", **content: Any) -> tuple[str, str]:
        """Make or change a campaign; gives what a watcher tells of it."""
        send_at = (NOW + timedelta(hours=hours)).isoformat()
        known = {"name": f"The {campaign}", "status": status, "send_at": send_at, "included": ["LIST01"]}
        body = {**known, "excluded": [], **content}
        requests.put(f"{self.url}/_sandbox/klaviyo/campaigns/{campaign}", json=body).raise_for_status()
        return campaign, send_at


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with running(tmp_path / "sandbox") as started:
        yield Account(started.url)


@pytest.fixture(params=REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def shop(account: Account, revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "publishers").mkdir()
    (tmp_path / "publishers" / "shop.yaml").write_text(PUBLISHER)
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path / "publishers"))
    monkeypatch.setattr(look, "PAUSE_SECONDS", 0)
    connect(monkeypatch, account, revision)


def connect(monkeypatch: pytest.MonkeyPatch, account: Account, revision: str, key: str = "pk_sandbox") -> None:
    form = {"conn_type": "klaviyo", "host": account.url, "password": key, "extra": {"revision": revision}}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KLAVIYO", json.dumps(form))


def test_scheduled_campaigns_of_the_publisher_are_told_once(account: Account) -> None:
    sale, news = account.put("SALE"), account.put("NEWS", hours=23, included=["OTHER", "SEGM01"])
    account.put("DRAFT", status="draft")
    account.put("CANCELLED", status="cancelled")
    account.put("SENT", status="sent", hours=-2)
    account.put("PAST", hours=-0.1)
    account.put("FAR", hours=25)
    account.put("OTHERS", included=["OTHER"], excluded=["LIST01"])
    watcher = Watcher()
    assert sorted(watcher.told()) == sorted([sale, news])
    assert watcher.told() == []


def test_a_restart_tells_nothing_twice_and_a_moved_campaign_anew(account: Account) -> None:
    before = account.put("SALE")
    first = Watcher()
    [payload] = asyncio.run(first.look())
    assert payload["name"] == "The SALE"
    runs = {f"klaviyo__shop__SALE__{datetime.fromisoformat(before[1]):%Y%m%dT%H%M%SZ}"}
    restarted = Watcher(runs)
    assert restarted.told() == []
    moved = account.put("SALE", hours=5)
    assert restarted.told() == [moved]
    account.put("SALE", hours=5, status="cancelled")
    assert Watcher(runs).told() == []


def test_trouble_ends_with_its_cause(
    account: Account, revision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sale, watcher = account.put("SALE"), Watcher()
    connect(monkeypatch, account, revision, key="pk_refused_key")
    assert [watcher.told(), watcher.told()] == [[], []]
    assert caplog.text.count("the platform refuses the key, so no newsletter starts a run") == 2
    assert "pk_refused_key" not in caplog.text
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_KLAVIYO")
    assert watcher.told() == []
    assert "shop_klaviyo" in caplog.text
    connect(monkeypatch, account, revision)
    assert watcher.told() == [sale]
