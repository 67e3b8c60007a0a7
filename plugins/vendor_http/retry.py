"""The one retry loop of the request layer: transient errors, few attempts, ``Retry-After`` honoured up to a cap.

Airflow's retries are the layer above; both together decide how stubborn a task is.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vendor_http.errors import TransientError

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retry:
    """How often and how patiently one request is tried; ``sleep`` and ``jitter`` are injected in tests."""

    attempts: int = 4
    base_seconds: float = 2.0
    cap_seconds: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def run(self, what: str, attempt: Callable[[int], T]) -> T:
        """Call ``attempt(number)`` until it succeeds; ``number`` counts from 1.

        Args:
            what: names the request in the log.
            attempt: builds and sends everything anew at each call.

        Raises:
            TransientError: the last one, when attempts are used up, or at once when the vendor asks for a longer
                pause than the cap: then waiting is for Airflow, whose pause does not hold a worker.
        """
        for number in range(1, self.attempts):
            try:
                return attempt(number)
            except TransientError as error:
                pause = self._pause(number, error)
                if pause > self.cap_seconds:
                    raise
                log.warning("%s: attempt %d of %d: %s Next in %.1f s.", what, number, self.attempts, error, pause)
                self.sleep(pause)
        return attempt(self.attempts)

    def _pause(self, number: int, error: TransientError) -> float:
        if error.retry_after is not None:
            return error.retry_after
        return min(self.cap_seconds, self.base_seconds * 2.0 ** (number - 1)) * (0.5 + self.jitter() / 2)
