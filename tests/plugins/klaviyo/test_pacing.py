"""The client against the sandbox: it reads what is there, and waits before the account's window is used up."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.fill import fill_klaviyo
from include.sandbox.server import Running, running
from klaviyo import look
from klaviyo.client import Client
from klaviyo.connections import Settings
from klaviyo.documents import Campaign
from vendor_http.errors import PermanentError, RateLimited, Unauthorized
from vendor_http.pacing import MIN_WAIT_SECONDS
from vendor_http.retry import Retry

MEMBERS = 1200
STEADY = 8


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, figures: dict[str, Any]) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("klaviyo")
    figures.update(fill_klaviyo(state, MEMBERS, 7))
    with running(state, klaviyo_burst=100_000, klaviyo_steady=100_000) as started:
        yield started


def client(sandbox: Running, **changes: Any) -> Client:
    settings = {"base_url": sandbox.url, "api_key": "pk_sandbox", **changes}
    return Client(Settings(**settings), Retry(sleep=lambda _: None), sleep=lambda _: None)


@pytest.mark.parametrize("source", ["list:LIST01", "list:LIST02", "segment:SEGM01", "segment:SEGM02"])
def test_a_source_is_read_whole(sandbox: Running, source: str) -> None:
    with client(sandbox) as reading:
        pages = list(reading.profiles(source, fields=["external_id"], consent=True))
        counted = reading.profile_count(source)
    found = {row["id"] for page in pages for row in page.rows}
    assert len(found) == counted
    assert pages[-1].cursor is None
    assert all("subscriptions" in row["attributes"] for page in pages for row in page.rows)


def test_a_pull_goes_on_at_any_page(sandbox: Running) -> None:
    with client(sandbox) as reading:
        pages = list(reading.profiles("list:LIST01", fields=["external_id"]))
        rest = reading.profiles("list:LIST01", fields=["external_id"], cursor=pages[4].cursor)
        again = {row["id"] for page in rest for row in page.rows}
    assert {row["id"] for page in pages[:5] for row in page.rows} | again == {
        row["id"] for page in pages for row in page.rows
    }


@pytest.mark.parametrize("fault", ["429", "500", "502", "503"])
def test_a_fault_in_the_middle_of_a_pull_loses_nothing(sandbox: Running, fault: str) -> None:
    with client(sandbox) as reading:
        pages = reading.profiles("list:LIST01", fields=["external_id"])
        found = {row["id"] for row in next(pages).rows}
        url = f"{sandbox.url}/_sandbox/faults"
        requests.post(url, json={"fault": fault, "path": "/api/", "times": 2}).raise_for_status()
        found |= {row["id"] for page in pages for row in page.rows}
        assert requests.get(url).json() == []
        assert len(found) == reading.profile_count("list:LIST01")


@pytest.mark.parametrize("revision", ["2026-07-15", "2026-10-15"])
def test_scheduled_campaigns_are_found_in_both_shapes(sandbox: Running, revision: str) -> None:
    usual = {"name": "Autumn", "send_at": "2126-11-24T08:00:00+00:00", "included": ["SEGM01"], "excluded": ["LIST02"]}
    for name, status in (("C1", "scheduled"), ("C2", "draft"), ("C3", "sent")):
        url = f"{sandbox.url}/_sandbox/klaviyo/campaigns/{name}"
        requests.put(url, json={**usual, "status": status}).raise_for_status()
    send_at = datetime(2126, 11, 24, 8, tzinfo=UTC)
    settings = Settings(sandbox.url, "pk_sandbox", revision=revision)
    assert asyncio.run(look.campaigns(settings)) == [
        Campaign("C1", "Autumn", "scheduled", send_at, ("SEGM01",), ("LIST02",))
    ]


def test_the_probe_knows_key_and_revision(sandbox: Running) -> None:
    with client(sandbox) as asking:
        assert "accepts the key and revision 2026-07-15" in asking.probe()
    with client(sandbox, api_key="pk_other") as asking, pytest.raises(Unauthorized, match="The key is refused"):
        asking.probe()
    with (
        client(sandbox, revision="1999-01-01") as asking,
        pytest.raises(PermanentError, match=r"revision 1999-01-01\.$"),
    ):
        asking.probe()


def test_the_next_window_is_waited_for_before_anything_is_refused(tmp_path: Path) -> None:
    fill_klaviyo(tmp_path, MEMBERS, 7)
    pauses: list[float] = []
    read: list[Any] = []
    with running(tmp_path, klaviyo_steady=STEADY) as sandbox:
        reading = Client(Settings(sandbox.url, "pk_sandbox"), Retry(attempts=1), sleep=pauses.append)
        with reading, pytest.raises(RateLimited):  # because the pauses do not last here
            read.extend(reading.profiles("all", fields=["external_id"]))
    assert len(read) >= STEADY
    assert pauses[-1] >= MIN_WAIT_SECONDS
