"""Klaviyo's rate limits: fixed windows of a second and a minute, for the account, by the size class of an endpoint.

Answers tell of the window of a minute (``RateLimit-*``); a refusal has ``Retry-After`` alone.
"""

import threading
import time
from dataclasses import dataclass, field

from include.sandbox.klaviyo.errors import refusal


@dataclass
class _Window:
    seconds: int
    limit: int
    number: int = -1
    used: int = 0

    def left(self, now: float) -> int:
        """Requests left in the window that is now open."""
        number = int(now // self.seconds)
        if number != self.number:
            self.number, self.used = number, 0
        return self.limit - self.used

    def reset(self, now: float) -> int:
        """Whole seconds until the next window, at least one."""
        return max(1, int(self.seconds - now % self.seconds + 0.999))


@dataclass
class Limit:
    """The limit of one size class; safe to use from several threads."""

    burst: int
    steady: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._second, self._minute = _Window(1, self.burst), _Window(60, self.steady)
        self.taken = self.refused = 0

    def take(self) -> dict[str, str]:
        """Count one request; gives the headers of its answer.

        Raises:
            Refusal: 429, one of the windows is used up.
        """
        with self._lock:
            now = time.time()
            for window in (self._minute, self._second):
                if window.left(now) <= 0:
                    self.refused += 1
                    wait = window.reset(now)
                    raise refusal(
                        429,
                        f"Request was throttled. Expected available in {wait} seconds.",
                        headers={"Retry-After": str(wait)},
                    )
            self._minute.used += 1
            self._second.used += 1
            self.taken += 1
            return {
                "RateLimit-Limit": str(self.steady),
                "RateLimit-Remaining": str(self._minute.left(now)),
                "RateLimit-Reset": str(self._minute.reset(now)),
            }


class Limits:
    """The size classes that the pipeline's endpoints have. ``profiles`` can be set; the others are as documented."""

    def __init__(self, burst: int, steady: int) -> None:
        self.profiles = Limit(burst, steady)
        self.counts = Limit(1, 15)
        self.others = Limit(10, 150)
        if (burst, steady) > (75, 700):  # an account without limits, for tests of other things
            self.counts, self.others = Limit(burst, steady), Limit(burst, steady)

    def figures(self) -> dict[str, dict[str, int]]:
        """Requests taken and refused, by size class."""
        classes = {"profiles": self.profiles, "counts": self.counts, "others": self.others}
        return {name: {"taken": limit.taken, "refused": limit.refused} for name, limit in classes.items()}
