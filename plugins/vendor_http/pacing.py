"""Pacing: so many requests as an account is allowed, and none that is refused.

Limits are fixed windows of a second and of a minute, counted for the account, whoever asks. So each worker

- spaces its own requests, so that two workers stay below the limit of a second;
- reads how much of the window is left from ``RateLimit-Remaining`` and ``RateLimit-Reset``, leaves a hundredth of it
  for the requests that others have on their way, and waits for the next window when that is reached.

An answer 429 is not the pacer's: the request is tried again after ``Retry-After`` (``vendor_http.retry``).
"""

import re
import time
from collections.abc import Callable, Mapping

WORKERS_SHARE = 0.45
"""A worker's share of the limit of a second: two of them, as the pool has it, are below it, borders of windows too."""
RESERVE = 0.01
MAX_WAIT_SECONDS = 60.0
MIN_WAIT_SECONDS = 0.5


class Pacer:
    """Paces one worker's requests to endpoints that share a limit. ``clock`` and ``sleep`` are injected in tests.

    Args:
        per_second: requests allowed in a second.
        per_minute: requests allowed in a minute.
        share: how much of the limit of a second this worker may use.
    """

    def __init__(
        self,
        per_second: float,
        per_minute: int,
        *,
        share: float = WORKERS_SHARE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spacing = 1 / (per_second * share)
        self._per_minute = per_minute
        self._sleep = sleep
        self._clock = clock
        self._not_before = clock()

    def before(self) -> None:
        """Wait until the next request may leave."""
        now = self._clock()
        if now < self._not_before:
            self._sleep(self._not_before - now)
        self._not_before = max(now, self._not_before) + self._spacing

    def after(self, headers: Mapping[str, str]) -> None:
        """Note what an answer says of the window; headers in any case; missing or unreadable ones say nothing."""
        lowered = {name.lower(): value for name, value in headers.items()}
        remaining, reset = (_number(lowered.get(f"ratelimit-{name}")) for name in ("remaining", "reset"))
        limit = _number(lowered.get("ratelimit-limit"))
        if remaining is None or reset is None:
            return
        if remaining <= int((limit or self._per_minute) * RESERVE):
            wait = min(max(reset, MIN_WAIT_SECONDS), MAX_WAIT_SECONDS)
            self._not_before = max(self._not_before, self._clock() + wait)

    def pause(self, seconds: float) -> None:
        """Let no request leave for so long: the vendor asked for it."""
        self._not_before = max(self._not_before, self._clock() + min(seconds, MAX_WAIT_SECONDS))


def _number(value: str | None) -> int | None:
    """The number a header begins with (``700, 75;w=1`` begins with 700)."""
    found = re.match(r"\s*([0-9]{1,9})(?![0-9])", value or "")
    return int(found.group(1)) if found else None
