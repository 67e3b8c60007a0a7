"""What happens without a request: stored transactions are processed, batches are published by the clock.

One thread does all of it in order, so a batch is made from everything that was uploaded before it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Any, TypeVar

from include.sandbox.batches import Publisher
from include.sandbox.database import Stopping
from include.sandbox.settings import RecommendationType
from include.sandbox.store import Store, Upload
from include.sandbox.uploads import Uploads

Result = TypeVar("Result")
log = logging.getLogger("include.sandbox")


class Jobs:
    """The background of a running sandbox."""

    def __init__(self, store: Store, uploads: Uploads, publisher: Publisher) -> None:
        self.store, self.uploads, self.publisher = store, uploads, publisher
        self.settings = publisher.settings
        self._thread = ThreadPoolExecutor(1, "sandbox-jobs")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up what an earlier process left undone, and start the clocks."""
        for upload in self.store.uploads():
            if upload["kind"] == "transactions" and upload["state"] == "processing":
                self.process(upload)
        if self.settings.publish_every is not None:
            self._spawn(self._publish_every(self.settings.publish_every))
        users, batch = self.store.users(), self.publisher.current()
        if users and (batch is None or batch["users_upload"] != users["upload"]):
            self.users_replaced(datetime.fromisoformat(users["received_at"]))

    async def stop(self) -> None:
        """Stop at once; what was not finished is done again after the next start."""
        for task in self._tasks:
            task.cancel()
        self.store.database.stop()
        self._thread.shutdown(wait=True, cancel_futures=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()

    def process(self, upload: Upload) -> None:
        """Process stored transactions in the background."""
        self._spawn(self._in_thread(lambda: self.uploads.process(upload)))

    def users_replaced(self, received_at: datetime) -> None:
        """Publish ``publish_after`` seconds after that, if so configured."""
        if self.settings.publish_after is not None:
            passed = max(0.0, (self.publisher.clock.now() - received_at).total_seconds())
            self._spawn(self._publish_in(max(0.0, self.settings.publish_after - passed)))

    async def publish(
        self, types: Sequence[RecommendationType] | None = None, today: date | None = None
    ) -> dict[str, Any] | None:
        """Publish, after all uploads so far were processed; gives the record of the batch.

        The fault ``late_batch`` delays it: then nothing is given, and nobody waits.
        """
        late = self.publisher.faults.take("late_batch")
        if late is None:
            return await self._in_thread(lambda: self.publisher.publish(types, today))
        self._spawn(self._publish_late(late.seconds, types, today))
        return None

    async def after_uploads(self, job: Callable[[], Result]) -> Result:
        """Do something once all uploads so far were processed; gives its result."""
        return await self._in_thread(job)

    async def _publish_late(
        self, seconds: float, types: Sequence[RecommendationType] | None, today: date | None
    ) -> None:
        await asyncio.sleep(seconds)
        await self._in_thread(lambda: self.publisher.publish(types, today))

    async def _publish_in(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.publish()

    async def _publish_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._spawn(self._publish_in(0))

    async def _in_thread(self, job: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    """Nobody waits for this work: its failure goes to the log."""
    try:
        await work
    except Stopping:
        log.info("a background job was stopped; it is done again after the next start")
    except Exception:
        log.exception("a background job failed; what it was for stays as it was")
