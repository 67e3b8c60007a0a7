"""Which rows belong to a run: those of the sessions whose first accepted purchase lies in its window.

A run reads more than its window, so that no session is seen in part; what belongs to another run is left to that one:

- An accepted row goes with its session, whatever its own time. A session of which no time came is refused
  (``session_without_time``) wherever it came: nothing says whose it is, and what came may be a part of it, whose other
  purchases another run has read.
- A refused row takes no part in that, so it cannot move its session to another run: it is counted in the run in whose
  window its own time lies, and, if that cannot be read, wherever it came.

So in runs whose windows follow one another each row with a time is counted once, however much was read of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.errors import BadInput
from include.neighbours import same_as_before
from include.publishers.senders import Transactions
from include.staging import utc_text

NEVER = np.iinfo(np.int64).min
"""Stands for no time among :func:`microseconds`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Mask = npt.NDArray[np.bool_]


def microseconds(moments: pa.Array) -> npt.NDArray[np.int64]:
    """Moments as numbers since 1970; those that are null are :data:`NEVER`."""
    numbers: npt.NDArray[np.int64] = moments.cast(pa.int64()).fill_null(NEVER).to_numpy()
    return numbers


def microsecond(moment: datetime) -> int:
    """One moment as :func:`microseconds` has it."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@dataclass(frozen=True)
class Window:
    """A half-open stretch of time."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, window: Mapping[str, str] | None) -> Self | None:
        """From ``start`` and ``end`` in ISO-8601 with a zone.

        Raises:
            BadInput: they are no times, carry no zone, or the window is empty.
        """
        if window is None:
            return None
        try:
            found = cls(
                *(datetime.fromisoformat(utc_text(datetime.fromisoformat(window[e]))) for e in ("start", "end"))
            )
        except (KeyError, ValueError):
            raise BadInput(f"a window has start and end in ISO-8601; came {dict(window)}") from None
        if found.start >= found.end:
            raise BadInput(f"the window is empty: it starts at {window['start']} and ends at {window['end']}")
        return found

    def holds(self, times: npt.NDArray[np.int64]) -> Mask:
        """Whether moments lie in it; no time lies in every window."""
        inside = (times >= microsecond(self.start)) & (times < microsecond(self.end))
        held: Mask = inside | (times == NEVER)
        return held

    def told(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"start": utc_text(self.start), "end": utc_text(self.end)}


def window_of(settings: Transactions, window: Mapping[str, str] | None) -> Window | None:
    """The window that decides what belongs to a run; None: everything that came does."""
    return Window.of(window) if settings.sessions == "first_purchase" else None


class Belonging:
    """Tells of accepted rows, batch by batch in the order of their sessions and times, whether they belong here."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._session = pa.scalar(None, pa.large_string())
        self._ours = np.zeros(1, np.bool_)  # of the last session so far

    def rows(self, sessions: pa.Array, moments: pa.Array) -> Mask:
        """Whether each row of a batch belongs here: the first row of a session says so for all."""
        if not len(sessions):
            return np.zeros(0, np.bool_)
        begins = ~same_as_before(sessions, self._session).to_numpy(zero_copy_only=False)
        ours = np.append(self._ours, self._window.holds(microseconds(moments)[begins]))
        self._session, self._ours = sessions[-1], ours[-1:]
        mask: Mask = ours[np.cumsum(begins)]
        return mask
