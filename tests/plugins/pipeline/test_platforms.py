"""A batch into Klaviyo's profiles, against the sandbox: what changed, who is refused, what a retry does."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
from airflow.sdk.exceptions import TaskDeferred

from include.deliveries.claims import Overtaken
from include.publishers.batches import Coverage
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from include.sandbox.klaviyo.fill import fill_klaviyo
from include.sandbox.server import Running, running
from include.staging import MANIFEST, read_json, to_path
from pipeline.deliver import close_books
from pipeline.deliver_operator import DeliverOperator
from tests.include.recommendations.documents import User, batch_of, products, settings, user_set, xml
from vendor_http.errors import Unauthorized

PARTS = 2
PUBLISHER = """
luigisbox: {connection: luigisbox_test}
audience: {connection: none, sql: "SELECT 1 AS auth_user_id"}
batch: {link: /x.xml, connection: batch_test, parts: 2}
deliveries: [{name: profiles, kind: klaviyo, connection: klaviyo_test, identify_by: email, poll_seconds: 0.2, %s}]
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("sandbox")
    fill_klaviyo(state, 0, 7)
    with running(state, klaviyo_job_seconds=0.05, klaviyo_burst=10_000, klaviyo_steady=100_000) as started:
        yield started


class Shop:
    def __init__(self, root: Path, publishers: Path, sandbox: Running) -> None:
        self.root, self.publishers, self.sandbox = root, publishers, sandbox
        self.url = sandbox.url
        self.figures: dict[str, Any] = {}

    def configure(self, options: str = "on_absent: keep") -> None:
        (self.publishers / "shop.yaml").write_text(PUBLISHER % options)

    def fault(self, name: str, **options: Any) -> None:
        requests.post(
            f"{self.url}/_sandbox/faults", json={"fault": name, "path": "/api/", **options}
        ).raise_for_status()

    def forget(self) -> None:
        requests.delete(f"{self.url}/_sandbox/faults").raise_for_status()

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.sandbox.state / "klaviyo.sqlite", timeout=30)) as connection, connection:
            return connection.execute(sql).fetchall()

    def jobs(self) -> int:
        return int(self.query("SELECT count(*) FROM jobs")[0][0])

    def found(self) -> dict[str, dict[str, list[str]]]:
        """E-mail address (or external id) and the ids of the products of each property."""
        rows = self.query("SELECT coalesce(email, external_id), properties FROM profiles")
        return {
            name: {kind: [each["id"] for each in value] for kind, value in json.loads(properties).items()}
            for name, properties in rows
            if json.loads(properties)
        }

    def batch(
        self,
        name: str,
        users: list[User],
        listed: list[str],
        mails: list[str] | None = None,
        parts: int = PARTS,
        outcome: str = "fresh",
    ) -> dict[str, Any]:
        folder = batch_of(self.root / "shop" / "batches" / name, xml(users))
        manifest = parse_batch(folder, settings(parts=parts))
        recipients = mails or [f"{user}@shop.example" for user in listed]
        the_list = user_set(self.root, f"list-{name}", listed, list(recipients))
        record = the_list.folder / "record.json"
        record.write_text(json.dumps({**json.loads(record.read_text() if record.exists() else "{}"), "segment": False}))
        nobody = outcome == "default_only"
        self.figures = coverage.reconcile(folder, the_list, settings(parts=parts), Coverage(), default_only=nobody)
        return {
            "uri": folder.as_uri(),
            "sha256": manifest["sha256"],
            "user_set": the_list.name,
            "outcome": outcome,
        }

    def deliver(self, batch: dict[str, Any], types: list[str] | None = None) -> dict[str, Any]:
        done = [played(self.operator(batch, part, types)) for part in range(parts_of(batch))]
        report = close_books(plan(types), batch, self.figures, done)
        assert "profiles" in report["table"]
        return dict(report["deliveries"]["profiles"])

    def operator(self, batch: dict[str, Any], part: int, types: list[str] | None = None) -> Callable[[], Any]:
        item = {"delivery": "profiles", "part": part}
        return lambda: DeliverOperator(task_id="deliver", item=item, plan=plan(types), batch=batch)

    def rejects(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self.root.glob("shop/deliveries/*/profiles/part-*/rejects.parquet"):
            found |= {row["recipient"]: row["reason"] for row in pq.read_table(path).to_pylist()}
        return found


def parts_of(batch: dict[str, Any]) -> int:
    return len(read_json(to_path(batch["uri"]) / MANIFEST)["parts"])


def plan(types: list[str] | None = None) -> Any:
    return {"publisher": "shop", "recommendation_types": types, "deliveries": ["profiles"]}


def played(make: Callable[[], Any]) -> dict[str, Any]:
    """One task, as Airflow plays it: a new operator gets nothing but the event of a rebuilt trigger."""
    step: Callable[[], Any] = lambda: make().execute({})  # noqa: E731
    while True:
        try:
            return dict(step())
        except TaskDeferred as deferred:
            path, arguments = deferred.trigger.serialize()
            module, _, name = path.rpartition(".")
            trigger = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))

            async def events(trigger: Any = trigger) -> list[Any]:
                return [event.payload async for event in trigger.run()]

            (event,) = asyncio.run(events())
            step = lambda event=event, method=deferred.method_name: getattr(make(), method)({}, event=event)  # noqa: E731


@pytest.fixture
def shop(staging: Path, tmp_path: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    publishers = tmp_path / "publishers"
    publishers.mkdir()
    monkeypatch.setenv("PUBLISHERS_DIR", str(publishers))
    form = {"conn_type": "klaviyo", "host": sandbox.url, "password": "pk_sandbox"}
    monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(form))
    shop = Shop(staging, publishers, sandbox)
    for table in ("profiles", "jobs", "import_errors"):
        shop.query(f"DELETE FROM {table}")
    shop.forget()
    shop.configure()
    yield shop
    shop.forget()


def people(count: int, start: int = 0) -> list[User]:
    users = [User(f"u{n}", {"basket": products(2, start=start + n)}) for n in range(count)]
    return [*users, User("default", {"basket": products(1, start=900)})]


def ids(start: int, count: int = 2) -> dict[str, list[str]]:
    return {"basket": [f"p{start + n}" for n in range(count)]}


def test_only_what_changed_is_sent_again(shop: Shop) -> None:
    listed = [f"u{n}" for n in range(20)]
    first = shop.deliver(shop.batch("one", people(20), listed))
    assert (first["recipients"], first["sent"], first["unchanged"]) == (20, 20, 0)
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(n) for n in range(20)}}
    jobs = shop.jobs()
    again = people(20)
    again[3] = User("u3", {"basket": products(2, start=77)})
    second = shop.deliver(shop.batch("two", again, listed))
    assert (second["sent"], second["unchanged"], second["rows"]) == (1, 19, 1)
    assert shop.jobs() == jobs + 1
    assert shop.found()["u3@shop.example"] == ids(77)


def test_who_left_or_has_nothing_is_cleared_once(shop: Shop) -> None:
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(10), [f"u{n}" for n in range(10)]))
    batch = shop.batch("two", people(6), [f"u{n}" for n in range(8)])
    second = shop.deliver(batch)
    assert (second["recipients"], second["sent"], second["unchanged"]) == (8, 2, 6)
    assert (second["left"], second["cleared"]) == (2, 4)
    assert set(shop.found()) == {"default", *(f"u{n}@shop.example" for n in range(6))}
    assert shop.deliver(batch)["rows"] == 0


def test_the_default_set_for_those_who_left(shop: Shop) -> None:
    shop.configure("on_absent: default")
    shop.deliver(shop.batch("one", people(4), [f"u{n}" for n in range(4)]))
    second = shop.deliver(shop.batch("two", people(2), ["u0", "u1", "u2"]))
    assert (second["defaulted"], second["left"], second["sent"]) == (2, 1, 1)
    assert shop.found()["u3@shop.example"] == shop.found()["u2@shop.example"] == ids(900, 1)


@pytest.mark.parametrize(("on_absent", "who_left"), [("keep", ["p4", "p5"]), ("clear", None), ("default", ["p900"])])
def test_without_a_fresh_batch_everybody_gets_the_default_set(shop: Shop, on_absent: str, who_left: Any) -> None:
    shop.configure(f"on_absent: {on_absent}")
    first = [User(f"u{n}", {"basket": products(2, start=n), "top": products(1, start=50)}) for n in range(5)]
    shop.deliver(shop.batch("one", [*first, people(0)[-1]], [f"u{n}" for n in range(5)]))
    figures = shop.deliver(shop.batch("two", first[:3] + people(0), ["u0", "u1", "u2", "u3"], outcome="default_only"))
    assert (figures["recipients"], figures["sent"], figures["left"]) == (4, 4, on_absent != "keep")
    assert figures["defaulted"] == 4 + (on_absent == "default")
    found = shop.found()
    for n in range(4):
        assert found[f"u{n}@shop.example"] == {**ids(900, 1), "top": ["p50"]}  # of top there is no default set
    assert found.get("u4@shop.example", {}).get("basket") == who_left


def test_a_type_that_vanished_is_cleared(shop: Shop) -> None:
    both = [User(f"u{n}", {"basket": products(1, start=n), "top": products(1, start=50 + n)}) for n in range(4)]
    shop.configure("on_absent: clear, properties: {top: lb_top}")
    shop.deliver(shop.batch("one", both, ["u0", "u1", "u2", "u3"]))
    assert shop.found()["u3@shop.example"] == {"lb_top": ["p53"], "basket": ["p3"]}
    shop.deliver(shop.batch("two", people(3), ["u0", "u1", "u2"]))
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(n) for n in range(3)}}


def test_another_account_is_written_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shop.batch("one", people(4), ["u0", "u1", "u2", "u3"])
    assert shop.deliver(one)["sent"] == 4
    file = shop.publishers / "shop.yaml"
    monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_OTHER", os.environ["AIRFLOW_CONN_KLAVIYO_TEST"])
    file.write_text(file.read_text().replace("klaviyo_test", "klaviyo_other"))
    assert shop.deliver(one)["sent"] == 4
    file.write_text(file.read_text().replace("identify_by: email", "identify_by: external_id"))
    assert shop.deliver(one)["sent"] == 4
    assert shop.deliver(one)["unchanged"] == 4


def test_a_campaigns_own_list_clears_nobody_else(shop: Shop) -> None:
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(4), [f"u{n}" for n in range(4)]))
    batch = shop.batch("two", people(2), ["u0"])
    for record in shop.root.glob("shop/user_sets/list-two/record.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "segment": True}))
    assert shop.deliver(batch)["left"] == 0
    assert len(shop.found()) == 5


def test_refused_profiles_are_set_aside_and_the_others_arrive(shop: Shop) -> None:
    shop.configure("job_profiles: 7, profile_bytes: 4000")
    users = people(30)
    users[4] = User("u4", {"basket": products(60)})
    mails = [f"u{n}@shop.example" for n in range(30)]
    mails[7], mails[8], mails[9] = "not an address", "u8@invalid.example", "u10@shop.example"
    figures = shop.deliver(shop.batch("one", users, [f"u{n}" for n in range(30)], mails))
    reasons = shop.rejects()
    assert reasons.pop("u8@invalid.example").startswith("invalid")
    assert reasons == {
        "not an address": "malformed",
        "u4@shop.example": "profile_too_long",
        "u10@shop.example": "recipient_repeated",
    }
    assert (figures["recipients"], figures["sent"], figures["set_aside"]) == (30, 26, 4)
    assert len(shop.found()) == 27
    again = shop.deliver(shop.batch("two", users, [f"u{n}" for n in range(30)], mails))
    assert (again["sent"], again["unchanged"], again["set_aside"]) == (0, 26, 4)


def test_trouble_on_the_way_is_waited_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import platforms
    from vendor_http.retry import Retry

    shop.configure("job_profiles: 5")
    calm = Retry(sleep=lambda _: None)
    plain = platforms.write_back

    def impatient(work: Any, client: Any) -> Any:
        client._retry = calm
        return plain(work, client)

    monkeypatch.setattr(platforms, "write_back", impatient)
    shop.fault("503", times=2)
    figures = shop.deliver(shop.batch("one", people(20), [f"u{n}" for n in range(20)]))
    assert figures["sent"] == 20
    assert len(shop.found()) == 21


def test_a_newer_batch_wins_and_the_older_one_stops(shop: Shop) -> None:
    listed = ["u0", "u1", "u2", "u3"]
    one = shop.batch("one", people(4), listed)
    for part in range(PARTS):
        with pytest.raises(TaskDeferred):
            shop.operator(one, part)().execute({})
    two = shop.batch("two", people(4, start=50), listed)
    figures = shop.deliver(two)  # waits for the jobs of the older one, then sends
    assert (figures["recipients"], figures["sent"]) == (4, 4)
    event = {"status": "done", "reason": "", "deadline": time.time() + 60}
    for part in range(PARTS):
        with pytest.raises(Overtaken, match="for-list-two, which is newer"):
            shop.operator(one, part)().resume({}, event=event)
        with pytest.raises(Overtaken, match="for-list-two, which is newer"):
            shop.operator(one, part)().execute({})
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(50 + n) for n in range(4)}}
    assert shop.deliver(two)["rows"] == 0


def test_a_run_that_failed_for_good_blocks_nobody(shop: Shop) -> None:
    one = shop.batch("one", people(4), ["u0", "u1", "u2", "u3"])
    shop.fault("401", times=10)
    with pytest.raises(Unauthorized):
        shop.operator(one, 0)().execute({})
    shop.forget()
    assert shop.deliver(shop.batch("two", people(4), ["u0", "u1", "u2", "u3"]))["sent"] == 4


def test_a_connection_that_breaks_after_the_store(shop: Shop) -> None:
    shop.fault("reset_after_store", times=1)
    shop.configure("job_profiles: 50")
    assert shop.deliver(shop.batch("one", people(4), ["u0", "u1", "u2", "u3"]))["sent"] == 4
    assert shop.jobs() == 3  # one of the two was sent twice
    assert len(shop.found()) == 5


def test_properties_of_ones_own_name_for_some_types_only(shop: Shop) -> None:
    shop.configure("on_absent: clear, properties: {basket: lb_basket}")
    users = [User(f"u{n}", {"basket": products(1, start=n), "top": products(1, start=50 + n)}) for n in range(4)]
    listed = [user.id for user in users]
    shop.deliver(shop.batch("one", users, listed))
    both = {f"u{n}@shop.example": {"lb_basket": [f"p{n}"], "top": [f"p{50 + n}"]} for n in range(4)}
    assert shop.found() == both
    newer = [User(f"u{n}", {"basket": products(1, start=n + 1), "top": products(1, start=90)}) for n in range(4)]
    batch = shop.batch("two", newer, listed)
    assert shop.deliver(batch, ["basket"])["sent"] == 4
    for n in range(4):
        both[f"u{n}@shop.example"]["lb_basket"] = [f"p{n + 1}"]
    assert shop.found() == both
    assert shop.deliver(batch)["sent"] == 4
    assert {tuple(each["top"]) for each in shop.found().values()} == {("p90",)}
    assert shop.deliver(batch, ["basket"])["unchanged"] == 4


def test_recipients_by_external_id(shop: Shop) -> None:
    text = (shop.publishers / "shop.yaml").read_text().replace("identify_by: email", "identify_by: external_id")
    (shop.publishers / "shop.yaml").write_text(text)
    users = people(4)
    shop.deliver(shop.batch("one", users, ["u0", "u1", "u2", "u3"], ["u0", "u1", "u2", "u3"]))
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}": ids(n) for n in range(4)}}


def test_another_number_of_parts_at_the_next_batch(shop: Shop) -> None:
    listed = [f"u{n}" for n in range(12)]
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(12), listed))
    third = shop.deliver(shop.batch("three", people(12), listed[:-1], parts=3))
    assert (third["unchanged"], third["sent"], third["left"]) == (11, 0, 1)
    folders = {path.parents[1].name for path in shop.root.glob("shop/deliveries/confirmed/profiles-*/of-*/*/*.parquet")}
    assert folders == {"of-3"}
    assert shop.deliver(shop.batch("two-again", people(12), listed[:-1], parts=2))["rows"] == 0


def test_killed_anywhere_nothing_is_lost(shop: Shop) -> None:
    """A worker is killed in the middle of write-backs, twelve times; then one is left to finish."""
    shop.configure("job_profiles: 9, on_absent: clear")
    shop.deliver(shop.batch("a-first", people(50), [f"u{n}" for n in range(50)]))
    listed = [f"u{n}" for n in range(40)]
    starts = iter(range(100, 1000, 10))
    start = next(starts)
    batch = shop.batch(f"at-{start}", people(40, start), listed)
    chance, killed = random.Random(11), 0
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        while killed < 12:
            parent.stdin.write(json.dumps(batch) + "\n")
            parent.stdin.flush()
            pid = int(parent.stdout.readline())
            time.sleep(chance.random() * 0.45)
            os.kill(pid, signal.SIGKILL)  # its parent has not reaped it yet, so the number is its own
            parent.stdin.write("reap\n")
            parent.stdin.flush()
            state = int(parent.stdout.readline())
            assert state in (0, signal.SIGKILL)
            killed += state != 0
            if state == 0:  # it was through before the signal
                start = next(starts)
                batch = shop.batch(f"at-{start}", people(40, start), listed)
        parent.stdin.close()
    figures = shop.deliver(batch)
    assert figures["recipients"] == figures["sent"] + figures["unchanged"] == 40
    wanted = {f"u{n}@shop.example": ids(start + n) for n in range(40)}
    assert shop.found() == {"default": ids(900, 1), **wanted}
    assert shop.deliver(batch)["rows"] == 0


WORKER = """
import json, os, sys, time
from airflow.sdk.exceptions import TaskDeferred
import include.deliveries.rows, klaviyo.hooks, klaviyo.client, klaviyo.write_back, klaviyo.triggers
from pipeline import deliver, platforms
from pipeline.deliver_operator import DeliverOperator

plan = {"publisher": "shop", "recommendation_types": None, "deliveries": ["profiles"]}


def work(batch):
    for part in (0, 1):
        make = lambda: DeliverOperator(task_id="d", item={"delivery": "profiles", "part": part}, plan=plan, batch=batch)
        step = lambda: make().execute({})
        while True:
            try:
                step()
                break
            except TaskDeferred as deferred:
                time.sleep(0.06)
                event = {"status": "done", "reason": "", "deadline": deferred.trigger.deadline}
                step = lambda: make().resume({}, event=event)


while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        code = 1
        os.dup2(2, 1)  # what is logged is no answer
        try:
            work(json.loads(line))
            code = 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    sys.stdin.readline()
    print(os.waitpid(pid, 0)[1], flush=True)
"""
