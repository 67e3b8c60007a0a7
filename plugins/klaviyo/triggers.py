"""The trigger that waits for import jobs: it only looks, and holds ids of jobs and a deadline."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent


class KlaviyoJobsTrigger(BaseTrigger):
    """Waits until no import job runs any more, or until the deadline.

    Its one event: ``status`` (``done``, ``deadline`` or ``error``), ``reason`` and the ``deadline``.

    Args:
        connection_id: of type ``klaviyo``.
        jobs: their ids.
        deadline: epoch seconds.
        poll_seconds: pause between two looks.
    """

    def __init__(self, connection_id: str, jobs: list[str], deadline: float, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.jobs = jobs
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All it needs to go on in another process."""
        names = ("connection_id", "jobs", "deadline", "poll_seconds")
        return "klaviyo.triggers.KlaviyoJobsTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; yield one event."""
        from include.errors import ConfigError
        from vendor_http.errors import PermanentError

        try:
            event = await self._watch()
        except (ConfigError, PermanentError) as error:
            event = {"status": "error", "reason": str(error)}
        yield TriggerEvent({**event, "deadline": self.deadline})  # type: ignore[no-untyped-call]

    async def _watch(self) -> dict[str, Any]:
        from klaviyo.connections import klaviyo_settings
        from klaviyo.look import import_job
        from klaviyo.write_back import RUNNING
        from vendor_http.errors import TransientError

        settings = klaviyo_settings(await BaseHook.aget_connection(self.connection_id))
        waiting, reason = list(self.jobs), ""
        while waiting:
            pause = self.poll_seconds
            try:
                while waiting:
                    if (await import_job(settings, waiting[0])).status in RUNNING:
                        break
                    waiting.pop(0)
            except TransientError as error:
                reason, pause = str(error), max(pause, error.retry_after or 0)
            if waiting and time.time() + pause > self.deadline:
                return {"status": "deadline", "reason": f"{len(waiting)} import jobs still run. {reason}".strip()}
            if waiting:
                await asyncio.sleep(pause)
        return {"status": "done", "reason": ""}
