"""Sessions as they go by: rows sorted by session are regrouped, judged and cut so that no session is ever split.

Products of one session are learned together, so a session lies in one batch here and in one file later.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.files import LinesFiles
from include.lines import text_borders, text_bytes
from include.neighbours import same_as_before
from include.transactions.index import INDEX, IndexFiles, contents_of, keys_of
from include.transactions.windows import NEVER, Mask, microseconds

Rows = list[pa.Array]  # session_id, identity, user_id as large_string, and the moment in UTC
Places = npt.NDArray[np.int64]
_DAY = 86_400_000_000
_MOST_TOLD = 20

log = logging.getLogger(__name__)


def whole_sessions(batches: Iterable[Rows], most_bytes: int) -> Iterator[tuple[Rows, bool]]:
    """Regroup batches so that each holds whole sessions; memory is a batch and one session.

    Args:
        batches: rows sorted by session.
        most_bytes: a session with more text than this comes out in pieces, so that it need not be held.

    Yields:
        Rows, and whether they are a piece of a session that is too large.
    """
    held: list[Rows] = []  # the rows of the last session so far
    too_large = False
    before = pa.scalar(None, pa.large_string())
    for rows in batches:
        begins = starts(rows[0], before)
        before = rows[0][-1]
        end_of_held = int(begins[0]) if len(begins) else len(rows[0])
        if too_large and end_of_held:
            yield _part(rows, 0, end_of_held), True
        elif end_of_held:
            held.append(_part(rows, 0, end_of_held))
            too_large = sum(map(_bytes, held)) > most_bytes
            if too_large:
                yield from ((piece, True) for piece in held)
                held = []
        if len(begins):
            last = int(begins[-1])
            if held or last > end_of_held:
                yield _joined([*held, _part(rows, end_of_held, last)]), False
            held, too_large = [_part(rows, last, len(rows[0]))], False
    if held:
        yield _joined(held), False


def starts(sessions: pa.Array, before: pa.Scalar) -> Places:
    """The rows at which a session begins that is not that of the row before."""
    return np.flatnonzero(~same_as_before(sessions, before).to_numpy(zero_copy_only=False))


def _part(rows: Rows, start: int, stop: int) -> Rows:
    return [column[start:stop] for column in rows]


def _joined(parts: list[Rows]) -> Rows:
    return [pa.concat_arrays(list(columns)) for columns in zip(*parts, strict=True)]


def _bytes(rows: Rows) -> int:
    return sum(len(text_bytes(column)) for column in rows[:3])


class Sessions:
    """The sessions of one batch: where they begin, how large and how old they are, which cannot be uploaded.

    It is made of rows, their times as text, and their lines.
    """

    def __init__(self, rows: Rows, times: pa.Array, lines: pa.Array) -> None:
        self._columns = rows
        self._times = times
        self._lines = lines
        self._begins = starts(rows[0], pa.scalar(None, rows[0].type))
        borders = np.append(self._begins, len(lines))
        self._rows = np.diff(borders)
        self._bytes = np.diff(text_borders(lines)[borders])
        times = microseconds(rows[3])  # sorted within a session, nulls last
        self._first = times[self._begins]
        self._last = np.maximum.reduceat(times, self._begins) if len(times) else times

    def refused(self, most_bytes: int, oldest: int | None, timed: bool) -> pa.Array | None:
        """A reason for each row of a session that cannot be uploaded; None if all can.

        Args:
            most_bytes: of a file.
            oldest: the earliest last purchase of a session that is not too old; None: none is.
            timed: whether sessions of which no time is known are refused.
        """
        too_large = self._bytes > most_bytes
        two_users = self._of_two_users()
        too_old = (self._last < (NEVER if oldest is None else oldest)) & (self._last != NEVER)
        timeless = (self._last == NEVER) & timed
        refused = too_large | two_users | too_old | timeless
        if not refused.any():
            return None
        names = ["session_too_large", "session_of_two_users", "session_too_old", "session_without_time"]
        reasons = np.select([too_large, two_users, too_old, timeless], names, "")
        per_session = pa.array(reasons, pa.string(), mask=~refused)
        return per_session.take(pa.array(self._session_of_row()))

    def larger_than(self, most_bytes: int) -> Iterator[tuple[str, int]]:
        """Ids and bytes of the sessions that are larger."""
        for place in np.flatnonzero(self._bytes > most_bytes).tolist():
            yield self._columns[0][int(self._begins[place])].as_py(), int(self._bytes[place])

    def longer_than(self, most: timedelta) -> int:
        """How many sessions last longer."""
        return int(np.count_nonzero(self._last - self._first > most // timedelta(microseconds=1)))

    def write(self, files: LinesFiles, index: IndexFiles, most_bytes: int) -> None:
        """Append the lines of all sessions, beginning another file before a session that no longer fits."""
        units = self._units()
        row_borders = np.concatenate([[0], np.cumsum(self._rows)])
        byte_borders = np.concatenate([[0], np.cumsum(self._bytes)])
        done = 0
        while done < len(self._rows):
            room = most_bytes - files.bytes_in_open
            fits = int(np.searchsorted(byte_borders, byte_borders[done] + room, side="right")) - 1
            files.write(self._lines[row_borders[done] : row_borders[fits]], sessions=fits - done)
            index.write(units[done:fits])
            done = fits
            if done < len(self._rows):
                files.cut()
                index.cut()

    def _units(self) -> pa.Table:
        """The sessions as the index has them."""
        ids, identities, users, _ = self._columns
        borders = np.append(self._begins, len(ids))
        days = pa.array(self._last // _DAY, pa.int32(), mask=self._last == NEVER)
        columns = [
            keys_of(ids.take(pa.array(self._begins))),
            contents_of(end_to_end(canonical(identities, users, self._times), borders)),
            pa.array(self._rows, pa.int32()),
            pa.array(self._bytes, pa.int64()),
            days,
        ]
        return pa.table(columns, schema=INDEX)

    def _session_of_row(self) -> Places:
        return np.repeat(np.arange(len(self._rows)), self._rows)

    def _of_two_users(self) -> Mask:
        """Compare each known user with the one before in the same session."""
        users = self._columns[2]
        known = pc.is_valid(users)
        users = users.filter(known)
        sessions = self._session_of_row()[known.to_numpy(zero_copy_only=False)]
        found = np.zeros(len(self._rows), bool)
        if len(users) > 1:
            differs = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
            found[sessions[1:][differs & (sessions[1:] == sessions[:-1])]] = True
        return found


class Giants:
    """Sessions larger than a file: each is told of once, by its hash; the most by their number alone."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._last = ""
        self._others = 0

    def add(self, session: str, size: int) -> None:
        """Note bytes of a session; pieces of one session come one after the other."""
        key = keys_of(pa.array([session]))[0].as_py().hex()[:12]
        if key in self._sizes or len(self._sizes) < _MOST_TOLD - 1:
            self._sizes[key] = self._sizes.get(key, 0) + size
        elif key != self._last:
            self._others += 1
        self._last = key

    def tell(self) -> None:
        """Log them."""
        for key, size in self._sizes.items():
            log.warning("session %s… has %s bytes, more than a file may have: its rows are rejected", key, f"{size:,}")
        if self._others:
            log.warning("%s more sessions are larger than a file: their rows are rejected", f"{self._others:,}")


def canonical(identities: pa.Array, users: pa.Array, times: pa.Array) -> pa.Array:
    """Each row as the content hash of a session knows it, in one spelling for ever.

    That is product, user and time (UTC, microseconds), each ended by U+001F, and a newline; what is not known has no
    text. None of them can hold these characters, nor be empty, so two different rows never look the same.
    """
    known = (pc.fill_null(column, "") for column in (users, times))
    ends = (pa.scalar(text, pa.large_string()) for text in ("\n", "\x1f"))
    return pc.binary_join_element_wise(identities, *known, *ends)


def end_to_end(texts: pa.Array, borders: Places) -> pa.Array:
    """Neighbouring texts joined, from each border to the next, without a copy."""
    where = pa.py_buffer(text_borders(texts)[borders])
    return pa.Array.from_buffers(
        pa.large_binary(), len(borders) - 1, [None, where, texts.buffers()[2] or pa.py_buffer(b"")]
    )
