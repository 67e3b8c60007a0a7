"""The patient repetition of looks until something is found or the deadline passes; it knows no place of a batch."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
"""``{"status": "found" | "waiting" | "deadline" | "error", "reason": why it waits, or what is wrong}``"""


@dataclass(frozen=True)
class Surroundings:
    """Clock, sleep, chance and log of a watch; tests bring their own."""

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    log: Any = field(default_factory=lambda: logging.getLogger(__name__))


async def repeat(
    look: Callable[[], Awaitable[Event]], deadline: float, poll_seconds: float, reason: str, here: Surroundings
) -> Event:
    """Look again and again, with some jitter; a reason is logged when it changes.

    Args:
        look: gives an event.
        deadline: epoch seconds.
        poll_seconds: pause between looks, before jitter.
        reason: why the wait began.
        here: clock and the rest.

    Returns:
        the first event that is not ``waiting``, or one with status ``deadline`` and the last reason.
    """
    told, pause = reason, poll_seconds * here.chance()
    while (left := deadline - here.clock()) > 0:
        await here.sleep(min(pause, left))
        event = await look()
        if event["status"] != "waiting":
            return event
        reason = event["reason"]
        if reason != told:
            here.log.info("still waiting: %s", reason)
            told = reason
        pause = poll_seconds * (0.9 + 0.2 * here.chance())
    return {"status": "deadline", "reason": reason}
