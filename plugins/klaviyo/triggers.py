"""The trigger that waits for an import job: it only looks, and holds the id of the job and a deadline."""

import asyncio
import time
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

_ARGUMENTS = ("connection_id", "job", "deadline", "poll_seconds")


class KlaviyoJobTrigger(BaseTrigger):
    """Waits until an import job does not run any more, or until the deadline.

    Of a part's jobs only the last is watched, with one request a look: the resumed task asks about the others, at the
    account's pace, and waits on if need be. So neither the arguments nor the looks grow with the profiles.

    Its one event: ``status`` (``done``, also of a job that Klaviyo does not know any more, ``deadline`` or ``error``),
    ``reason`` and the ``deadline``.

    Args:
        connection_id: of type ``klaviyo``.
        job: its id.
        deadline: epoch seconds.
        poll_seconds: pause between two looks.
    """

    def __init__(self, connection_id: str, job: str, deadline: float, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.job = job
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All it needs to go on in another process."""
        return "klaviyo.triggers.KlaviyoJobTrigger", {name: getattr(self, name) for name in _ARGUMENTS}

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
        await asyncio.to_thread(import_module, "klaviyo.look")  # takes long; the loop must not stand still
        from klaviyo.connections import klaviyo_settings
        from klaviyo.documents import RUNNING
        from klaviyo.look import import_job
        from vendor_http.errors import NotFound, TransientError

        settings = klaviyo_settings(await BaseHook.aget_connection(self.connection_id))
        reason = ""
        while True:
            pause = self.poll_seconds
            try:
                if (await import_job(settings, self.job)).status not in RUNNING:
                    return {"status": "done", "reason": ""}
            except NotFound:
                return {"status": "done", "reason": ""}  # the task decides what is to be done
            except TransientError as error:
                reason, pause = str(error), max(pause, error.retry_after or 0)
            if time.time() + pause > self.deadline:
                return {"status": "deadline", "reason": f"import job {self.job} still runs. {reason}".strip()}
            await asyncio.sleep(pause)
