"""An account whose profiles carry a batch, a publisher that waits for it, and waits played as Airflow does.

The account is a small server of ours, so that each state of the profiles can be told exactly.
"""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.objects import arrow
from include.staging import read_json, to_path
from pipeline.wait import WaitOperator

TYPE = "mail-recommender-1"
NO_CERTIFICATES = {"verify": False}  # each look in a process of its own would read them, which takes long
BOTH = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "synchronous"])
PUBLISHER = """
luigisbox: {connection: none, upload_users: false}
audience: {kind: klaviyo, connection: klaviyo_test, lists: [LIST01], segments: [SEGM01]}
batch:
  from: klaviyo
  connection: klaviyo_test
  poll_seconds: 0.2
  sample: 10
  parts: 2
  recommendation_types: {mail-recommender-1: 2}
deliveries: [{name: feed, kind: feed}]
"""


def products(publication: int, user: int = 0) -> list[dict[str, str]]:
    return [
        {"id": f"p{slot}", "url": f"https://x.example/p{slot}?recommendation_id={publication}-{user}", "title": "One"}
        for slot in (1, 2)
    ]


class Account:
    """Profiles ``k0``, ``k1`` … of the customers ``c0``, ``c1`` …, all in the list, every second in the segment too."""

    def __init__(self, serve: Callable[..., str], size: int = 20) -> None:
        self.size = size
        self.properties: dict[int, Any] = {}
        self.default: Any = {}
        self.troubles: list[int] = []
        self.seconds_a_page = 0.0
        self.counted: int | None = None
        self.ends_after: int | None = None
        self.circle_from: int | None = None
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda path: None
        self.url = serve(self.answer)

    def publish(self, publication: int, users: Any = None) -> None:
        for user in range(self.size) if users is None else users:
            self.properties[user] = {TYPE: products(publication, user), "name": "Ann"}
        self.default = {TYPE: products(publication)}

    def answer(self, request: Any) -> None:
        parts = urlsplit(request.path)
        asked = dict(parse_qsl(parts.query))
        self.asked.append(parts.path)
        self.before(unquote(request.path))
        if self.troubles:
            error = {"errors": [{"id": "1", "code": "x", "title": "x", "detail": "x", "source": {}}]}
            return request.reply(self.troubles.pop(0), json.dumps(error).encode())
        if parts.path in ("/api/lists/LIST01", "/api/segments/SEGM01"):
            return request.reply(200, json.dumps(self._count(parts.path)).encode())
        time.sleep(self.seconds_a_page)
        rows, after = self._rows(parts.path, asked)
        link = f"https://elsewhere.example/x?page%5Bcursor%5D={after}" if after else None
        return request.reply(200, json.dumps({"data": rows, "links": {"next": link}}).encode())

    def _count(self, path: str) -> dict[str, Any]:
        own = -(-self.size // 2) if "segments" in path else self.size
        count = own if self.counted is None or "segments" in path else self.counted
        return {"data": self._row(path[-6:], {"profile_count": count})}

    def _rows(self, path: str, asked: dict[str, str]) -> tuple[list[dict[str, Any]], int | None]:
        wanted = asked.get("filter", "")
        if "external_id" in wanted:
            return [self._row("kd", {"external_id": "default", "properties": self.default})], None
        if wanted:
            keys = json.loads(wanted.removeprefix("any(id,").removesuffix(")"))
            assert len(keys) <= 100
            return [self._row(key, {"properties": self.properties.get(int(key[1:]), {})}) for key in keys], None
        start, step = int(asked.get("page[cursor]", 0)), 2 if "segments" in path else 1
        users = range(0, self.size, step)[start : start + 100]
        rows = [self._row(f"k{user}", {"properties": self.properties.get(user, {})}) for user in users]
        if self.ends_after is not None and start >= self.ends_after:
            return rows, None
        if self.circle_from is not None and start >= 400:
            return rows, self.circle_from
        return rows, start + 99 if start + 100 < self.size // step else None  # the last row comes again

    def _row(self, key: str, attributes: dict[str, Any]) -> dict[str, Any]:
        return {"type": "profile", "id": key, "attributes": attributes}


class Shop:
    def __init__(self, root: Path, publishers: Path, account: Account, patch: pytest.MonkeyPatch) -> None:
        self.root, self.account = root, account
        patch.setenv("PUBLISHERS_DIR", str(publishers))
        connection = {"conn_type": "klaviyo", "host": account.url, "password": "pk_hush", "extra": NO_CERTIFICATES}
        patch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(connection))
        (publishers / "shop.yaml").write_text(PUBLISHER)

    def accepted(self, run: str, users: Any = range(20), people: Any = None) -> Any:
        from include.audience import user_sets
        from include.audience.build import build_audience
        from include.audience.guard import judge
        from include.extract import write_rows
        from include.publishers.config import load_publisher
        from include.publishers.models import Guard
        from luigisbox.uploads import record_users

        folder = self.root / "shop" / "audience" / run
        rows = people or [(f"c{user}", f"k{user}") for user in users]
        write_rows([rows], ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], folder / "raw", 0)
        build_audience(folder, load_publisher("shop").audience, datetime.now(UTC), 1)
        anything = dict.fromkeys((name for name in Guard.model_fields if name.endswith("_percent")), 100)
        anything |= dict.fromkeys(("hold_grow_percent", "refuse_grow_percent"), 1000)
        judge(folder, user_sets.live(self.root, "shop"), Guard(**anything))
        record_users(self.root, "shop", folder)
        return user_sets.live(self.root, "shop")


def impatient(usual: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        usual(self, *arguments, **{**options, "sleep": lambda _: None})

    return init


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Played:
    """One wait, played to its end as Airflow does; ``meanwhile`` happens each time the task has deferred."""

    def __init__(self, deferrable: bool, meanwhile: Callable[[int], None] | None = None, **options: Any) -> None:
        self.deferrals: list[dict[str, Any]] = []
        self.options = {"task_id": "wait", "publisher": "shop", "deadline": soon(20), **options}
        self.options["deferrable"] = deferrable
        self.context: Any = {"run_id": self.options.pop("run_id", "manual__1"), "dag_run": SimpleNamespace()}
        self.meanwhile = meanwhile

    def run(self) -> dict[str, Any]:
        self.operator = WaitOperator(**self.options)
        try:
            return self.operator.execute(self.context)
        except TaskDeferred as deferred:
            return self._resume(deferred)

    def _resume(self, deferred: TaskDeferred) -> dict[str, Any]:
        path, arguments = deferred.trigger.serialize()
        arguments = json.loads(json.dumps(arguments))
        self.deferrals.append(arguments)
        if self.meanwhile:
            self.meanwhile(len(self.deferrals))
        event = asyncio.run(_first(path, arguments))
        self.operator = WaitOperator(**self.options)
        try:
            return self.operator.resume(self.context, event=json.loads(json.dumps(event)))
        except TaskDeferred as again:
            return self._resume(again)


async def _first(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    (event,) = [event async for event in getattr(import_module(module), name)(**arguments).run()]
    return event.payload


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """All recommendations but the default set."""
    folder = to_path(result["uri"])
    paths = [folder / part["name"] for part in read_json(folder / "manifest.json")["parts"]]
    return [row for path in paths for row in pq.read_table(str(path), filesystem=arrow(path)).to_pylist()]
