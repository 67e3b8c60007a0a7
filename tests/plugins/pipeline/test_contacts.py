"""A batch into SmartEmailing's contacts through the delivery's task, against the sandbox, books and all."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from include.deliveries.claims import Overtaken
from include.publishers.batches import Coverage
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from include.sandbox.server import Running, running
from include.sandbox.smartemailing.fill import fill_smartemailing
from pipeline.deliver import TooManySetAside, close_books
from pipeline.deliver_operator import DeliverOperator
from smartemailing.client import Client
from tests.include.recommendations.documents import User, batch_of, products, settings, user_set, xml
from vendor_http.errors import Unauthorized

PARTS = 2
PUBLISHER = """
luigisbox: {connection: luigisbox_test}
audience: {connection: none, sql: "SELECT 1 AS auth_user_id"}
batch: {link: /x.xml, connection: batch_test, parts: 2}
deliveries:
  - name: contacts
    kind: smartemailing
    connection: contacts_test
    call_contacts: 3
    on_absent: %s
    fields:
      basket: 21
      top: [{id: 31, url: 32}, {id: 33, url: 34}]
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


class Shop:
    def __init__(self, root: Path, publishers: Path, sandbox: Running) -> None:
        self.root, self.publishers, self.sandbox = root, publishers, sandbox
        self.figures: dict[str, Any] = {}

    def configure(self, on_absent: str) -> None:
        (self.publishers / "shop.yaml").write_text(PUBLISHER % on_absent)

    def found(self) -> dict[str, dict[int, str]]:
        """The customer's number, and the values of the fields that are not empty."""
        query = (
            "SELECT emailaddress, customfield_id, value FROM contacts c JOIN contact_customfields v "
            "ON v.contact_id = c.id WHERE customfield_id > 20 AND value <> ''"
        )
        found: dict[str, dict[int, str]] = {}
        with closing(sqlite3.connect(self.sandbox.state / "smartemailing.sqlite", timeout=30)) as connection:
            for email, field, value in connection.execute(query):
                found.setdefault(email.partition("@")[0], {})[field] = value
        return found

    def imports(self) -> int:
        asked = requests.get(f"{self.sandbox.url}/_sandbox/requests", timeout=10).json()
        return sum(each["path"].endswith("/import") for each in asked)

    def batch(self, name: str, users: list[User], listed: list[str], bad: str = "") -> dict[str, Any]:
        folder = batch_of(self.root / "shop" / "batches" / name, xml(users))
        manifest = parse_batch(folder, settings(parts=PARTS))
        mails: list[str | None] = [f"{user}@example.com" if user != bad else "nobody" for user in listed]
        the_list = user_set(self.root, f"list-{name}", listed, mails)
        (the_list.folder / "record.json").write_text(json.dumps({"segment": False}))
        self.figures = coverage.reconcile(folder, the_list, settings(parts=PARTS), Coverage())
        about = {"uri": folder.as_uri(), "sha256": manifest["sha256"], "user_set": the_list.name}
        return {**about, "outcome": "fresh"}

    def task(self, batch: dict[str, Any], part: int, types: list[str] | None = None) -> dict[str, Any]:
        item = {"delivery": "contacts", "part": part}
        return dict(DeliverOperator(task_id="deliver", item=item, plan=plan(types), batch=batch).execute({}))

    def deliver(self, batch: dict[str, Any], types: list[str] | None = None) -> dict[str, Any]:
        done = [self.task(batch, part, types) for part in range(PARTS)]
        return dict(close_books(plan(types), batch, self.figures, done)["deliveries"]["contacts"])


def plan(types: list[str] | None) -> Any:
    return {"publisher": "shop", "recommendation_types": types, "deliveries": ["contacts"]}


@pytest.fixture
def shop(staging: Path, tmp_path: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    publishers = tmp_path / "publishers"
    publishers.mkdir()
    monkeypatch.setenv("PUBLISHERS_DIR", str(publishers))
    form = {"conn_type": "smartemailing", "host": sandbox.url, "login": "sandbox", "password": "sandbox_key"}
    monkeypatch.setenv("AIRFLOW_CONN_CONTACTS_TEST", json.dumps({**form, "extra": {"pause_seconds": 0.001}}))
    for what in ("faults", "requests"):
        requests.delete(f"{sandbox.url}/_sandbox/{what}", timeout=10).raise_for_status()
    fill_smartemailing(sandbox.state, ((f"u{n}", f"u{n}@example.com") for n in range(12)))
    shop = Shop(staging, publishers, sandbox)
    shop.configure("keep")
    yield shop
    requests.delete(f"{sandbox.url}/_sandbox/faults", timeout=10).raise_for_status()


def people(*numbers: int, start: int = 0) -> list[User]:
    own = [
        User(f"u{n}", {"basket": products(2, start=start + n), "top": products(1, start=start + 50 + n)})
        for n in numbers
    ]
    return [*own, User("default", {"basket": products(1, start=900), "top": products(1, start=901)})]


def fields(number: int, start: int = 0) -> dict[int, str]:
    basket, (top,) = products(2, start=start + number), products(1, start=start + 50 + number)
    return {
        21: json.dumps([each.as_dict() for each in basket], separators=(",", ":"), ensure_ascii=False),
        31: str(top.id),
        32: str(top.url),
    }


DEFAULT = {
    21: json.dumps([products(1, start=900)[0].as_dict()], separators=(",", ":")),
    31: "p901",
    32: str(products(1, start=901)[0].url),
}


def test_json_and_slots_and_only_what_changed(shop: Shop) -> None:
    listed = [f"u{n}" for n in range(10)]
    first = shop.deliver(shop.batch("one", people(*range(10)), listed))
    assert (first["recipients"], first["sent"], first["kind"]) == (10, 10, "smartemailing")
    assert shop.found() == {f"u{n}": fields(n) for n in range(10)}
    imports = shop.imports()
    newer = [*people(*range(9)), User("u9", {"basket": products(2, start=9), "top": products(1, start=77)})]
    second = shop.deliver(shop.batch("two", newer, listed))
    assert (second["sent"], second["unchanged"]) == (1, 9)
    assert shop.imports() == imports + 1
    assert shop.found()["u9"][31] == "p77"


def test_skipped_addresses_are_listed(shop: Shop) -> None:
    figures = shop.deliver(shop.batch("one", people(*range(6)), [f"u{n}" for n in range(6)], bad="u4"))
    assert (figures["recipients"], figures["sent"], figures["set_aside"]) == (6, 5, 1)
    paths = shop.root.glob("shop/deliveries/*/contacts/part-*/rejects.parquet")
    rejects = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert rejects == [{"recipient": "nobody", "reason": "skipped"}]


def test_too_many_refused_fail_the_run_after_the_others_were_written(shop: Shop) -> None:
    with pytest.raises(TooManySetAside, match=r"1 of 4 recipients were set aside \(25.0 %\), more than .* \(20\)"):
        shop.deliver(shop.batch("one", people(*range(4)), [f"u{n}" for n in range(4)], bad="u2"))
    assert shop.found() == {f"u{n}": fields(n) for n in (0, 1, 3)}


@pytest.mark.parametrize(("on_absent", "instead"), [("keep", None), ("clear", {}), ("default", DEFAULT)])
def test_who_has_nothing_and_who_left(shop: Shop, on_absent: str, instead: dict[int, str] | None) -> None:
    shop.configure(on_absent)
    shop.deliver(shop.batch("one", people(*range(6)), [f"u{n}" for n in range(6)]))
    batch = shop.batch("two", people(*range(4)), [f"u{n}" for n in range(5)])
    second = shop.deliver(batch)
    changed = 0 if on_absent == "keep" else 1
    assert (second["recipients"], second["sent"], second["left"]) == (5, changed, changed)
    assert (second["kept"], second["cleared"], second["defaulted"]) == {
        "keep": (1, 0, 0),
        "clear": (0, 2, 0),
        "default": (0, 0, 2),
    }[on_absent]
    found = shop.found()
    for n in (4, 5):
        assert found.get(f"u{n}", {}) == (fields(n) if instead is None else instead)
    assert {name: found[name] for name in ("u0", "u3")} == {"u0": fields(0), "u3": fields(3)}
    assert shop.deliver(batch)["rows"] == 0


def test_a_run_for_some_types_touches_their_fields_alone(shop: Shop) -> None:
    listed = ["u0", "u1", "u2"]
    shop.deliver(shop.batch("one", people(0, 1, 2), listed))
    assert shop.deliver(shop.batch("two", people(0, 1, 2, start=20), listed), ["top"])["sent"] == 3
    assert shop.found() == {
        f"u{n}": {**fields(n), **{k: v for k, v in fields(n, 20).items() if k > 21}} for n in range(3)
    }


def test_the_connections_are_closed_on_every_way_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    closing_ = Client.close
    monkeypatch.setattr(Client, "close", lambda client: (closed.append(1), closing_(client)))
    batch = shop.batch("one", people(0), ["u0"])
    asked = {"fault": "401", "path": "/api/", "times": 1}
    requests.post(f"{shop.sandbox.url}/_sandbox/faults", json=asked, timeout=10).raise_for_status()
    parts = [part for part in range(PARTS) if _refused(shop, batch, part)]
    assert len(parts) == 1
    assert len(closed) == PARTS
    assert shop.deliver(batch)["sent"] == 1


def test_an_older_batch_never_overwrites_a_newer_one(shop: Shop) -> None:
    older = shop.batch("one", people(0, 1), ["u0", "u1"])
    newer = shop.batch("two", people(0, 1, start=20), ["u0", "u1"])
    shop.deliver(newer)
    with pytest.raises(Overtaken):
        shop.task(older, 0)
    assert shop.found() == {f"u{n}": fields(n, 20) for n in range(2)}


def _refused(shop: Shop, batch: dict[str, Any], part: int) -> bool:
    try:
        shop.task(batch, part)
    except Unauthorized:
        return True
    return False
