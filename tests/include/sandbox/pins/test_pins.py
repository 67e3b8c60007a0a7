"""Pin customizations as a customer of the vendor sees them."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.pins.database import PinsDatabase, store
from include.sandbox.pins.scopes import read_scope
from include.sandbox.server import running

BASE = "/v1/recommender/pin/1234-5678"
JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"


def pin(identity: str = "p9", **more: Any) -> dict[str, Any]:
    return {"pin_type": "item", "pin_identity": identity, "position": 1, **more}


def scope(identity: str = "p1", **more: Any) -> dict[str, Any]:
    target = {"target_type": "item", "target_identity": identity}
    return {"model": "basket", **target, "pin_definitions": [pin()], **more}


def lines(*scopes: Any) -> bytes:
    return "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in scopes).encode()


def ask(client: Any, method: str, path: str, content: Any = None, query: str = "", **changed: str) -> requests.Response:
    """A signed call; bytes are sent as they are, anything else as JSON."""
    content_type = changed.pop("content_type", NDJSON if path.endswith("_bulk") else JSON)
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    headers = client.headers(method, content_type, changed.get("signed_path", BASE + path))
    headers |= {"Content-Type": content_type}
    answer: requests.Response = client.session.request(
        method, client.url + changed.get("sent_to", BASE + path) + query, data=body, headers=headers, timeout=60
    )
    return answer


def bulk(client: Any, *scopes: Any, strategy: str = "") -> requests.Response:
    query = f"?conflict_strategy={strategy}" if strategy else ""
    return ask(client, "POST", "/scopes/_bulk", lines(*scopes), query)


def stored(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.control("pins")
    return found


def identities(client: Any) -> list[str]:
    return [each["target_identity"] for each in stored(client)]


def as_sent(answered: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answered.items() if name not in ("id", "created_at", "updated_at")}


def test_the_life_of_a_scope(client: Any) -> None:
    first = scope(tags=["spring"], target_metadata={"title": "Tea", "image": {"url": "x"}})
    made = ask(client, "POST", "/scope", first)
    assert made.status_code == 201
    number = made.json()["id"]
    assert as_sent(made.json()) == first
    assert ask(client, "GET", f"/scope/{number}").json() == made.json()
    second = scope("p2", pin_definitions=[pin(), pin("p8", position=-1, widget_id="w", is_bundle_pin=True)])
    changed = ask(client, "PUT", f"/scope/{number}", second)
    assert (changed.status_code, as_sent(changed.json()), changed.json()["id"]) == (200, second, number)
    assert changed.json()["created_at"] == made.json()["created_at"] < changed.json()["updated_at"]
    gone = ask(client, "DELETE", f"/scope/{number}")
    assert (gone.status_code, gone.json(), stored(client)) == (200, {}, [])
    for method, content in (("GET", None), ("PUT", first), ("DELETE", None)):
        answer = ask(client, method, f"/scope/{number}", content)
        assert (answer.status_code, "id" in answer.json()["reason"]) == (404, True)


def test_one_scope_for_each_model_and_target(client: Any) -> None:
    criteria = {"target_type": "criteria", "target_criteria": {"a": 1, "b": [2]}}
    turned = {"target_type": "criteria", "target_criteria": {"b": [2], "a": 1}}
    everything = {"target_type": "all"}
    for target in (criteria, everything, {"target_type": "item", "target_identity": "p1"}):
        for model in ("basket", "home"):
            assert ask(client, "POST", "/scope", {"model": model, "pin_definitions": [pin()], **target}).ok
    for target, field in ((turned, "target_criteria"), (everything, "target_type")):
        answer = ask(client, "POST", "/scope", {"model": "home", "pin_definitions": [pin("p2")], **target})
        assert answer.status_code == 409
        assert answer.json()["exception_details"] == {field: ["already exists"]}
        assert "exists" in answer.json()["reason"]
    other = stored(client)[0]["id"]
    assert ask(client, "PUT", f"/scope/{other}", scope()).status_code == 409
    assert ask(client, "PUT", f"/scope/{stored(client)[4]['id']}", scope(tags=["new"])).ok
    assert len(stored(client)) == 6


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({**scope(), "target_type": "user"}, "target_type"),
        ({**scope(), "model": ""}, "model"),
        ({**scope(), "model": None}, "model"),
        ({**scope(), "modell": "basket"}, "modell"),
        ({**scope(), "tags": "spring"}, "tags"),
        ({**scope(), "tags": [1]}, "tags"),
        ({**scope(), "target_metadata": "x"}, "target_metadata"),
        ({**scope(), "target_identity": 1}, "target_identity"),
        ({**scope(), "target_identity": None}, "target_identity"),
        ({**scope(), "target_criteria": {}}, "target_criteria"),
        ({**scope(), "target_type": "criteria"}, "target_criteria"),
        ({**scope(), "target_type": "all"}, "target_identity"),
        (scope(pin_definitions=[]), "pin_definitions"),
        (scope(pin_definitions=None), "pin_definitions"),
        (scope(pin_definitions=["p"]), "pin_definitions"),
        (scope(pin_definitions=[pin(pin_type="all")]), "pin_definitions.pin_type"),
        (scope(pin_definitions=[pin(pin_type="criteria")]), "pin_definitions.pin_criteria"),
        (scope(pin_definitions=[pin(), pin(pin_identity=None)]), "pin_definitions.pin_identity"),
        (scope(pin_definitions=[pin(pin_criteria={"a": 1})]), "pin_definitions.pin_criteria"),
        (scope(pin_definitions=[pin(position="1")]), "pin_definitions.position"),
        (scope(pin_definitions=[pin(position=1.0)]), "pin_definitions.position"),
        (scope(pin_definitions=[pin(position=True)]), "pin_definitions.position"),
        (scope(pin_definitions=[pin(position=-2)]), "pin_definitions.position"),
        (scope(pin_definitions=[pin(is_block_pin=True)]), "pin_definitions.is_block_pin"),
        (scope(pin_definitions=[pin(is_block_pin="yes", position=0)]), "pin_definitions.is_block_pin"),
        (scope(pin_definitions=[pin(is_bundle_pin=1)]), "pin_definitions.is_bundle_pin"),
        (scope(pin_definitions=[pin(active_from="tomorrow")]), "pin_definitions.active_from"),
        (scope(pin_definitions=[pin(active_from=1700000000)]), "pin_definitions.active_from"),
        (
            scope(pin_definitions=[pin(active_from="2026-01-02", active_to="2026-01-02T00:00:00Z")]),
            "pin_definitions.active_to",
        ),
        ([], "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b'{"model": "\\ud800"}', "body"),
        (b'{"model": NaN}', "body"),
        (b"[" * 100_000, "body"),
        (b"", "body"),
    ],
)
def test_what_is_not_as_documented_is_refused_by_its_field(shared: Any, content: Any, field: str) -> None:
    answer = ask(shared, "POST", "/scope", content)
    assert answer.status_code == 422
    assert field in answer.json()["exception_details"]
    assert answer.json()["reason"]
    assert stored(shared) == []


@pytest.mark.parametrize(
    "pins",
    [
        [{"pin_type": "item", "pin_identity": "p"}],
        [pin(position=0), pin(position=0, is_block_pin=True), pin(is_block_pin=False)],
        [{"pin_type": "criteria", "pin_criteria": {"any": ["thing", None, 1.5]}, "position": -1}],
        [pin(active_from="2026-01-02", active_to="2026-01-02T00:00:00-01:00"), pin(active_to="2026-01-02 10:00")],
    ],
)
def test_pins_that_are_as_documented(client: Any, pins: list[dict[str, Any]]) -> None:
    assert bulk(client, scope(pin_definitions=pins)).json() == {}
    assert stored(client)[0]["pin_definitions"] == pins


def test_bulk_under_each_strategy(client: Any) -> None:
    assert (bulk(client, scope("a"), scope("b")).status_code, identities(client)) == (200, ["a", "b"])
    before = stored(client)
    new, other = scope("c"), scope("b", tags=["other"])
    for strategy in ("", "raise"):
        answer = bulk(client, new, other, strategy=strategy)
        assert answer.status_code == 409
        assert answer.json()["exception_details"] == {"target_identity": ["already exists"]}
        assert stored(client) == before
    answer = bulk(client, new, other, strategy="ignore")
    assert (answer.status_code, answer.json()) == (200, {})
    assert stored(client)[:2] == before
    assert bulk(client, new, other, strategy="override").json() == {}
    after = stored(client)
    assert [as_sent(each) for each in after] == [scope("a"), other, new]
    assert [each["id"] for each in after[:2]] == [each["id"] for each in before]
    assert bulk(client, strategy="sometimes").status_code == 422


@pytest.mark.parametrize(("strategy", "tags"), [("ignore", ["1"]), ("override", ["2"])])
def test_the_same_target_twice_in_one_call(client: Any, strategy: str, tags: list[str]) -> None:
    twice = (scope(tags=["1"]), scope(tags=["2"]))
    assert bulk(client, *twice).status_code == 409
    assert stored(client) == []
    assert bulk(client, *twice, strategy=strategy).status_code == 200
    assert [each["tags"] for each in stored(client)] == [tags]


def test_five_thousand_and_one_more(client: Any) -> None:
    many = [scope(f"p{number}") for number in range(5_000)]
    assert bulk(client, *many, scope("more")).status_code == 413
    assert stored(client) == []
    assert bulk(client, *many, "").status_code == 200
    assert client.control("state")["pins"] == 5_000
    assert bulk(client, *many).status_code == 409
    exported = ask(client, "POST", "/scopes/export").json()
    assert [as_sent(each) for each in exported] == many


def test_an_empty_call_and_empty_lines(client: Any) -> None:
    assert bulk(client).status_code == bulk(client, "", "\r").status_code == 422
    assert bulk(client, "", scope(), "\r", scope("p2")).status_code == 200
    assert ask(client, "POST", "/scopes/_bulk", json.dumps(scope("p3")).encode()).status_code == 200
    assert identities(client) == ["p1", "p2", "p3"]


BAD = scope("bad", pin_definitions=[pin(position=-9), pin(position=-9)])


@pytest.mark.parametrize(
    ("sent", "status", "details", "kept"),
    [
        ([scope("b"), BAD, scope("c"), "{", BAD], 422, "pin_definitions.position", ["b"]),
        ([scope("b"), scope("a"), scope("c"), BAD], 409, "target_identity", ["b"]),
        ([BAD, scope("b"), scope("a")], 422, "pin_definitions.position", []),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("form", ["fields", "lines"])
def test_what_a_refusal_says_and_leaves(
    start: Callable[..., Any], sent: Sequence[Any], status: int, details: str, kept: list[str], partial: bool, form: str
) -> None:
    client = start(pins_partial=partial, pins_details=form)
    assert bulk(client, scope("a")).ok
    answer = bulk(client, *sent)
    invalid = [number for number, each in enumerate(sent, 1) if each is BAD]
    if status == 422 or partial:
        assert answer.status_code == status
        messages = answer.json()["exception_details"][details]
        numbers = [2] if status == 409 else invalid[: 1 if partial else None]
        starts = [f"line {number}: " for number in numbers] if form == "lines" else [""]
        assert len(messages) == len(starts)
        assert all(message.startswith(start) for message, start in zip(messages, starts, strict=True))
        assert ("line" in str(answer.json())) == (form == "lines")
    else:
        assert answer.status_code == 422  # without a part that is kept, all lines are looked at before any is stored
    assert identities(client) == (["a", *kept] if partial else ["a"])


def test_lists_by_page_filter_and_order(client: Any) -> None:
    rng = random.Random(7)
    sent = [
        scope(f"p{number:03}", model=("basket", "home")[number % 2], tags=[f"t{number % 3}", "all's"])
        for number in rng.sample(range(250), 250)
    ]
    assert bulk(client, *sent, {"model": "home", "target_type": "all", "pin_definitions": [pin()]}).ok

    def found(query: str) -> list[str | None]:
        answer = ask(client, "POST", "/scopes", {}, query)
        assert answer.status_code == 200, answer.text
        return [each.get("target_identity") for each in answer.json()]

    names = [each["target_identity"] for each in sent]
    assert found("") == names[:100]
    assert [*found("?limit=200"), *found("?limit=200&offset=200")] == [*names, None]
    assert found("?offset=251") == []
    assert found("?target_type=all&limit=1000") == [None]
    assert len(found("?model=basket&model=home&limit=1000")) == 251
    assert len(found("?model=basket&tag=t0&tag=t1&limit=1000")) == sum(
        each["model"] == "basket" and each["tags"][0] != "t2" for each in sent
    )
    assert len(found("?tag=all%27s&limit=1000")) == 250
    assert found("?target_identity=p001&target_identity=p000&sort=target_identity:asc") == ["p000", "p001"]
    assert found("?target_type=item&sort=target_identity:desc&limit=3") == ["p249", "p248", "p247"]
    by_model = found("?target_type=item&sort=model&sort=target_identity:desc&limit=126")
    assert (by_model[0], by_model[124], by_model[125]) == ("p248", "p000", "p249")
    assert len(ask(client, "POST", "/scopes/export", None, "?model=home").json()) == 126


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?limit=0", "limit"),
        ("?limit=many", "limit"),
        ("?offset=-1", "offset"),
        (f"?offset={10**30}", "offset"),
        ("?sort=content", "sort.0"),
        ("?sort=model:up", "sort.0"),
        ("?target_type=user", "target_type.0"),
        ("?tags=a", "tags"),
    ],
)
def test_a_wrong_question(shared: Any, query: str, field: str) -> None:
    answer = ask(shared, "POST", "/scopes", None, query)
    assert (answer.status_code, list(answer.json()["exception_details"])) == (422, [field])


def test_criteria_in_the_body_are_not_passed_over(shared: Any) -> None:
    for body in (b'{"target_criteria": {"a": 1}}', b"[]", b"{"):
        assert ask(shared, "POST", "/scopes", body).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/scope"),
        ("GET", "/scope/x"),
        ("PUT", "/scope/x"),
        ("DELETE", "/scope/x"),
        ("POST", "/scopes"),
        ("POST", "/scopes/export"),
        ("POST", "/scopes/_bulk"),
    ],
)
def test_every_call_is_signed_without_its_query(shared: Any, method: str, path: str) -> None:
    query = "?conflict_strategy=raise" if path.endswith("_bulk") else "?limit=1"
    refused = ask(shared, method, path, b"x", query, signed_path=BASE + path + query)
    assert (refused.status_code, "does not fit" in refused.json()["reason"]) == (401, True)
    assert ask(shared, method, path, b"x", query, signed_path=BASE + path + "/").status_code == 401
    assert shared.session.request(method, shared.url + BASE + path, timeout=30).status_code == 401
    other = "/v1/recommender/pin/9-9" + path
    answer = ask(shared, method, path, b"x", signed_path=other, sent_to=other)
    assert (answer.status_code, "tracker" in answer.json()["reason"]) == (404, True)
    assert ask(shared, method, path, b"x", content_type="text/plain").status_code == 415
    assert ask(shared, method, path, b"{", query).status_code in (200, 404, 422)


def test_control_and_journal(client: Any) -> None:
    assert bulk(client, scope("a"), scope("b")).ok
    assert ask(client, "DELETE", f"/scope/{stored(client)[0]['id']}").ok
    paths = [each["path"].removeprefix(BASE) for each in client.control("requests")]
    assert paths == ["/scopes/_bulk", "/scope/…"]
    assert "<b>1</b>pins" in client.session.get(client.url, timeout=30).text
    assert client.session.delete(f"{client.url}/_sandbox/pins", timeout=30).json() == {"deleted": 1}
    assert (stored(client), client.control("state")["pins"]) == ([], 0)


def test_scopes_survive_a_restart(tmp_path: Path) -> None:
    def answered() -> list[dict[str, Any]]:
        with running(tmp_path) as sandbox:
            found: list[dict[str, Any]] = requests.get(f"{sandbox.url}/_sandbox/pins", timeout=30).json()
            return found

    assert answered() == []
    with PinsDatabase(tmp_path).writing() as connection:
        made = store(connection, read_scope(json.dumps(scope()).encode()), "raise", "2026-01-01T00:00:00Z")
    assert answered() == answered() == [made]


def test_faults_meet_pins_too(client: Any) -> None:
    client.fault("reset_after_store", path=f"{BASE}/scopes/_bulk")
    with pytest.raises(requests.ConnectionError):
        bulk(client, scope("a"))
    assert identities(client) == ["a"]
    client.fault("reset_mid_body", path=BASE)
    with pytest.raises(requests.ConnectionError):
        bulk(client, *(scope(f"p{number}") for number in range(4_000)))
    assert identities(client) == ["a"]
    client.fault("503")
    assert bulk(client, scope("b")).status_code == 503
