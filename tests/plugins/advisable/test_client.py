"""The client against the sandbox and small servers: what is stored, what is unknown, which ids are hidden."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from advisable.client import Client
from advisable.connections import Settings
from include.errors import PipelineError
from vendor_http.errors import (
    FateUnknown,
    Invalid,
    NotFound,
    Redirected,
    ServerError,
    Unreachable,
    Unreadable,
    VendorError,
)
from vendor_http.retry import Retry

from .conftest import TIME, Box

HOSTILE = "a b/c?d=é&…#%2F'\"\\..x@example.com"


def row(user: str = "u", item: str = "i", at: int = TIME, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": at, **more}


def test_all_types_are_created_listed_and_deleted(box: Box) -> None:
    with box.client() as client:
        for kind in client.settings.paths:
            client.create(kind, row(HOSTILE, "i/1", value=3.5) if kind == "rating" else row(HOSTILE, "i/1"))
            assert [each["item_id"] for each in client.list_by_user(HOSTILE, kind)] == ["i/1"]
            assert [each["user_id"] for each in client.list_by_item("i/1", kind)] == [HOSTILE]
            client.delete(kind, user_id=HOSTILE)
            assert client.list_by_user(HOSTILE, kind) == []


def test_purchases_go_in_batches(box: Box) -> None:
    with box.client() as client:
        client.create_purchases([row(at=TIME + n, price=1.5, amount=2) for n in range(3)])
        assert [each["price"] for each in client.list_by_user("u", "purchase")] == [1.5] * 3


def test_deleting_is_as_narrow_as_it_is_asked_to_be(box: Box) -> None:
    with box.client() as client:
        for user, item, at in [("a", "x", TIME), ("a", "y", TIME), ("b", "x", TIME), ("b", "x", TIME + 1)]:
            client.create("view", row(user, item, at))
        client.delete("view", user_id="b", item_id="x", timestamp=TIME + 1)
        assert len(box.stored()) == 3
        client.delete("view", item_id="y")
        assert set(box.stored()) == {("a", "x", TIME), ("b", "x", TIME)}
        with pytest.raises(PipelineError, match="it would delete every interaction of this type, of all users"):
            client.delete("view")
        with pytest.raises(PipelineError, match="an empty id or timestamp narrows nothing"):
            client.delete("view", user_id="")
        with pytest.raises(PipelineError, match="all=True goes without user_id"):
            client.delete("view", user_id="a", all=True)
        assert len(box.stored()) == 2
        client.delete("view", all=True)
        assert not box.stored()


def test_guests_become_customers(box: Box) -> None:
    with box.client() as client:
        client.create("view", row("guest/1"))
        client.transfer("guest/1", "customer 1", delete_user=False)
        client.transfer("guest/1", "customer 1")  # it is still there
        with pytest.raises(NotFound):
            client.transfer("guest/1", "customer 1")
        client.change_external_id("customer 1", "customer/2")
        assert {user for user, _, _ in box.stored()} == {"customer/2"}


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_not_sent(bad: str, box: Box) -> None:
    with box.client() as client, pytest.raises(PipelineError, match="cannot stand in a path"):
        client.transfer("guest", bad)
    assert not box.requests()


def test_sentences_carry_no_id(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    errors = []
    with box.client() as client:
        for call in (
            lambda: client.transfer("guest-4711", "customer-0815"),
            lambda: client.change_external_id("guest-4711", "customer-0815"),
            lambda: client.create("view", row("customer-0815", value=9)),
        ):
            with pytest.raises((NotFound, Invalid)) as caught:
                call()
            errors.append(str(caught.value))
        box.fault("503", times=9)
        with pytest.raises(ServerError) as refused:
            client.list_by_user("customer-0815", "view")
    text = " ".join([*errors, str(refused.value), caplog.text])
    assert "/v1/users/…/interactions/transfer/…" in text
    assert "4711" not in text
    assert "0815" not in text


def nowhere(url: str = "http://127.0.0.1:9", **changes: Any) -> Client:
    return Client(Settings(url, "app", "hush", **changes), Retry(attempts=2, sleep=lambda _: None))


def test_nobody_there_means_nothing_was_stored() -> None:
    with nowhere() as client, pytest.raises(Unreachable, match=r"users/…/.*refused.* Nothing was stored") as caught:
        client.transfer("guest-4711", "customer-0815")
    assert "4711" not in str(caught.value)
    assert caught.value.__suppress_context__


def answering(serve: Callable[..., str], status: int, body: bytes = b"", **headers: str) -> Client:
    def answer(handler: Any) -> None:
        handler.take()
        handler.reply(status, body, **headers)

    return nowhere(serve(answer))


@pytest.mark.parametrize("status", [302, 401, 404, 408, 422, 500])
def test_however_the_vendor_spells_ids_and_credentials_they_are_hidden(status: int, serve: Callable[..., str]) -> None:
    user, other = "žofie/7@shop.cz", "jan novák"
    spelled = [user, "%C5%BEofie/7%40shop.cz", "%c5%beofie%2f7%40shop.cz", "jan%20nov%C3%A1k", "jan+nov%C3%A1k"]
    body = f"no {' and '.join(spelled)} with app ID-81, secret hush! of xhush!x".encode()
    client = answering(serve, status, body)
    client = Client(replace(client.settings, app_id="ID-81", app_secret="hush!"), Retry(attempts=1))
    with client, pytest.raises(VendorError) as caught:
        client.transfer(user, other)
    for leak in ("ofie", "shop", "jan", "nov", "ID-81", "hush"):
        assert leak not in str(caught.value)


def test_ids_in_a_path_that_redirects_are_hidden(serve: Callable[..., str]) -> None:
    with answering(serve, 302, Location="/v1/users/jan%40shop.cz/views") as client, pytest.raises(Redirected) as caught:
        client.list_by_user("jan@shop.cz", "view")
    assert "jan" not in str(caught.value)


def test_ids_that_the_vendor_quotes_are_hidden(serve: Callable[..., str]) -> None:
    body = json.dumps({"error": "users žofie-1, 4711 and i-9: no such user"}).encode()
    with answering(serve, 422, body) as client, pytest.raises(Invalid) as caught:
        client.create_purchases([row("žofie-1"), row("4711")])
    assert "users …, … and i-9: no such user" in str(caught.value)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_success(status: int, serve: Callable[..., str]) -> None:
    with answering(serve, status) as client:
        client.create("view", row())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "text/html"),
        (b" \n", "text/plain"),
        (b'{"id": 1}', "application/json"),
        (b"[]", ""),
        (b'"ok"', "text/plain"),
    ],
)
def test_nothing_or_json_confirms(body: bytes, kind: str, serve: Callable[..., str]) -> None:
    with answering(serve, 200, body, **{"Content-Type": kind}) as client:
        client.create("view", row())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Sign in", ""),
        (b'{"a": 1}', "text/html; charset=utf-8"),
        (b"welcome", "text/plain"),
        (b'{"half', "application/json"),
        (b"[" * 100_000, "application/json"),
    ],
)
def test_a_page_confirms_nothing(body: bytes, kind: str, serve: Callable[..., str]) -> None:
    with answering(serve, 200, body, **{"Content-Type": kind}) as client:
        for call in (
            lambda: client.create("view", row()),
            lambda: client.create_purchases([row()]),
            lambda: client.transfer("a", "b"),
            lambda: client.change_external_id("a", "b"),
        ):
            with pytest.raises(FateUnknown, match=re.escape(client.settings.base_url)):
                call()


def test_nobody_is_transferred_to_himself(box: Box) -> None:
    with box.client() as client:
        for call in (client.transfer, client.change_external_id):
            with pytest.raises(PipelineError, match="the same user"):
                call("a", "a")
    assert not box.requests()


def test_a_type_that_does_not_exist_is_told_of(box: Box) -> None:
    kind: Any = "sale"
    with box.client() as client:
        for call in (
            lambda: client.create(kind, row()),
            lambda: client.list_by_user("u", kind),
            lambda: client.list_by_item("i", kind),
            lambda: client.delete(kind, user_id="u"),
        ):
            with pytest.raises(PipelineError, match="no type of interactions 'sale'; known are purchase, view"):
                call()
    assert not box.requests()


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_5xx_or_a_408_leaves_it_unknown(status: int, serve: Callable[..., str]) -> None:
    with answering(serve, status) as client, pytest.raises(FateUnknown, match="whether it was stored is unknown"):
        client.create("view", row())


def test_a_lost_answer_leaves_it_unknown(serve: Callable[..., str]) -> None:
    def answer(handler: Any) -> None:
        handler.take()
        handler.close_connection = True

    with nowhere(serve(answer)) as client:
        for call in (lambda: client.create("view", row()), lambda: client.transfer("a", "b")):
            with pytest.raises(FateUnknown, match="is unknown"):
                call()


def test_a_line_that_breaks_in_a_long_body_means_nothing_was_stored(box: Box) -> None:
    box.fault("reset_mid_body", after_bytes=1000)
    purchases = [row(at=TIME + n, recommendation_id="r" * 100_000) for n in range(60)]
    with box.client() as client:
        client.create_purchases(purchases)
        assert len(client.pauses) == 1  # type: ignore[attr-defined]
    assert box.stored() == {("u", "i", TIME + n): 1 for n in range(60)}


def test_a_redirect_is_not_followed(serve: Callable[..., str]) -> None:
    client = answering(serve, 302, Location="https://elsewhere.example/v1/views")
    with client, pytest.raises(Redirected):
        client.create("view", row())


@pytest.mark.parametrize(
    ("body", "found"),
    [(b"[]", 0), (b'[{"item_id": "i"}]', 1), (b'{"count": 1, "interactions": [{"item_id": "i"}]}', 1)],
)
def test_lists_come_in_two_shapes(body: bytes, found: int, serve: Callable[..., str]) -> None:
    with answering(serve, 200, body) as client:
        assert len(client.list_by_user("u", "view")) == found


@pytest.mark.parametrize("body", [b"<html>", b"7", b'{"a": [], "b": []}', b'["u"]', b"[" * 100_000])
def test_no_list_is_told_of(body: bytes, serve: Callable[..., str]) -> None:
    with answering(serve, 200, body) as client, pytest.raises(Unreadable):
        client.list_by_user("u", "view")


def test_requests_are_paced(serve: Callable[..., str]) -> None:
    pauses: list[float] = []

    def answer(handler: Any) -> None:
        handler.take()
        handler.reply(200)

    settings = Settings(serve(answer), "app", "hush")
    with Client(settings, requests_per_second=0.5, sleep=pauses.append) as client:
        for _ in range(3):
            client.create("view", row())
    assert len(pauses) == 2
    assert pauses[0] > 1
