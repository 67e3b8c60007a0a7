"""The mapped task that does one delivery with one part of the batch; a platform's may wait without a worker."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.errors import NotReady, PipelineError
from luigisbox.retries import RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.publishers.deliveries import KlaviyoDelivery


log = logging.getLogger(__name__)


class DeliverOperator(BaseOperator):
    """Do one delivery with one part of the batch; returns its figures.

    Args:
        item: ``delivery``, a name, and ``part``, a number. Templated, as are the others.
        plan: what ``plan`` returned.
        batch: what ``wait`` returned.
    """

    template_fields: Sequence[str] = ("item", "plan", "batch")
    ui_color = "#e6eef9"

    def __init__(self, *, item: Any, plan: Any, batch: Any, **options: Any) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, **options})
        self.item = item
        self.plan = plan
        self.batch = batch

    def execute(self, context: "Context") -> dict[str, Any]:
        """Do it; of Klaviyo's, send what is not confirmed and wait for the jobs."""
        from pipeline import platforms
        from pipeline.deliver import deliver_part

        delivery = self._klaviyo(context)
        if delivery is None:
            return deliver_part(self.plan, self.batch, self.item["delivery"], self.item["part"])
        work = self._work(delivery)
        platforms.prepare(work)
        return self._send(delivery, platforms.deadline_of(work))

    def send(self, context: "Context", event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger's one event: no job of an older batch runs any more. Raises as ``resume``."""
        delivery, event = self._after(context, event)
        return self._send(delivery, event["deadline"])

    def resume(self, context: "Context", event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger's one event, in a new process; the jobs are noted in the part's folder.

        Raises:
            NotReady: jobs still run at the deadline; the next try goes on waiting for them.
            PipelineError: the event is missing or unknown, or the jobs cannot be looked at.
        """
        delivery, event = self._after(context, event)
        return self._settle(delivery, event["deadline"])

    def _after(self, context: "Context", event: dict[str, Any] | None) -> "tuple[KlaviyoDelivery, dict[str, Any]]":
        delivery = self._klaviyo(context)
        if delivery is None or not event or event.get("status") not in ("done", "deadline", "error"):
            raise PipelineError(f"{self.task_id}: the trigger's event is {event!r}; expected done, deadline or error")
        if event["status"] == "error":
            raise PipelineError(f"{self._name()}: {event['reason']} Nothing is confirmed; mend it and clear this task.")
        if event["status"] == "deadline":
            raise NotReady(
                f"{self._name()}: deadline_minutes ({delivery.deadline_minutes:g}) are over: {event['reason']} "
                "What was sent is noted; the next try waits for the same jobs."
            )
        return delivery, event

    def _send(self, delivery: "KlaviyoDelivery", deadline: float) -> dict[str, Any]:
        """Send what is not confirmed, but not before the jobs of an older batch are through."""
        from klaviyo.write_back import overtaken_jobs
        from pipeline import platforms

        work = self._work(delivery)
        with self._client(delivery) as client:
            older = overtaken_jobs(client, work.part)
            jobs = [] if older else platforms.write_back(work, client).send()
        if older:
            log.info(
                "%s: %d import jobs of an older batch still run; nothing is sent before.", self._name(), len(older)
            )
            self._wait(delivery, older, deadline, "send")
        if jobs:
            self._wait(delivery, jobs, deadline)
        return self._settle(delivery, deadline)

    def _settle(self, delivery: "KlaviyoDelivery", deadline: float) -> dict[str, Any]:
        """Confirm what the jobs did, or wait on."""
        from pipeline import platforms

        work = self._work(delivery)
        with self._client(delivery) as client:
            jobs = platforms.write_back(work, client)
            running = jobs.settle()
        if running:
            self._wait(delivery, running, deadline)
        figures = platforms.finish(work, jobs.refused())
        return {"delivery": delivery.name, "kind": delivery.kind, "part": self.item["part"], **figures}

    def _wait(self, delivery: "KlaviyoDelivery", jobs: list[str], deadline: float, then: str = "resume") -> None:
        """Wait for the last of these jobs without a worker; ``then`` asks what became of the others."""
        from klaviyo.triggers import KlaviyoJobTrigger

        trigger = KlaviyoJobTrigger(delivery.connection, jobs[-1], deadline, delivery.poll_seconds)
        self.defer(trigger=trigger, method_name=then)

    def _klaviyo(self, context: "Context") -> "KlaviyoDelivery | None":
        """The delivery, if it is Klaviyo's; the task gets its name in the grid."""
        from include.publishers.deliveries import KlaviyoDelivery
        from pipeline.deliver import narrowed

        context["what"] = self._name()  # type: ignore[typeddict-unknown-key]
        delivery = narrowed(self.plan, self.item["delivery"])
        return delivery if isinstance(delivery, KlaviyoDelivery) else None

    def _name(self) -> str:
        return f"{self.item['delivery']} {self.item['part']}"

    def _work(self, delivery: "KlaviyoDelivery") -> Any:
        from pipeline.deliver import platform_work

        return platform_work(self.plan, self.batch, delivery, self.item["part"])

    def _client(self, delivery: "KlaviyoDelivery") -> Any:
        from klaviyo.hooks import KlaviyoHook

        return KlaviyoHook(delivery.connection).client
