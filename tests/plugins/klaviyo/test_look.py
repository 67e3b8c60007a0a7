"""Campaigns in both shapes, by the client that waits and by the looks that do not; looks fail as the client does."""

import asyncio
import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from klaviyo import look
from klaviyo.client import Campaign, Job
from klaviyo.connections import Settings
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
SEND_AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
AUTUMN = Campaign("C1", "Autumn", "scheduled", SEND_AT, ("SEGM01", "LIST01"), ("LIST09",))
BARE = Campaign("C4", "", "scheduled", None, (), ())


def old_campaign(campaign: str, status: str, **attributes: Any) -> dict[str, Any]:
    return {"type": "campaign", "id": campaign, "attributes": {"status": status, **attributes}}


def old() -> list[Any]:
    audiences = {"included": ["SEGM01", "LIST01"], "excluded": ["LIST09"]}
    full = {"name": "Autumn", "send_time": "2026-11-24T09:00:00+01:00", "audiences": audiences}
    first = [old_campaign("C1", "Scheduled", **full), old_campaign("C2", "Draft"), old_campaign("C3", "Sent")]
    second = [old_campaign("C4", "scheduled", send_time="soon", audiences=None)]
    link = "https://a.klaviyo.com/api/campaigns?page%5Bcursor%5D=c1"
    return [{"data": first, "links": {"next": link}}, {"data": second, "links": {"next": None}}]


def message(ident: str, campaign: str, status: str, audience: str | None, **definition: Any) -> dict[str, Any]:
    related = {"campaign": {"data": {"type": "campaign", "id": campaign}}}
    if audience:
        related["campaign-audience"] = {"data": {"type": "campaign-audience", "id": audience}}
    attributes = {"created": "x", "updated": "x", "definition": {"status": status, **definition}}
    return {"type": "campaign-message", "id": ident, "attributes": attributes, "relationships": related}


def new() -> list[Any]:
    options = {"send_time": "2026-11-24T08:00:00Z", "send_strategy": "static"}
    messages = [
        message("M1", "C1", "scheduled", "A1", name="Autumn", send_options=options),
        message("M2", "C2", "draft", "A2"),
        message("M4", "C4", "scheduled", None, send_options=None),
    ]
    definition = {"included": ["SEGM01", "LIST01"], "excluded": ["LIST09"], "priority": 1}
    audience = {"data": {"type": "campaign-audience", "id": "A1", "attributes": {"definition": definition}}}
    return [{"data": messages, "links": {"next": None}}, audience]


@pytest.mark.parametrize("waiting", [True, False], ids=["client", "look"])
@pytest.mark.parametrize(
    ("revision", "documents", "asked"),
    [
        ("2024-10-15", old, ["/api/campaigns", "/api/campaigns"]),
        (OLD, old, ["/api/campaigns", "/api/campaigns"]),
        (NEW, new, ["/api/campaign-messages", "/api/campaign-audiences/A1"]),
        ("2027-01-15", new, ["/api/campaign-messages", "/api/campaign-audiences/A1"]),
    ],
)
def test_both_shapes_tell_the_same(vendor: Any, waiting: bool, revision: str, documents: Any, asked: list[str]) -> None:
    vendor.says(*documents())
    if waiting:
        with vendor.client(revision=revision) as client:
            found = client.campaigns()
    else:
        found = asyncio.run(look.campaigns(vendor.settings(revision=revision)))
    assert found == [AUTUMN, BARE]
    assert [path for path, _ in vendor.asked] == asked
    assert {headers["revision"] for headers in vendor.headers} == {revision}


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
