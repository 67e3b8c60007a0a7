"""A delivery to Klaviyo in a process of its own, which may be killed anywhere."""

import time
from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

import klaviyo.hooks
import klaviyo.triggers
import klaviyo.write_back  # noqa: F401  # imported before any child is made
from pipeline import deliver, platforms  # noqa: F401
from pipeline.deliver_operator import DeliverOperator
from tests.plugins.pipeline.profiles import PARTS, plan


def main(batch: dict[str, Any]) -> None:
    """Deliver every part; the wait for the jobs is short."""
    for part in range(PARTS):

        def operator(part: int = part) -> DeliverOperator:
            item = {"delivery": "profiles", "part": part}
            return DeliverOperator(task_id="deliver", item=item, plan=plan(), batch=batch)

        step: Callable[[], Any] = lambda operator=operator: operator().execute({})  # noqa: E731
        while True:
            try:
                step()
                break
            except TaskDeferred as deferred:
                time.sleep(0.06)
                event = {"status": "done", "reason": "", "deadline": deferred.trigger.deadline}
                step = lambda operator=operator, event=event: operator().resume({}, event=event)  # noqa: E731
