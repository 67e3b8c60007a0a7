"""Waiting for one's turn, in words: who has it, for how long, and when the waiting ends."""

import logging
import time
from collections.abc import Callable

from include.ledger.entries import Busy

LOG_SECONDS = 30.0
_POLL_SECONDS = 0.2


def wait_for_turn(book: str, take: Callable[[], bool], holder: Callable[[], str], wait_seconds: float) -> None:
    """Try until it is taken.

    Args:
        book: whose sender one wants to be.
        take: tries once, without waiting.
        holder: says who has it, for people.
        wait_seconds: after this long without success it is given up; 0: one try.

    Raises:
        Busy: it was not free in time.
    """
    started = told = time.monotonic()
    while not take():
        waited = time.monotonic() - started
        if waited >= wait_seconds:
            raise Busy(
                f"{book}: another process is sending ({holder()}); waited {waited:.0f} s. Nothing was changed. Two "
                "senders of one book at a time could send the same twice: wait until the other has ended, then clear "
                "this task. The lock goes with its process, so nothing is to be removed by hand."
            )
        if time.monotonic() - told >= LOG_SECONDS:
            told = time.monotonic()
            logging.getLogger(__name__).info("%s: waiting %.0f s for the sender: %s", book, waited, holder())
        time.sleep(min(_POLL_SECONDS, max(0.0, wait_seconds - waited)))
