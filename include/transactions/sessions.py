"""Sessions as they go by: rows sorted by session are regrouped, judged and cut so that no session is ever split.

Products of one session are learned together, so a session lies in one batch here and in one file later.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.files import LinesFiles
from include.lines import text_borders, text_bytes
from include.neighbours import same_as_before

Rows = list[pa.Array]  # columns of large_string; the first is session_id, the third user_id
Places = npt.NDArray[np.int64]


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
    return sum(len(text_bytes(column)) for column in rows)


class Sessions:
    """The sessions of one batch: where they begin, how large they are, and which of them cannot be uploaded."""

    def __init__(self, rows: Rows, lines: pa.Array) -> None:
        self._users = rows[2]
        self._lines = lines
        begins = starts(rows[0], pa.scalar(None, rows[0].type))
        borders = np.append(begins, len(lines))
        self._rows = np.diff(borders)
        self._bytes = np.diff(text_borders(lines)[borders])

    def refused(self, most_bytes: int) -> pa.Array | None:
        """A reason for each row of a session that is too large for a file, or has two users; None without any."""
        too_large = self._bytes > most_bytes
        reasons = np.where(too_large, "session_too_large", np.where(self._of_two_users(), "session_of_two_users", ""))
        refused = reasons != ""
        if not refused.any():
            return None
        per_session = pa.array(reasons, pa.string(), mask=~refused)
        return per_session.take(pa.array(self._session_of_row()))

    def write(self, files: LinesFiles, most_bytes: int) -> None:
        """Append the lines of all sessions, beginning another file before a session that no longer fits."""
        row_borders = np.concatenate([[0], np.cumsum(self._rows)])
        byte_borders = np.concatenate([[0], np.cumsum(self._bytes)])
        done = 0
        while done < len(self._rows):
            room = most_bytes - files.bytes_in_open
            fits = int(np.searchsorted(byte_borders, byte_borders[done] + room, side="right")) - 1
            files.write(self._lines[row_borders[done] : row_borders[fits]], sessions=fits - done)
            done = fits
            if done < len(self._rows):
                files.cut()

    def _session_of_row(self) -> Places:
        return np.repeat(np.arange(len(self._rows)), self._rows)

    def _of_two_users(self) -> npt.NDArray[np.bool_]:
        """Compare each known user with the one before in the same session."""
        known = pc.is_valid(self._users)
        users = self._users.filter(known)
        sessions = self._session_of_row()[known.to_numpy(zero_copy_only=False)]
        found = np.zeros(len(self._rows), bool)
        if len(users) > 1:
            differs = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
            found[sessions[1:][differs & (sessions[1:] == sessions[:-1])]] = True
        return found
