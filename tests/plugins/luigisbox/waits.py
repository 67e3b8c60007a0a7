"""Waits as tests play them: each deferral as Airflow does it.

The trigger is rebuilt from its serialised form, a new operator instance gets nothing but the event.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from luigisbox.operators import WaitForBatchOperator

BOTH = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "synchronous"])


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Played:
    """One wait, played to its end; ``meanwhile`` happens each time the task has deferred."""

    def __init__(self, deferrable: bool, meanwhile: Callable[[int], None] | None = None, **options: Any) -> None:
        self.deferrals: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.options = {"task_id": "wait", "publisher": "shop", "deadline": soon(20), **options}
        self.options["deferrable"] = deferrable
        started = SimpleNamespace(start_date=self.options.pop("run_started", None))
        self.context: Any = {"run_id": self.options.pop("run_id", "manual__1"), "dag_run": started}
        self.meanwhile = meanwhile
        self.operator = WaitForBatchOperator(**self.options)

    def run(self) -> dict[str, Any]:
        step: Callable[[], dict[str, Any]] = lambda: self.operator.execute(self.context)  # noqa: E731
        while True:
            try:
                return step()
            except TaskDeferred as deferred:
                event = self._trigger(deferred)
                self.operator = WaitForBatchOperator(**self.options)
                method = getattr(self.operator, deferred.method_name)
                step = lambda: method(self.context, event=event)  # noqa: B023, E731

    def _trigger(self, deferred: TaskDeferred) -> dict[str, Any]:
        path, arguments = deferred.trigger.serialize()
        arguments = json.loads(json.dumps(arguments))
        self.deferrals.append(arguments)
        if self.meanwhile:
            self.meanwhile(len(self.deferrals))
        module, _, name = path.rpartition(".")
        trigger = getattr(import_module(module), name)(**arguments)

        async def first() -> Any:
            events = [event async for event in trigger.run()]
            assert len(events) == 1
            return events[0].payload

        event: dict[str, Any] = json.loads(json.dumps(asyncio.run(first())))
        self.events.append(event)
        return event


class NewList:
    """A list that the staging store knows as accepted just now; what is published is some seconds older."""

    def __init__(self, shop: Any, *ids: str) -> None:
        self.shop, self.ids = shop, ids
        with shop.box.behind():
            shop.box.publish()
        self.user_set = shop.accepted("new", *ids)

    def publish(self) -> None:
        """The vendor makes a batch of it."""
        self.shop.box.take_list(self.shop.root / "list", *self.ids)
        self.shop.box.publish()

    def publish_once(self, number: int) -> None:
        """For ``meanwhile``."""
        if number == 1:
            self.publish()


def document(*users: str, updated_at: str = "2099-01-01T00:00:00") -> bytes:
    one = (
        "<user><auth_user_id>{}</auth_user_id><data><_metadata><updated_at>{}</updated_at></_metadata><recommendations>"
        "<recommendation><recommendation_type>mail</recommendation_type><results><result><id>1</id>"
        "<url>https://x.example/1?recommendation_id=7</url><title>One</title></result></results></recommendation>"
        "</recommendations></data></user>\n"
    )
    return ("<users>\n" + "".join(one.format(user, updated_at) for user in users) + "</users>\n").encode()
