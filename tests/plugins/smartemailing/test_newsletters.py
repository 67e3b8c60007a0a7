"""Newsletters of a SmartEmailing account that are to be sent, over a real socket."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests

from include.sandbox.server import Running, running
from smartemailing import look
from smartemailing.answers import newsletter_of
from smartemailing.connections import Settings
from smartemailing.newsletters import SmartEmailingNewsletterTrigger

NOW = datetime.now(UTC).replace(microsecond=0)
PUBLISHER = """
audience: {connection: warehouse, sql: SELECT 1}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
campaigns: {kind: smartemailing, connection: se}
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture(autouse=True)
def shop(sandbox: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.yaml").write_text(PUBLISHER)
    form = {"conn_type": "smartemailing", "host": sandbox.url, "login": "sandbox", "password": "sandbox_key"}
    monkeypatch.setenv("AIRFLOW_CONN_SE", json.dumps(form))
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))


class Watcher(SmartEmailingNewsletterTrigger):
    async def has_run(self, run_id: str) -> bool:
        return False


def put(sandbox: Running, number: int, **content: Any) -> None:
    times = {name: value.strftime("%Y-%m-%d %H:%M:%S") for name, value in content.items()}
    requests.put(
        f"{sandbox.url}/_sandbox/smartemailing/newsletters/{number}", json={"name": f"The {number}", **times}
    ).raise_for_status()


def test_those_with_a_start_ahead_are_announced(sandbox: Running) -> None:
    put(sandbox, 1, start=NOW + timedelta(hours=3))
    put(sandbox, 2, start=NOW - timedelta(hours=3), finish=NOW - timedelta(hours=2))
    put(sandbox, 3, start=NOW + timedelta(days=3))
    put(sandbox, 4)
    watcher = Watcher("shop")
    told = asyncio.run(watcher.look())
    send_at = (NOW + timedelta(hours=3)).isoformat()
    assert told == [
        {"publisher": "shop", "platform": "smartemailing", "id": "1", "name": "The 1", "send_at": send_at},
    ]
    assert asyncio.run(watcher.look()) == []


def test_an_empty_time_of_a_database_is_no_time() -> None:
    row = {"id": 7, "start": "0001-01-01 00:00:00", "finish": "9999-12-31 23:59:59"}
    assert newsletter_of(row, ZoneInfo("Europe/Prague")).start is None
    assert newsletter_of(row, ZoneInfo("America/New_York")).finish is None
    assert newsletter_of({"id": 7, "start": "0001-01-01T00:00:00+02:00"}, ZoneInfo("UTC")).start is None


@pytest.mark.parametrize(("ordered", "offsets"), [(True, ["0", "500"]), (False, ["0", "500", "1000", "1500", "2000"])])
def test_a_look_reads_the_newest_only_where_the_order_is_kept(serve: Any, ordered: bool, offsets: list[str]) -> None:
    asked = []

    def answer(request: Any) -> None:
        params = dict(parse_qsl(urlsplit(request.path).query))
        asked.append(params)
        request.take()
        numbers = sorted(range(1, 2101), reverse=ordered and params["sort"] == "-id")
        first = int(params["offset"])
        rows = [{"id": number, "name": "x"} for number in numbers[first : first + int(params["limit"])]]
        request.reply(200, json.dumps({"status": "ok", "meta": {"total_count": 2100}, "data": rows}).encode())

    found = asyncio.run(look.newsletters(Settings(serve(answer), "sandbox", "key", pause_seconds=0)))
    assert [each["offset"] for each in asked] == offsets
    assert max(int(each.id) for each in found) == 2100


def test_a_refused_key_is_said(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"conn_type": "smartemailing", "host": sandbox.url, "login": "sandbox", "password": "no_such_key"}
    monkeypatch.setenv("AIRFLOW_CONN_SE", json.dumps(form))
    assert asyncio.run(Watcher("shop").look()) == []
    assert "refuses the key, so no newsletter starts a run" in caplog.text
    assert "no_such_key" not in caplog.text
