"""The event trigger behind a watched asset: it looks at a platform and announces each newsletter that is due.

The memory of what was announced is Airflow itself: a newsletter whose run exists, by its deterministic id, is never
announced again, whoever restarts. One whose run does not come (a paused DAG, a triggerer that died between announcing
and noting) is announced again after a while, until it is sent: a newsletter is not lost in silence.
"""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from include.newsletters import Newsletter
    from include.publishers.campaigns import Campaigns

log = logging.getLogger(__name__)

CAMPAIGN = "campaign"
"""The DAG whose runs the newsletters start."""

AGAIN_SECONDS = 900.0
"""A newsletter without a run is announced again after so long."""

NEWSLETTERS = "newsletters"
"""The key of an event's payload under which the announcements are."""

USUAL_PAUSE = 60.0
IMPORTS = ("httpx", "include.newsletters")


class NewsletterTrigger(BaseEventTrigger):
    """Announces newsletters; a platform's trigger says how to list them.

    Args:
        publisher: name of the publisher file; connection, audiences and times are read from it at each look.
    """

    def __init__(self, publisher: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.publisher = publisher
        self._announced: dict[str, float] = {}
        self._started: set[str] = set()
        self._pause = USUAL_PAUSE

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All it needs to go on in another process."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {"publisher": self.publisher}

    @abstractmethod
    async def scheduled(self, campaigns: "Campaigns") -> "list[Newsletter]":
        """The newsletters that the platform is going to send.

        Raises:
            VendorError: the platform cannot be read now, or refuses.
            ConfigError: the connection is not usable.
        """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; yield one event for all newsletters of a look that are due and have no run.

        One, because of several events at the same moment Airflow gives a run only the first; the others wait for the
        next event.
        """
        for name in IMPORTS:
            await asyncio.to_thread(import_module, name)  # takes long; the loop must not stand still
        while True:
            told = await self.look()
            if told:
                yield TriggerEvent({NEWSLETTERS: told})  # type: ignore[no-untyped-call]
            await asyncio.sleep(self._pause)

    async def look(self, now: datetime | None = None) -> list[dict[str, Any]]:
        """One look. Whatever goes wrong is said in the log, once a look, and tried again at the next one."""
        from airflow.sdk.exceptions import AirflowException

        from include.errors import PipelineError
        from vendor_http.errors import Unauthorized, VendorError

        try:
            return await self._look(now or datetime.now(UTC))
        except Unauthorized as error:
            log.error(  # noqa: TRY400
                "newsletters of publisher %s: the platform refuses the key, so no newsletter starts a run: %s",
                self.publisher,
                error,
            )
        except (PipelineError, VendorError, AirflowException) as error:
            log.error(  # noqa: TRY400
                "newsletters of publisher %s could not be read: %s Trying again in %.0f s.",
                self.publisher,
                error,
                self._pause,
            )
        except Exception:
            log.exception("newsletters of publisher %s could not be read", self.publisher)
        return []

    async def _look(self, now: datetime) -> list[dict[str, Any]]:
        from include.errors import ConfigError
        from include.newsletters import due
        from include.publishers.config import load_publisher

        publisher = load_publisher(self.publisher)
        if publisher.campaigns is None:
            raise ConfigError(f"publisher {self.publisher}: campaigns is missing in its file.")
        self._pause = publisher.campaigns.poll_seconds
        found = due(publisher, await self.scheduled(publisher.campaigns), now)
        newsletters = {each.run_id(self.publisher): each for each in found}
        self._announced = {run_id: when for run_id, when in self._announced.items() if run_id in newsletters}
        self._started &= newsletters.keys()
        news = {run_id: each for run_id, each in newsletters.items() if await self._is_news(run_id)}
        for run_id, each in news.items():  # not before all are asked: a question that fails must not cost the others
            self._note(run_id, each)
        return [each.announcement(self.publisher) for each in news.values()]

    async def _is_news(self, run_id: str) -> bool:
        """Whether to announce the newsletter of this run now."""
        before = self._announced.get(run_id)
        if run_id in self._started or (before is not None and time.monotonic() - before < AGAIN_SECONDS):
            return False
        if await self.has_run(run_id):
            self._started.add(run_id)
            return False
        return True

    def _note(self, run_id: str, newsletter: "Newsletter") -> None:
        """Remember that it is announced, and say so."""
        if run_id in self._announced:
            log.warning(
                "newsletter %s of publisher %s was announced, but no run %s of the DAG %s came of it: are both "
                "campaign_watcher__%s and %s unpaused? Announcing it again.",
                newsletter.id,
                self.publisher,
                run_id,
                CAMPAIGN,
                self.publisher,
                CAMPAIGN,
            )
        self._announced[run_id] = time.monotonic()
        log.info("newsletter %s of publisher %s is due: announcing %s", newsletter.id, self.publisher, run_id)

    async def has_run(self, run_id: str) -> bool:
        """Whether the newsletter's run exists, in whatever state."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        return await sync_to_async(RuntimeTaskInstance.get_dr_count)(dag_id=CAMPAIGN, run_ids=[run_id]) > 0
