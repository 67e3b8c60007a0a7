"""Advisable.ai's sandbox as a customer of the vendor sees it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from include.sandbox.advisable.interactions import PATHS
from include.sandbox.server import running

KEYS = {"app-id": "sandbox", "app-secret": "sandbox_secret"}
T = 1_700_000_000_000


def view(user: str = "u1", item: str = "p1", timestamp: Any = T, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": timestamp, **more}


def ask(client: Any, method: str, path: str, content: Any = None, **headers: str) -> requests.Response:
    """A call with the right keys; bytes are sent as they are, anything else as JSON."""
    body = content if isinstance(content, bytes) else None if content is None else json.dumps(content).encode()
    answer: requests.Response = client.session.request(
        method, f"{client.url}/advisable/v1{path}", data=body, headers={**KEYS, **headers}, timeout=30
    )
    return answer


def send(client: Any, path: str, *interactions: Any) -> None:
    for each in interactions:
        answer = ask(client, "POST", f"/{path}", each)
        assert (answer.status_code, answer.json()) == (201, {"created": 1}), answer.text


def listed(client: Any, side: str, number: str, path: str) -> list[dict[str, Any]]:
    answer = ask(client, "GET", f"/{side}/{quote(number, safe='')}/{path}")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


def stored(client: Any, kind: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.control("interactions" + (f"?type={kind}" if kind else ""))
    return rows


@pytest.mark.parametrize("path", PATHS.values())
def test_each_type_is_stored_and_listed_by_user_and_by_item(client: Any, path: str) -> None:
    first = view(recommendation_id="r1", price=9.5, amount=2, duration=1500)
    second = view(timestamp=str(T - 1))
    send(client, path, first, second, view("u2"), view("u1", "p2"), first)
    read = {**second, "timestamp": T - 1}
    assert listed(client, "users", "u1", path) == [read, first, view("u1", "p2"), first]
    assert listed(client, "items", "p1", path) == [read, first, view("u2"), first]
    for other in PATHS.values():
        assert other == path or listed(client, "users", "u1", other) == []
    assert listed(client, "users", "nobody", path) == []
    kind = next(kind for kind in PATHS if PATHS[kind] == path)
    assert client.control("state")["interactions"] == {**dict.fromkeys(PATHS, 0), kind: 5}
    assert stored(client, kind) == stored(client, path) == stored(client)
    assert stored(client)[0] == {"type": kind, **read}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (view(""), "user_id"),
        (view(timestamp=None), "timestamp"),
        (view(timestamp=1_700_000_000), "timestamp"),
        (view(timestamp="1700000000"), "timestamp"),
        (view(timestamp=T * 1000), "timestamp"),
        (view(timestamp=float(T)), "timestamp"),
        (view(timestamp=True), "timestamp"),
        (view(timestamp="2026-01-01T00:00:00Z"), "timestamp"),
        (view(timestamp="\u0661700000000000"), "timestamp"),
        (view(timestamp="9" * 5_000), "timestamp"),
        ({"user_id": "u", "timestamp": T}, "item_id"),
        ({**view(), "user_id": 7}, "user_id"),
        (view(item_id=None), "item_id"),
        (view(recommendation_id=3), "recommendation_id"),
        (view(price="9.50"), "price"),
        (view(price=-0.01), "price"),
        (view(amount=True), "amount"),
        (view(duration=1.5), "duration"),
        (view(duration=-1), "duration"),
        (view(quantity=1), "quantity"),
        (view(value=3), "value"),
        ([view()], "body"),
        ("text", "body"),
    ],
)
def test_what_is_not_as_documented_is_refused_by_its_field(shared: Any, content: Any, field: str) -> None:
    answer = ask(shared, "POST", "/views", content)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], list(error["details"])) == (422, [field])
    many = ask(shared, "POST", "/purchases/batch", [view(), content])
    if field != "body":
        assert list(many.json()["error"]["details"]) == [f"[1].{field}"]
    assert many.status_code == 422
    assert stored(shared) == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"price": NaN}', b"[" * 100_000])
def test_what_is_no_json(shared: Any, body: bytes) -> None:
    assert ask(shared, "POST", "/views", body).status_code == 400
    assert ask(shared, "POST", "/purchases/batch", body).status_code == 400


@pytest.mark.parametrize(("value", "status"), [(0, 201), (5, 201), (2.5, 201), (None, 201), (-1, 422), (5.1, 422)])
def test_the_value_of_a_rating(client: Any, value: Any, status: int) -> None:
    assert ask(client, "POST", "/ratings", view(value=value)).status_code == status
    kept = [view()] if value is None else [view(value=value)]
    assert listed(client, "users", "u1", "ratings") == (kept if status == 201 else [])


def test_a_batch_is_all_or_nothing_and_of_purchases_only(client: Any) -> None:
    many = [view(f"u{number % 7}", timestamp=T + number, price=number / 4) for number in range(1_000)]
    answer = ask(client, "POST", "/purchases/batch", many)
    assert (answer.status_code, answer.json()) == (201, {"created": 1_000})
    assert [{**row, "type": 0} for row in stored(client)] == [{**row, "type": 0} for row in many]
    assert ask(client, "POST", "/purchases/batch", [*many[:5], view(""), view(price=-1)]).status_code == 422
    assert ask(client, "POST", "/purchases/batch", []).status_code == 422
    assert ask(client, "POST", "/purchases/batch", view()).status_code == 422
    assert ask(client, "POST", "/purchases/batch", many * 11).status_code == 413
    assert ask(client, "POST", "/views/batch", many[:1]).status_code == 404
    assert len(stored(client)) == 1_000
    assert ask(client, "POST", "/purchases/batch", many[:1] * 2).ok
    assert len(stored(client)) == 1_002  # what is sent again is there again


def test_a_deletion_is_as_wide_as_it_is_not_narrowed(client: Any) -> None:
    both = [view(user, item, T + number) for user in "ab" for item in "xy" for number in range(2)]
    send(client, "views", *both)
    send(client, "bookmarks", view())

    def deleted(query: str) -> int:
        answer = ask(client, "DELETE", f"/views{query}")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["deleted"])

    assert deleted("?user_id=nobody") == 0
    assert deleted(f"?user_id=a&item_id=x&timestamp={T}") == 1
    assert deleted(f"?timestamp={T + 1}") == 4
    assert deleted("?item_id=y") == 2
    for query in ("?user=a", "?user_id=", "?timestamp=now", f"?timestamp={10**30}", "?user_id=a&all=true"):
        assert ask(client, "DELETE", f"/views{query}").status_code == 422
    assert stored(client, "view") == [{"type": "view", **view("b", "x")}]
    assert deleted("") == 1
    assert [row["type"] for row in stored(client)] == ["bookmark"]


def test_a_transfer_moves_all_types(client: Any) -> None:
    for path in PATHS.values():
        send(client, path, view("guest"), view("jane", timestamp=T - 1), view("other"))
    moved = ask(client, "POST", "/users/guest/interactions/transfer/jane")
    assert (moved.status_code, moved.json()) == (200, {"transferred": 5})
    for path in PATHS.values():
        assert listed(client, "users", "jane", path) == [view("jane", timestamp=T - 1), view("jane")]
        assert listed(client, "users", "guest", path) == []
    assert ask(client, "POST", "/users/guest/interactions/transfer/jane").status_code == 404
    kept = ask(client, "POST", "/users/jane/interactions/transfer/new?delete_user=false")
    assert kept.json() == {"transferred": 10}
    again = ask(client, "POST", "/users/jane/interactions/transfer/new?delete_user=false")
    assert (again.status_code, again.json()) == (200, {"transferred": 0})
    assert ask(client, "POST", "/users/jane/interactions/transfer/new?delete_user=true").ok
    assert ask(client, "POST", "/users/jane/interactions/transfer/new").status_code == 404
    assert ask(client, "POST", "/users/new/interactions/transfer/new").status_code == 422
    assert ask(client, "POST", "/users/new/interactions/transfer/x?delete_user=maybe").status_code == 422
    assert ask(client, "GET", "/users/new/interactions/transfer/x").status_code in (404, 405)
    assert len(stored(client)) == 15


def test_another_external_id(client: Any) -> None:
    send(client, "views", view("guest"), view("jane"))
    assert ask(client, "PUT", "/users/guest", {"external_id": "jane"}).status_code == 409
    done = ask(client, "PUT", "/users/guest", {"external_id": "mary"})
    assert (done.status_code, done.json()) == (200, {})
    assert listed(client, "users", "mary", "views") == [view("mary")]
    assert listed(client, "users", "guest", "views") == []
    assert ask(client, "PUT", "/users/guest", {"external_id": "mary"}).status_code == 404
    assert ask(client, "PUT", "/users/mary", {"external_id": "mary"}).status_code == 200
    for body in (b"{}", b"[]", b'{"external_id": ""}', b'{"external_id": 7}', b'{"external_id": "x", "name": "y"}'):
        assert ask(client, "PUT", "/users/mary", body).status_code == 422


@pytest.mark.parametrize("number", ["a/b", "ž 1", "a%2Fb", "x?y=1&z", "a/interactions/transfer/b", "views", "'; --"])
def test_any_id_in_a_path(client: Any, number: str) -> None:
    send(client, "views", view(number, number))
    assert listed(client, "users", number, "views") == listed(client, "items", number, "views") != []
    assert ask(client, "PUT", f"/users/{quote(number, safe='')}", {"external_id": number + "2"}).ok
    moved = ask(client, "POST", f"/users/{quote(number + '2', safe='')}/interactions/transfer/{quote('/', safe='')}")
    assert moved.json() == {"transferred": 1}
    assert listed(client, "users", "/", "views") == [view("/", number)]
    shown = {each["path"] for each in client.control("requests")}
    assert shown <= {
        "/advisable/v1/views",
        "/advisable/v1/users/…/views",
        "/advisable/v1/items/…/views",
        "/advisable/v1/users/…",
        "/advisable/v1/users/…/interactions/transfer/…",
    }


def test_an_id_that_is_no_text(shared: Any) -> None:
    assert ask(shared, "GET", "/users/%ff/views").status_code == 400
    assert ask(shared, "GET", "/users//views").status_code == 404


@pytest.mark.parametrize("wrong", [{"app-id": "x"}, {"app-secret": "x"}, {"app-id": ""}, {"app-secret": "sandbox"}])
def test_every_call_carries_both_keys(shared: Any, wrong: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/views"),
        ("POST", "/purchases/batch"),
        ("GET", "/users/u/views"),
        ("GET", "/items/p/views"),
        ("DELETE", "/views"),
        ("POST", "/users/a/interactions/transfer/b"),
        ("PUT", "/users/a"),
    ):
        answer = ask(shared, method, path, b"{", **wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 401)
        assert requests.request(method, f"{shared.url}/advisable/v1{path}", timeout=30).status_code == 401


def test_keys_of_ones_own_and_unknown_paths(start: Callable[..., Any]) -> None:
    client = start(advisable_app_id="jane", advisable_app_secret="s3cret")
    assert "s3cret" not in repr(client.sandbox.parts.settings)
    keys = {"app-id": "jane", "app-secret": "s3cret"}
    assert ask(client, "POST", "/views", view()).status_code == 401
    assert ask(client, "POST", "/views", view(), **keys).status_code == 201
    for method, path in (
        ("POST", "/clicks"),
        ("DELETE", "/purchase"),
        ("GET", "/users/u/clicks"),
        ("GET", "/shops/s/views"),
    ):
        answer = ask(client, method, path, view(), **keys)
        assert (answer.status_code, "error" in answer.json()) in ((404, True), (422, True))
    assert len(stored(client)) == 1
    assert client.session.get(f"{client.url}/_sandbox/interactions?type=clicks", timeout=30).status_code == 422


def test_many_at_the_same_time(client: Any) -> None:
    def one(number: int) -> int:
        url = f"{client.url}/advisable/v1/views"
        return requests.post(url, json=view(f"u{number}"), headers=KEYS, timeout=30).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, range(200))) == {201}
    assert len({row["user_id"] for row in stored(client)}) == 200


def test_faults_meet_these_paths_too(client: Any) -> None:
    client.fault("429", path="/advisable/", retry_after=3)
    answer = ask(client, "POST", "/views", view())
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert answer.json()["error"]["code"] == 429
    client.fault("reset_after_store", path="/advisable/")
    with pytest.raises(requests.ConnectionError):
        ask(client, "POST", "/views", view())
    assert len(stored(client)) == 1
    client.fault("reset_mid_body", path="/advisable/v1/purchases")
    with pytest.raises(requests.ConnectionError):
        ask(client, "POST", "/purchases/batch", [view()] * 5_000)
    assert len(stored(client)) == 1
    assert [each["fault"] for each in client.control("requests")] == ["429", "reset_after_store", "reset_mid_body"]


def test_it_survives_a_restart_and_can_be_forgotten(tmp_path: Path) -> None:
    with running(tmp_path) as sandbox:
        requests.post(f"{sandbox.url}/advisable/v1/views", json=view(), headers=KEYS, timeout=30)
    with running(tmp_path) as sandbox:
        url = f"{sandbox.url}/_sandbox/interactions"
        assert requests.get(url, timeout=30).json() == [{"type": "view", **view()}]
        assert "<b>1</b>interactions" in requests.get(sandbox.url, timeout=30).text
        assert requests.delete(url, timeout=30).json() == {"deleted": 1}
        assert requests.get(url, timeout=30).json() == []
        moved = f"{sandbox.url}/advisable/v1/users/u1/interactions/transfer/u2"
        assert requests.post(moved, headers=KEYS, timeout=30).status_code == 404
