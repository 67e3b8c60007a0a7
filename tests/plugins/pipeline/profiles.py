"""A shop that writes batches into Klaviyo's profiles, in a sandbox, and the batches."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests
from airflow.sdk.exceptions import TaskDeferred

from include.publishers.batches import Coverage
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from include.sandbox.server import Running
from include.staging import MANIFEST, read_json, to_path
from pipeline.deliver import close_books
from pipeline.deliver_operator import DeliverOperator
from tests.include.recommendations.documents import User, batch_of, products, settings, user_set, xml

PARTS = 2
PUBLISHER = """
luigisbox: {connection: luigisbox_test}
audience: {connection: none, sql: "SELECT 1 AS auth_user_id"}
batch: {link: /x.xml, connection: batch_test, parts: 2}
deliveries: [{name: profiles, kind: klaviyo, connection: klaviyo_test, identify_by: email, poll_seconds: 0.2, %s}]
"""


class Shop:
    def __init__(self, root: Path, made: Path, publishers: Path, sandbox: Running) -> None:
        self.root, self.publishers, self.sandbox = root, publishers, sandbox
        self.made = made
        """Where batches and lists are made, before they come to ``root``."""
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
        folder = batch_of(self.made / "shop" / "batches" / name, xml(users))
        manifest = parse_batch(folder, settings(parts=parts))
        recipients = mails or [f"{user}@shop.example" for user in listed]
        the_list = user_set(self.made, f"list-{name}", listed, list(recipients))
        record = the_list.folder / "record.json"
        record.write_text(json.dumps({**json.loads(record.read_text() if record.exists() else "{}"), "segment": False}))
        nobody = outcome == "default_only"
        self.figures = coverage.reconcile(folder, the_list, settings(parts=parts), Coverage(), default_only=nobody)
        for path in (path for path in self.made.rglob("*") if path.is_file()):
            copy = self.root / path.relative_to(self.made).as_posix()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        shutil.rmtree(self.made)
        return {
            "uri": (self.root / "shop" / "batches" / name).as_uri(),
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


def people(count: int, start: int = 0) -> list[User]:
    users = [User(f"u{n}", {"basket": products(2, start=start + n)}) for n in range(count)]
    return [*users, User("default", {"basket": products(1, start=900)})]


def ids(start: int, count: int = 2) -> dict[str, list[str]]:
    return {"basket": [f"p{start + n}" for n in range(count)]}
