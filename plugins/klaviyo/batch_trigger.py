"""The trigger behind the wait for a batch in Klaviyo's profiles: it only looks at the sample.

All it needs is in its arguments and the staged sample, with an absolute deadline, so a restarted triggerer just goes
on; all that the resumed task needs is in its one event.
"""

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

_ARGUMENTS = (
    "connection_id",
    "types",
    "sample",
    "fresh_percent",
    "poll_seconds",
    "deadline",
    "refused",
    "reason",
    "user_set",
)


class KlaviyoBatchTrigger(BaseTrigger):
    """Waits until the sampled profiles carry new recommendations, or until the deadline.

    Args:
        connection_id: of the account.
        types: names of the properties.
        sample: URI of the staged sample.
        fresh_percent: of the sampled profiles with recommendations, how many must carry new ones.
        poll_seconds: pause between looks, before jitter.
        deadline: epoch seconds.
        refused: of what was read and refused, when to look again.
        reason: why it was refused.
        user_set: name of the list; only handed on to the task that resumes.
    """

    def __init__(
        self,
        connection_id: str,
        types: list[str],
        sample: str,
        fresh_percent: float,
        poll_seconds: float,
        deadline: float,
        refused: list[dict[str, Any]],
        reason: str,
        user_set: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.types = types
        self.sample = sample
        self.fresh_percent = fresh_percent
        self.poll_seconds = poll_seconds
        self.deadline = deadline
        self.refused = refused
        self.reason = reason
        self.user_set = user_set

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All it needs to go on in another process."""
        return "klaviyo.batch_trigger.KlaviyoBatchTrigger", {name: getattr(self, name) for name in _ARGUMENTS}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the sample; yield one event."""
        from include.errors import PipelineError

        try:
            event = await self._watch()
        except PipelineError as error:
            event = {"status": "error", "reason": str(error)}
        handed_on = {"refused": self.refused, "user_set": self.user_set, "deadline": self.deadline}
        yield TriggerEvent({**event, **handed_on})  # type: ignore[no-untyped-call]

    async def _watch(self) -> dict[str, Any]:
        await asyncio.to_thread(import_module, "klaviyo.batch_look")  # takes long; the loop must not stand still
        from include.staging import to_path
        from klaviyo.batch_look import Look, load_sample, watch
        from klaviyo.connections import klaviyo_settings
        from luigisbox.watching import Surroundings

        what = Look(
            account=klaviyo_settings(await BaseHook.aget_connection(self.connection_id)),
            types=tuple(self.types),
            sample=await asyncio.to_thread(load_sample, to_path(self.sample)),
            fresh_percent=self.fresh_percent,
            poll_seconds=self.poll_seconds,
            again_at=self.refused[-1]["again_at"] if self.refused else 0.0,
            reason=self.reason,
        )
        return await watch(what, self.deadline, self.reason, Surroundings(log=self.log))
