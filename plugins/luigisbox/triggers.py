"""The trigger behind the wait: it only looks. It downloads nothing, holds no data and no secret.

All it needs is in its arguments, with an absolute deadline, so a restarted triggerer just goes on; all that the
resumed task needs is in its one event.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from importlib import import_module
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent


class BatchTrigger(BaseTrigger):
    """Waits until the result link shows something worth fetching, or until the deadline.

    Args:
        link: the result link; one that starts with ``/`` is on the connection's host.
        connection_id: the connection that opens it, or None.
        poll_seconds: pause between looks, before jitter.
        not_before: ISO time; an older batch is not worth fetching.
        deadline: epoch seconds.
        refused: fingerprints of batches that were fetched and refused.
        reason: why the last one was refused.
        user_set: name of the list; only handed on to the task that resumes.
    """

    def __init__(
        self,
        link: str,
        connection_id: str | None,
        poll_seconds: float,
        not_before: str,
        deadline: float,
        refused: list[dict[str, Any]],
        reason: str,
        user_set: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.link = link
        self.connection_id = connection_id
        self.poll_seconds = poll_seconds
        self.not_before = not_before
        self.deadline = deadline
        self.refused = refused
        self.reason = reason
        self.user_set = user_set

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All it needs to go on in another process."""
        names = ("link", "connection_id", "poll_seconds", "not_before", "deadline", "refused", "reason", "user_set")
        return "luigisbox.triggers.BatchTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the link; yield one event."""
        from include.errors import ConfigError

        try:
            event = await self._watch()
        except ConfigError as error:
            event = {"status": "error", "reason": str(error)}
        handed_on = {"refused": self.refused, "user_set": self.user_set, "deadline": self.deadline}
        yield TriggerEvent({**event, **handed_on})  # type: ignore[no-untyped-call]

    async def _watch(self) -> dict[str, Any]:
        await asyncio.to_thread(import_module, "luigisbox.result_link")  # takes long; the loop must not stand still
        from include.recommendations.freshness import Seen
        from luigisbox.connections import LinkAccess, is_http, link_access
        from luigisbox.result_link import Watch, resolve_link, watch
        from luigisbox.watching import Surroundings

        access = LinkAccess(store_connection=self.connection_id)
        if self.connection_id and is_http(self.link):
            access = link_access(await BaseHook.aget_connection(self.connection_id))
        what = Watch(
            url=resolve_link(self.link, access),
            not_before=datetime.fromisoformat(self.not_before),
            deadline=self.deadline,
            poll_seconds=self.poll_seconds,
            refused=[Seen.from_dict(seen) for seen in self.refused],
            reason=self.reason,
            access=access,
        )
        return await watch(what, Surroundings(log=self.log))
