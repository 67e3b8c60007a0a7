"""What the ledger means: how files change their state, whose the units are, and what was sent before."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.errors import PipelineError
from include.ledger import steps
from include.ledger.database import Database
from include.ledger.entries import UNKNOWN, Busy, Change, Compared, Count, Entry, FileNote, Month, State
from include.ledger.index import count, pieces

WAIT_SECONDS = 3600.0
_COMPARE = """
    SELECT l.place, f.number, CASE WHEN f.state <> 'confirmed' THEN 3 WHEN u.content = l.content THEN 1 ELSE 2 END
    FROM loaded l CROSS JOIN @units u JOIN @files f ON f.number = u.file WHERE u.book = ? AND u.key = l.key
"""
_FORGET = """
    DELETE FROM @units WHERE book = ? AND key >= ? AND key < ? AND day < ?
        AND file IN (SELECT number FROM @files WHERE book = ? AND state = 'confirmed')
"""


class Ledger:
    """The ledger; made by ``sqlite_ledger`` or ``postgres_ledger``."""

    def __init__(self, database: Database, marks: Path | None = None) -> None:
        self._database = database
        self._marks = marks

    @contextmanager
    def one_sender(
        self,
        book: str,
        by: str = "",
        wait_seconds: float = WAIT_SECONDS,
        account: str = "",  # noqa: ARG002
    ) -> Iterator[None]:
        """Be the only sender of a book, across processes. The lock goes with the process, however that dies.

        So what is ``sending`` while one holds it was left by a dead sender; see :meth:`recover`.

        Args:
            book: such as ``shop/transactions``.
            by: who, for those who wait.
            wait_seconds: how long to wait for another sender.
            account: at the vendor, such as ``{tracker}@{base_url}``; empty: not checked.

        Raises:
            Busy: another one was still sending after that time.
        """
        with self._database.one_sender(book, by, wait_seconds):
            yield

    def recover(self, book: str, by: str) -> list[Entry]:
        """Inside :meth:`one_sender`: what a dead sender left ``sending`` becomes ``unknown``.

        Returns:
            All files of unknown fate, old ones too.
        """
        with self._database.transaction() as work:
            steps.lock_book(work, book)
            for number, entry in steps.entries(work, book, steps.state_in(("sending",))):
                steps.change(work, number, "unknown", by, f"its sender ended without saying how ({entry.claimed_by})")
            return [entry for _, entry in steps.entries(work, book, steps.state_in(("unknown",)))]

    def compare(self, book: str, index: Path | pa.Table) -> Compared:
        """What is known of the units of an index, in bulk.

        Raises:
            BadInput: the index is not one.
        """
        codes = np.zeros(count(index), np.uint8)
        units, rows, files = np.zeros(4, np.int64), np.zeros(4, np.int64), set()
        with self._database.transaction(write=False) as work:
            number = steps.find_book(work, book)
            for piece in pieces(index):
                places = piece["place"].to_numpy()
                for place, file, code in work.run(_COMPARE, number, piece=piece).fetchall():
                    codes[place] = code
                    if code == UNKNOWN:
                        files.add(file)
                found = codes[places]
                units += np.bincount(found, minlength=4)
                rows += np.bincount(found, piece["rows"].to_numpy(), minlength=4).astype(np.int64)
            unsettled = steps.entries(work, book, steps.state_in(("sending", "unknown")))
            unknown = [entry for each, entry in unsettled if each in files]
        counts = {code: Count(int(units[code]), int(rows[code])) for code in range(4)}
        return Compared(pa.array(codes), unknown, counts)

    def claim(self, book: str, file: FileNote, index: Path | pa.Table, by: str) -> Entry:
        """Take a file and all its units for sending, or nothing. Durable when it returns; nobody else has any of it.

        Args:
            book: such as ``shop/transactions``.
            file: what will be sent.
            index: its units: a Parquet file or a table with the columns key, content, rows and day.
            by: who takes it, for people.

        Raises:
            AlreadySent: the vendor has confirmed this very file.
            AlreadyClaimed: it, or some of its units, is in a file that is sending, confirmed or unknown.
            BadInput: the index does not fit the file.
        """
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            own = steps.enter(work, book, number, file, by)
            steps.take(work, book, number, own, file, index)
            return steps.known(work, book, file.sha256)[1]

    def split(
        self, book: str, sha256: str, part: FileNote, index: Path | pa.Table, state: State, by: str, note: str
    ) -> Entry:
        """Say that some units of a file that is sending ended otherwise: they become a file of their own.

        For files whose units are requests of their own, of which some were refused, or got no answer. In one
        transaction, the units go over, the figures of both files are set right and the part is settled; the rest is
        still sending.

        Args:
            book: of the file.
            sha256: of the file that is sending.
            part: the file of those units; its SHA-256 may be any that names them, such as that of their keys.
            index: those units.
            state: how they ended: refused, prepared or unknown.
            by: who says so.
            note: why.

        Raises:
            PipelineError: the file is not sending, or the units are not all its own.
        """
        _check_outcome(state, ("refused", "prepared", "unknown"))
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            whole, entry = steps.known(work, book, sha256)
            if entry.state != "sending":
                raise PipelineError(f"{entry.label()}: is {entry.state}, so no part of it can be settled on its own")
            own = steps.enter(work, book, number, part, by)
            steps.take(work, book, number, own, part, index, whole)
            steps.settle(work, number, own, state, by, note)
            return steps.known(work, book, part.sha256)[1]

    def settle(self, book: str, sha256: str, state: State, by: str, note: str) -> Entry:
        """Say how an attempt ended.

        ``confirmed`` keeps the units for ever, ``unknown`` until it is settled; ``refused`` and ``prepared`` (nothing
        arrived) free them, in the same transaction.

        Raises:
            PipelineError: the ledger does not know the file, or nobody attempted it, or the vendor has confirmed it
                (that is never taken back).
        """
        _check_outcome(state, ("confirmed", "refused", "prepared", "unknown"))
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            own, entry = steps.known(work, book, sha256)
            if entry.state == state:
                return entry
            if entry.state not in ("sending", "unknown"):
                raise PipelineError(
                    f"{entry.label()}: is {entry.state}; there is no attempt to settle as {state}. Nothing was changed."
                )
            steps.settle(work, number, own, state, by, note)
            return steps.known(work, book, sha256)[1]

    def entry(self, book: str, beginning: str) -> Entry:
        """The file whose SHA-256 begins so.

        Raises:
            PipelineError: there is none, or more than one.
        """
        with self._database.transaction(write=False) as work:
            found = steps.entries(work, book, " AND f.sha256 LIKE ?", f"{_hexadecimal(beginning)}%")
        if len(found) != 1:
            raise PipelineError(f"{book}: {len(found)} files of the ledger begin with {beginning!r}, must be one")
        return found[0][1]

    def entries(self, book: str, states: Collection[State] | None = None) -> list[Entry]:
        """The files of a book, in the order in which they were first claimed; all, or those in some states."""
        with self._database.transaction(write=False) as work:
            return [entry for _, entry in steps.entries(work, book, "" if states is None else steps.state_in(states))]

    def history(self, book: str, sha256: str) -> list[Change]:
        """Who changed the state of a file, when, to what and why, in that order."""
        query = "SELECT at, by_whom, state, why FROM @changes WHERE file = ? ORDER BY number"
        with self._database.transaction(write=False) as work:
            return [Change(*row) for row in work.run(query, steps.known(work, book, sha256)[0]).fetchall()]

    def months(self, book: str) -> list[Month]:
        """How much was sent, by month of purchase and state."""
        query = """
            SELECT m.month, f.state, count(*), sum(m.units), sum(m.rows) FROM @months m JOIN @files f
            ON f.number = m.file WHERE f.book = ? GROUP BY m.month, f.state ORDER BY m.month, f.state
        """
        with self._database.transaction(write=False) as work:
            found = work.run(query, steps.find_book(work, book)).fetchall()
        return [Month(month, state, *map(int, numbers)) for month, state, *numbers in found]

    def forget(self, book: str, before: date) -> int:
        """Remove the units of confirmed files whose last purchase is before a day; units without a time stay.

        Such a unit would be sent again if it were extracted again: its source must not give it any more, or the build
        must reject it for its age. The files, their history and their months stay.

        Returns:
            How many units were removed.
        """
        with self._database.transaction(write=False) as work:
            number = steps.find_book(work, book)
            total = int(work.run("SELECT coalesce(sum(units), 0) FROM @files WHERE book = ?", number).fetchone()[0])
        day, removed = (before - date(1970, 1, 1)).days, 0
        for start, end in _key_ranges(min(max(total // 200_000, 1), 256)):
            with self._database.transaction() as work:
                removed += work.run(_FORGET, number, start, end, day, number).rowcount
        return removed

    def settle_by_hand(self, book: str, beginning: str, state: State, by: str, why: str) -> tuple[Entry, Entry]:
        """A person says how an attempt ended; not while its sender is still at work.

        Returns:
            The file before and after.

        Raises:
            Busy: it is being sent right now.
            PipelineError: as :meth:`entry` and :meth:`settle`.
        """
        if not why.strip():
            raise PipelineError("say how you know: the reason is kept in the ledger")
        before = self.entry(book, beginning)
        if before.state != "sending":
            return before, self.settle(book, before.sha256, state, by, why)
        try:
            with self.one_sender(book, by, wait_seconds=0):
                self.recover(book, by)
                return before, self.settle(book, before.sha256, state, by, why)
        except Busy as error:
            raise Busy(
                f"{before.label()}: is being sent right now; wait for the end of that attempt. {error}"
            ) from None


def _check_outcome(state: str, allowed: Collection[str]) -> None:
    if state not in allowed:
        raise PipelineError(f"cannot settle as {state!r}; allowed are {', '.join(allowed)}")


def _hexadecimal(beginning: str) -> str:
    if not beginning or set(beginning) - set("0123456789abcdef"):
        raise PipelineError(f"{beginning!r}: give the SHA-256 of the file, or its first characters (0-9, a-f)")
    return beginning


def _key_ranges(number: int) -> Iterator[tuple[bytes, bytes]]:
    """All keys, cut into ranges of about the same size."""
    borders = [(256 * each // number) for each in range(number + 1)]
    for start, end in pairwise(borders):
        yield bytes([start]), bytes([end]) if end < 256 else b"\xff" * 17
