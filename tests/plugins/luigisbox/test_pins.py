"""The client of pins over a socket: signed as documented, read to the end, and never sent again blindly."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests

from luigisbox.client import Settings
from luigisbox.hooks import LuigisBoxHook
from luigisbox.pins import PinClient
from vendor_http.errors import (
    Conflict,
    FateUnknown,
    Invalid,
    NotFound,
    ServerError,
    TooLarge,
    Unauthorized,
    Unreachable,
    Unreadable,
)
from vendor_http.retry import Retry

Serve = Callable[[Callable[[Any], None]], str]
BULK = "/v1/recommender/pin/1234-5678/scopes/_bulk"


def scope(name: str = "p1", **more: Any) -> dict[str, Any]:
    pin = {"pin_type": "item", "pin_identity": "p9", "position": 1}
    return {"model": "basket", "target_type": "item", "target_identity": name, "pin_definitions": [pin], **more}


def lines(*scopes: Any) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in scopes).encode()


@pytest.fixture
def pins(box: Any) -> PinClient:
    requests.delete(f"{box.url}/_sandbox/pins").raise_for_status()
    return client_of(box.url)


def client_of(url: str, **changes: Any) -> PinClient:
    known = {"base_url": url, "tracker": "1234-5678", "private_key": "your_private_api_key"}
    return PinClient(Settings(**{**known, **changes}), Retry(sleep=lambda _: None))


def calls(box: Any) -> list[tuple[str, str, int | None]]:
    return [(entry["method"], entry["path"].rpartition("/")[2], entry["status"]) for entry in box.requests()]


def test_one_scope_through_its_life(pins: PinClient) -> None:
    number = pins.create(scope())["id"]
    assert pins.replace(number, scope(tags=["new"]))["tags"] == ["new"]
    assert [each["tags"] for each in pins.export()] == [["new"]]
    with pytest.raises(Conflict, match="A scope for the same target is there already"):
        pins.create(scope())
    pins.delete(number)
    assert list(pins.list()) == list(pins.export()) == []
    for gone in (lambda: pins.delete(number), lambda: pins.replace(number, scope())):
        with pytest.raises(NotFound, match="There is no scope with this id, or Luigi's Box does not know tracker"):
            gone()


def test_a_list_is_read_to_its_end_and_narrowed(pins: PinClient) -> None:
    pins.bulk(
        lines(*(scope(f"p{number}", tags=["even"] if number % 2 == 0 else ["odd"]) for number in range(23))), "raise"
    )
    assert [each["target_identity"] for each in pins.list(page=5, sort=["created_at:asc"])] == [
        f"p{number}" for number in range(23)
    ]
    assert len(list(pins.list(tag=["odd"], page=4))) == 11
    assert [each["target_identity"] for each in pins.list(target_identity=["p3", "p4"], model=["basket", "home"])] == [
        "p3",
        "p4",
    ]
    assert len(pins.export(tag=["even"])) == 12


def test_what_stands_there_is_refused_left_or_replaced(pins: PinClient) -> None:
    pins.bulk(lines(scope("p1"), scope("p2")), "raise")
    with pytest.raises(Conflict, match="conflict_strategy is raise; ignore or override allow it") as refused:
        pins.bulk(lines(scope("p2", tags=["x"]), scope("p3")), "raise")
    assert refused.value.details == {"target_identity": ["already exists"]}
    assert len(pins.export()) == 2
    pins.bulk(lines(scope("p2", tags=["x"]), scope("p3")), "ignore")
    assert [each.get("tags") for each in pins.export()] == [None, None, None]
    pins.bulk(lines(scope("p2", tags=["x"])), "override")
    assert [each.get("tags") for each in pins.export()] == [None, ["x"], None]


def test_each_answer_has_its_own_error(pins: PinClient, box: Any) -> None:
    with pytest.raises(Invalid, match="A scope is not as Luigi's Box wants it") as invalid:
        pins.bulk(lines(scope(), scope("p2", pin_definitions=[])), "ignore")
    assert list(invalid.value.details) == ["pin_definitions"]
    with pytest.raises(TooLarge, match=r"at most 5,000 scopes: lower pins\.scopes_per_call"):
        pins.bulk(lines(*(scope(f"p{number}") for number in range(5_001))), "ignore")
    with pytest.raises(Unauthorized, match=r"Connection: mine\. Clock: the clocks agree"):
        list(client_of(box.url, private_key="wrong", connection="mine").list())
    with pytest.raises(NotFound, match="does not know tracker 9-9"):
        client_of(box.url, tracker="9-9", public_key="1234-5678").bulk(lines(scope()), "raise")
    with pytest.raises(Unreachable, match="refused"):
        client_of("http://127.0.0.1:9").bulk(lines(scope()), "raise")


@pytest.mark.parametrize("fault", ["reset_after_store", "503", "reset_mid_body"])
def test_a_creation_whose_fate_is_unknown_is_not_sent_again(pins: PinClient, box: Any, fault: str) -> None:
    for attempt in (lambda: pins.bulk(lines(scope()), "raise"), lambda: pins.create(scope("p2"))):
        box.forget_requests()
        box.fault(fault)
        with pytest.raises(FateUnknown, match="It was sent by then; whether it was applied is unknown"):
            attempt()
        assert len(calls(box)) == 1
    assert len(pins.export()) == (2 if fault == "reset_after_store" else 0)


@pytest.mark.parametrize("strategy", ["ignore", "override"])
@pytest.mark.parametrize("fault", ["reset_after_store", "500", "reset_mid_body", "429"])
def test_under_ignore_and_override_it_is(pins: PinClient, box: Any, fault: str, strategy: Any) -> None:
    box.fault(fault)
    pins.bulk(lines(scope(), scope("p2")), strategy)
    assert [name for _, name, _ in calls(box)] == ["_bulk", "_bulk"]
    assert len(pins.export()) == 2


def test_what_was_not_taken_is_sent_again_even_under_raise(pins: PinClient, box: Any) -> None:
    box.fault("429", retry_after=0)
    pins.bulk(lines(scope()), "raise")
    assert [status for _, _, status in calls(box)] == [429, 200]


def test_replacing_deleting_and_looking_are_tried_again(pins: PinClient, box: Any) -> None:
    number = pins.create(scope())["id"]
    box.fault("reset_after_store")
    pins.replace(number, scope(tags=["x"]))
    box.fault("502")
    assert [each["tags"] for each in pins.export()] == [["x"]]
    box.fault("reset_after_store")
    pins.delete(number)  # the second attempt is told 404: the first one did it
    assert pins.export() == []


def test_each_attempt_is_signed_anew(pins: PinClient, box: Any) -> None:
    times = iter(range(1_700_000_000, 1_700_000_100))
    client = PinClient(pins.settings, Retry(sleep=lambda _: None, attempts=2), clock=lambda: next(times))
    with pytest.raises(Unauthorized):
        client.export()
    assert next(times) > 1_700_000_001


def answers(serve: Serve, *bodies: bytes) -> PinClient:
    left = list(bodies)

    def answer(handler: Any) -> None:
        handler.take()
        handler.reply(200, left.pop(0) if len(left) > 1 else left[0])

    return client_of(serve(answer))


@pytest.mark.parametrize("wrap", ["scopes", "data", "results", None, "lines", "one"])
def test_any_likely_shape_of_an_export_is_understood(serve: Serve, wrap: str | None) -> None:
    rows = [{**scope(), "id": "1"}, {**scope("p2"), "id": "2"}][: 1 if wrap == "one" else 2]
    body = json.dumps(rows if wrap is None else rows[0] if wrap == "one" else {str(wrap): rows}).encode()
    assert answers(serve, lines(*rows) if wrap == "lines" else body).export() == rows


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b'[{"id": "1", "pin_definitions": ["x"]}]',
        b'[{"id": "1", "pin_definitions": {"a": 1}}]',
        b'[{"id": "1", "tags": 5}]',
        b'[{"id": null}]',
        b'[{"id": ""}]',
        b"<html>",
        b'{"error": "maintenance"}',
        b"[1]",
        b'[{"model": "x"}]',
        b'{"total": 3, "data": [{"id": 1}]}',
    ],
)
def test_an_export_that_is_none_or_not_whole_is_not_taken_for_one(serve: Serve, body: bytes) -> None:
    with pytest.raises(Unreadable):
        answers(serve, body).export()


@pytest.mark.parametrize("number", ["", ".", "..", " "])
def test_an_id_that_leads_elsewhere_is_not_sent(pins: PinClient, box: Any, number: str) -> None:
    box.forget_requests()
    for attempt in (lambda: pins.delete(number), lambda: pins.replace(number, scope())):
        with pytest.raises(Invalid, match="is no id of a scope"):
            attempt()
    assert calls(box) == []


def test_a_list_that_heeds_no_offset_does_not_go_on_for_ever(serve: Serve) -> None:
    page = json.dumps([{**scope(), "id": "1"}]).encode()
    with pytest.raises(Unreadable, match="the same page came twice"):
        list(answers(serve, page).list())


def test_a_5xx_that_stays_is_an_error(pins: PinClient, box: Any) -> None:
    box.fault("500", times=None)
    with pytest.raises(ServerError):
        pins.bulk(lines(scope()), "override")


def test_the_hook_passes_it_all_on(shop: Any) -> None:
    requests.delete(f"{shop.box.url}/_sandbox/pins").raise_for_status()
    hook = LuigisBoxHook("luigisbox_test")
    hook.send_scopes(lines(scope(), scope("p2")), "raise")
    number = hook.create_scope(scope("p3"))["id"]
    hook.replace_scope(number, scope("p4"))
    assert [each["target_identity"] for each in hook.list_scopes(page=2)] == ["p1", "p2", "p4"]
    hook.delete_scope(number)
    assert len(hook.export_scopes(model=["basket"])) == 2
    assert hook.test_connection()[0]


def test_no_secret_and_no_id_of_a_scope_is_logged(pins: PinClient, box: Any, caplog: pytest.LogCaptureFixture) -> None:
    number = pins.create(scope())["id"]
    box.fault("503", times=2)
    with caplog.at_level(logging.DEBUG, "vendor_http"):
        pins.delete(number)
    assert "attempt 1 of 4" in caplog.text
    assert "your_private_api_key" not in caplog.text
    assert number not in caplog.text
