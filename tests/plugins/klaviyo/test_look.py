"""Looks: campaigns in both shapes, and jobs; they fail as the client does."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klaviyo import look
from klaviyo.connections import Settings
from klaviyo.documents import Campaign, Job
from vendor_http.errors import (
    NotFound,
    RateLimited,
    Redirected,
    ServerError,
    Unauthorized,
    Unreachable,
    Unreadable,
    VendorError,
)

OLD, NEW = "2026-07-15", "2026-10-15"
SEND_AT = datetime(2126, 11, 24, 8, tzinfo=UTC)
AUTUMN = Campaign("C1", "Autumn", "scheduled", SEND_AT, ("SEGM01", "LIST01"), ("LIST09",))
BARE = Campaign("C4", "", "scheduled", SEND_AT, (), ())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "PAUSE_SECONDS", 0)


def old_campaign(campaign: str, status: str, **attributes: Any) -> dict[str, Any]:
    return {"type": "campaign", "id": campaign, "attributes": {"status": status, **attributes}}


def old() -> list[Any]:
    audiences = {"included": ["SEGM01", "LIST01"], "excluded": ["LIST09"]}
    full = {"name": "Autumn", "send_time": "2126-11-24T09:00:00+01:00", "audiences": audiences}
    first = [old_campaign("C1", "Scheduled", **full), old_campaign("C2", "Draft"), old_campaign("C3", "Sent")]
    second = [
        old_campaign("C4", "scheduled", send_time="2126-11-24T08:00:00Z", audiences=None),
        old_campaign("C5", "scheduled", send_time="soon", audiences=audiences),
        old_campaign("C6", "scheduled", send_time="2026-01-01T08:00:00Z", audiences=audiences),
    ]
    link = "https://a.klaviyo.com/api/campaigns?page%5Bcursor%5D=c1"
    return [{"data": first, "links": {"next": link}}, {"data": second, "links": {"next": None}}]


def message(ident: str, campaign: str, status: str, audience: str | None, **definition: Any) -> dict[str, Any]:
    related = {"campaign": {"data": {"type": "campaign", "id": campaign}}}
    if audience:
        related["campaign-audience"] = {"data": {"type": "campaign-audience", "id": audience}}
    attributes = {"created": "x", "updated": "x", "definition": {"status": status, **definition}}
    return {"type": "campaign-message", "id": ident, "attributes": attributes, "relationships": related}


def new() -> list[Any]:
    options = {"send_time": "2126-11-24T08:00:00Z", "send_strategy": "static"}
    messages = [
        message("M1", "C1", "scheduled", "A1", name="Autumn", send_options=options),
        message("M2", "C2", "draft", "A2"),
        message("M4", "C4", "scheduled", None, send_options=options),
        message("M5", "C5", "scheduled", "A5", send_options=None),
        message("M6", "C6", "scheduled", "A6", send_options={"send_time": "2026-01-01T08:00:00Z"}),
    ]
    definition = {"included": ["SEGM01", "LIST01"], "excluded": ["LIST09"], "priority": 1}
    audience = {"data": {"type": "campaign-audience", "id": "A1", "attributes": {"definition": definition}}}
    return [{"data": messages, "links": {"next": None}}, audience]


@pytest.mark.parametrize(
    ("revision", "documents", "asked"),
    [
        ("2024-10-15", old, ["/api/campaigns", "/api/campaigns"]),
        (OLD, old, ["/api/campaigns", "/api/campaigns"]),
        (NEW, new, ["/api/campaign-messages", "/api/campaign-audiences/A1"]),
        ("2027-01-15", new, ["/api/campaign-messages", "/api/campaign-audiences/A1"]),
    ],
)
def test_both_shapes_tell_the_same(vendor: Any, revision: str, documents: Any, asked: list[str]) -> None:
    vendor.says(*documents())
    found = asyncio.run(look.campaigns(vendor.settings(revision=revision)))
    assert found == [AUTUMN, BARE]
    assert [path for path, _ in vendor.asked] == asked
    assert {headers["revision"] for headers in vendor.headers} == {revision}


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_none_later_than_the_lead_time_is_asked_for(vendor: Any, revision: str) -> None:
    vendor.says(*(old() if revision == OLD else new()))
    assert asyncio.run(look.campaigns(vendor.settings(revision=revision), SEND_AT - timedelta(hours=1))) == []
    assert not any("audiences" in path for path, _ in vendor.asked)


@pytest.mark.parametrize("status", [404, 200])
def test_a_campaign_without_an_audience_does_not_keep_the_others(
    vendor: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    messages, audience = new()
    options = {"send_time": "2126-11-24T08:00:00Z"}
    messages["data"].insert(0, message("M0", "C0", "scheduled", "A0", send_options=options))
    vendor.says(messages)
    vendor.fails(404) if status == 404 else vendor.says({"no": "resource"})
    vendor.says(audience)
    found = asyncio.run(look.campaigns(vendor.settings(revision=NEW)))
    assert found == [AUTUMN, BARE]
    assert "campaign C0 is left out of this look" in caplog.text


def test_a_quota_that_is_used_up_leaves_one_out_until_the_next_look(vendor: Any) -> None:
    messages, _ = new()
    vendor.says(messages).fails(429)
    assert asyncio.run(look.campaigns(vendor.settings(revision=NEW))) == [BARE]


def test_a_refused_key_is_no_missing_audience(vendor: Any) -> None:
    messages, _ = new()
    vendor.says(messages).fails(403)
    with pytest.raises(Unauthorized):
        asyncio.run(look.campaigns(vendor.settings(revision=NEW)))


def test_pages_that_lead_in_a_circle_end(vendor: Any) -> None:
    pages = [{"data": [], "links": {"next": f"https://x.example/?page%5Bcursor%5D={name}"}} for name in "ABABAB"]
    vendor.says(*pages)
    with pytest.raises(Unreadable, match="in a circle"):
        asyncio.run(look.campaigns(vendor.settings()))
    assert len(vendor.asked) == 3


def test_what_is_asked(vendor: Any) -> None:
    vendor.says(*old())
    asyncio.run(look.campaigns(vendor.settings()))
    usual = {"filter": "equals(messages.channel,'email')"}
    assert [params for _, params in vendor.asked] == [usual, {**usual, "page[cursor]": "c1"}]
    assert vendor.headers[0]["authorization"] == "Klaviyo-API-Key pk_hush"
    assert vendor.headers[0]["accept"] == "application/vnd.api+json"


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_nothing_is_scheduled(vendor: Any, revision: str) -> None:
    vendor.says({"data": [], "links": {"next": None}})
    assert asyncio.run(look.campaigns(vendor.settings(revision=revision))) == []


def test_a_job(vendor: Any) -> None:
    attributes = {"status": "processing", "total_count": 2, "completed_count": 1, "failed_count": None}
    vendor.says({"data": {"id": "J1", "attributes": attributes}})
    assert asyncio.run(look.import_job(vendor.settings(), "J1")) == Job("J1", "processing", 2, 1, 0)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (302, Redirected, "is not followed"),
        (401, Unauthorized, "The key is refused. Connection: klaviyo_test."),
        (403, Unauthorized, "give it the scope"),
        (404, NotFound, "GET /api/x answered 404"),
        (429, RateLimited, "answered 429"),
        (503, ServerError, "answered 503"),
    ],
)
def test_a_look_fails_as_the_client_does(vendor: Any, status: int, kind: type[VendorError], said: str) -> None:
    vendor.fails(status, Retry_After="7", Location="https://evil.example/")
    with pytest.raises(VendorError, match=said) as caught:
        asyncio.run(look.get(vendor.settings(), "/api/x", {}))
    assert type(caught.value) is kind
    assert "hush" not in str(caught.value)
    assert len(vendor.asked) == 1
    if kind is RateLimited:
        assert caught.value.retry_after == 7


def test_what_breaks_off_or_is_no_document(vendor: Any, say: Any) -> None:
    def reset(request: Any) -> None:
        request.reply(200, b'{"data": [', Content_Length="1000")
        request.connection.shutdown(socket.SHUT_RDWR)

    vendor.breaks(reset).breaks(say.answer(b"<html>"))
    with pytest.raises(Unreachable, match="RemoteProtocolError"):
        asyncio.run(look.get(vendor.settings(), "/api/x", {}))
    with pytest.raises(Unreadable, match="is no JSON"):
        asyncio.run(look.get(vendor.settings(), "/api/x", {}))


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="ConnectError"):
        asyncio.run(look.get(Settings("http://127.0.0.1:9", "pk_hush"), "/api/x", {}))
