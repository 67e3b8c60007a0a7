"""What the ledger means: how files change their state, whose the units are, and what was sent before.

The databases beside this module run these statements in transactions of their own kind. In a statement ``@files`` is
a table, ``?`` a value, and ``loaded`` the piece of an index that goes with it.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from include.errors import BadInput, PipelineError
from include.ledger.entries import (
    HOLDING,
    STATES,
    UNKNOWN,
    AlreadyClaimed,
    AlreadySent,
    Busy,
    Change,
    Compared,
    Count,
    Entry,
    FileNote,
    Month,
    State,
)
from include.ledger.index import count, packed, pieces, unpacked
from include.staging import utc_text

SCHEMA = 1
WAIT_SECONDS = 3600.0
_FREE = ("prepared", "refused")
_ENTRY = """
    SELECT f.number, f.sha256, f.uri, f.units, f.rows, f.bytes, f.run, b.name, f.state, f.claimed_by, f.claimed_at,
        f.changed_at, f.changed_by, f.note
    FROM @files f JOIN @books b ON b.number = f.book WHERE b.name = ?
"""
_COMPARE = """
    SELECT l.place, f.number, CASE WHEN f.state <> 'confirmed' THEN 3 WHEN u.content = l.content THEN 1 ELSE 2 END
    FROM loaded l CROSS JOIN @units u JOIN @files f ON f.number = u.file WHERE u.book = ? AND u.key = l.key
"""
_TAKE = """
    INSERT INTO @units (book, key, content, file, day)
    SELECT ?, l.key, l.content, ?, l.day FROM loaded l WHERE true ORDER BY l.key ON CONFLICT DO NOTHING
"""
_RIVALS = """
    SELECT u.file, count(*) FROM loaded l CROSS JOIN @units u
    WHERE u.book = ? AND u.key = l.key GROUP BY u.file ORDER BY u.file
"""
_RELEASE = "DELETE FROM @units WHERE book = ? AND key IN (SELECT key FROM loaded) AND file = ?"
_MOVE = "UPDATE @units SET file = ? WHERE book = ? AND key IN (SELECT key FROM loaded) AND file = ?"
_FORGET = """
    DELETE FROM @units WHERE book = ? AND key >= ? AND key < ? AND day < ?
        AND file IN (SELECT number FROM @files WHERE book = ? AND state = 'confirmed')
"""


class Rows(Protocol):
    """What a statement gives: the part of a DB-API cursor that is used."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchall(self) -> list[Any]:
        """All rows."""

    def fetchone(self) -> Any:
        """The next row, or None."""


class Work(Protocol):
    """One transaction of a database."""

    def run(self, statement: str, *values: object, piece: pa.Table | None = None) -> Rows:
        """Run a statement; it sees ``piece`` as the table ``loaded`` (place, key, content, day)."""


class Database(Protocol):
    """What differs from database to database."""

    def transaction(self, write: bool = True) -> AbstractContextManager[Work]:
        """All or nothing; durable after the block."""

    def one_sender(self, book: str, by: str, wait_seconds: float) -> AbstractContextManager[None]:
        """A lock between processes that goes with its holder."""


class Ledger:
    """The ledger; made by ``sqlite_ledger`` or ``postgres_ledger``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def tables(without_rowid: str = "") -> Sequence[str]:
        """The statements that make the tables."""
        return [
            "CREATE TABLE @books (number @number, name @text NOT NULL UNIQUE)",
            """CREATE TABLE @files (number @number, book @integer NOT NULL REFERENCES @books, sha256 @text NOT NULL,
                state @text NOT NULL, uri @text NOT NULL, units @integer NOT NULL, rows @integer NOT NULL,
                bytes @integer NOT NULL, run @text NOT NULL, claimed_by @text NOT NULL, claimed_at @text NOT NULL,
                changed_at @text NOT NULL, changed_by @text NOT NULL, note @text NOT NULL, UNIQUE (book, sha256))""",
            """CREATE TABLE @changes (number @number, file @integer NOT NULL REFERENCES @files, at @text NOT NULL,
                by_whom @text NOT NULL, state @text NOT NULL, why @text NOT NULL)""",
            "CREATE INDEX @changes_of_file ON @changes (file)",
            """CREATE TABLE @months (file @integer NOT NULL, month @text NOT NULL, units @integer NOT NULL,
                rows @integer NOT NULL, PRIMARY KEY (file, month))"""
            + without_rowid,
            """CREATE TABLE @held (file @integer NOT NULL, part @integer NOT NULL, keys @key NOT NULL,
                PRIMARY KEY (file, part))""",
            """CREATE TABLE @units (book @integer NOT NULL, key @key NOT NULL, content @integer NOT NULL,
                file @integer NOT NULL, day @integer, PRIMARY KEY (book, key))"""
            + without_rowid,
        ]

    @contextmanager
    def one_sender(self, book: str, by: str = "", wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Be the only sender of a book, across processes. The lock goes with the process, however that dies.

        So what is ``sending`` while one holds it was left by a dead sender; see :meth:`recover`.

        Args:
            book: such as ``shop/transactions``.
            by: who, for those who wait.
            wait_seconds: how long to wait for another sender.

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
            for number, entry in _entries(work, book, " AND f.state = 'sending'"):
                _change(work, number, "unknown", by, f"its sender ended without saying how ({entry.claimed_by})")
            return [entry for _, entry in _entries(work, book, " AND f.state = 'unknown'")]

    def compare(self, book: str, index: Path | pa.Table) -> Compared:
        """What is known of the units of an index, in bulk.

        Raises:
            BadInput: the index is not one.
        """
        codes = np.zeros(count(index), np.uint8)
        units, rows, files = np.zeros(4, np.int64), np.zeros(4, np.int64), set()
        with self._database.transaction(write=False) as work:
            number = _book(work, book)
            for piece in pieces(index):
                places = piece["place"].to_numpy()
                for place, file, code in work.run(_COMPARE, number, piece=piece).fetchall():
                    codes[place] = code
                    if code == UNKNOWN:
                        files.add(file)
                found = codes[places]
                units += np.bincount(found, minlength=4)
                rows += np.bincount(found, piece["rows"].to_numpy(), minlength=4).astype(np.int64)
            unknown = [
                entry for each, entry in _entries(work, book, _state_in(("sending", "unknown"))) if each in files
            ]
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
        at = utc_text(datetime.now(UTC))
        with self._database.transaction() as work:
            number = _book(work, book, begin=True)
            known = _one(work, book, file.sha256)
            if known:
                _check_free(known[1])
                work.run("DELETE FROM @months WHERE file = ?", known[0])
                work.run(
                    "UPDATE @files SET uri = ?, units = ?, rows = ?, bytes = ?, run = ? WHERE number = ?",
                    file.uri, file.units, file.rows, file.bytes, file.run, known[0],
                )  # fmt: skip
            own = known[0] if known else _enter(work, number, file, by, at)
            work.run("UPDATE @files SET claimed_by = ?, claimed_at = ? WHERE number = ?", by, at, own)
            _change(work, own, "sending", by, "", at)
            _take(work, book, number, own, file, index)
            return _known(work, book, file.sha256)[1]

    def settle(self, book: str, sha256: str, state: State, by: str, note: str) -> Entry:
        """Say how an attempt ended.

        ``confirmed`` keeps the units for ever, ``unknown`` until it is settled; ``refused`` and ``prepared`` (nothing
        arrived) free them, in the same transaction.

        Raises:
            PipelineError: the ledger does not know the file, or nobody attempted it, or the vendor has confirmed it
                (that is never taken back).
        """
        if state not in STATES or state == "sending":
            raise PipelineError(f"cannot settle as {state!r}; allowed are confirmed, refused, prepared and unknown")
        with self._database.transaction() as work:
            book_number = _book(work, book, begin=True)
            number, entry = _known(work, book, sha256)
            if entry.state == state:
                return entry
            if entry.state not in ("sending", "unknown"):
                raise PipelineError(
                    f"{entry.label()}: is {entry.state}; there is no attempt to settle as {state}. Nothing was changed."
                )
            _settle(work, book_number, number, state, by, note)
            return _known(work, book, sha256)[1]

    def entry(self, book: str, beginning: str) -> Entry:
        """The file whose SHA-256 begins so.

        Raises:
            PipelineError: there is none, or more than one.
        """
        with self._database.transaction(write=False) as work:
            found = [entry for _, entry in _entries(work, book, " AND f.sha256 LIKE ?", f"{_hexadecimal(beginning)}%")]
        if len(found) != 1:
            raise PipelineError(f"{book}: {len(found)} files of the ledger begin with {beginning!r}, must be one")
        return found[0]

    def entries(self, book: str, states: Collection[State] | None = None) -> list[Entry]:
        """The files of a book, in the order in which they were first claimed; all, or those in some states."""
        with self._database.transaction(write=False) as work:
            return [entry for _, entry in _entries(work, book, "" if states is None else _state_in(states))]

    def history(self, book: str, sha256: str) -> list[Change]:
        """Who changed the state of a file, when, to what and why, in that order."""
        query = "SELECT at, by_whom, state, why FROM @changes WHERE file = ? ORDER BY number"
        with self._database.transaction(write=False) as work:
            return [Change(*row) for row in work.run(query, _known(work, book, sha256)[0]).fetchall()]

    def months(self, book: str) -> list[Month]:
        """How much was sent, by month of purchase and state."""
        query = """
            SELECT m.month, f.state, count(*), sum(m.units), sum(m.rows) FROM @months m JOIN @files f
            ON f.number = m.file WHERE f.book = ? GROUP BY m.month, f.state ORDER BY m.month, f.state
        """
        with self._database.transaction(write=False) as work:
            found = work.run(query, _book(work, book)).fetchall()
        return [Month(month, state, *map(int, numbers)) for month, state, *numbers in found]

    def forget(self, book: str, before: date) -> int:
        """Remove the units of confirmed files whose last purchase is before a day; units without a time stay.

        Such a unit would be sent again if it were extracted again: its source must not give it any more, or the build
        must reject it for its age. The files, their history and their months stay.

        Returns:
            How many units were removed.
        """
        with self._database.transaction(write=False) as work:
            total = sum(month.units for month in self.months(book))
            number = _book(work, book)
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


def _book(work: Work, book: str, begin: bool = False) -> int:
    """The number of a book; 0 if it is not begun. With ``begin``, it is made and locked for this transaction."""
    if begin:
        work.run("INSERT INTO @books (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET name = excluded.name", book)
    row = work.run("SELECT number FROM @books WHERE name = ?", book).fetchone()
    return int(row[0]) if row else 0


def _entries(work: Work, book: str, which: str = "", *values: object) -> list[tuple[int, Entry]]:
    found = work.run(f"{_ENTRY}{which} ORDER BY f.number", book, *values).fetchall()
    return [(number, Entry(*columns)) for number, *columns in found]


def _state_in(states: Collection[str]) -> str:
    allowed = ", ".join(f"'{state}'" for state in STATES if state in states)
    return f" AND f.state IN ({allowed or 'NULL'})"


def _one(work: Work, book: str, sha256: str) -> tuple[int, Entry] | None:
    found = _entries(work, book, " AND f.sha256 = ?", sha256)
    return found[0] if found else None


def _known(work: Work, book: str, sha256: str) -> tuple[int, Entry]:
    found = _one(work, book, sha256)
    if found is None:
        raise PipelineError(f"{book}: the ledger knows no file {sha256[:12]}; nobody has claimed it")
    return found


def _check_free(entry: Entry) -> None:
    if entry.state == "confirmed":
        raise AlreadySent(entry)
    if entry.state in HOLDING:
        raise AlreadyClaimed(
            f"{entry.label()}: is {entry.state}, claimed by {entry.claimed_by} at {entry.claimed_at}; it is not sent "
            "again before that attempt is settled",
            [entry],
        )


def _enter(work: Work, book: int, file: FileNote, by: str, at: str) -> int:
    statement = """
        INSERT INTO @files (book, sha256, state, uri, units, rows, bytes, run, claimed_by, claimed_at, changed_at,
            changed_by, note)
        VALUES (?, ?, 'sending', ?, ?, ?, ?, ?, ?, ?, ?, ?, '') RETURNING number
    """
    figures = (file.uri, file.units, file.rows, file.bytes, file.run)
    return int(work.run(statement, book, file.sha256, *figures, by, at, at, by).fetchone()[0])


def _change(work: Work, number: int, state: State, by: str, why: str, at: str = "") -> None:
    at = at or utc_text(datetime.now(UTC))
    work.run(
        "UPDATE @files SET state = ?, changed_at = ?, changed_by = ?, note = ? WHERE number = ?",
        state, at, by, why, number,
    )  # fmt: skip
    statement = "INSERT INTO @changes (file, at, by_whom, state, why) VALUES (?, ?, ?, ?, ?)"
    work.run(statement, number, at, by, state, why)


def _take(work: Work, book: str, number: int, own: int, file: FileNote, index: Path | pa.Table) -> None:
    """Make the units of an index the file's own; the months and the keys that give them back go with them."""
    months: dict[str, list[int]] = {}
    for part, piece in enumerate(pieces(index)):
        taken = work.run(_TAKE, number, own, piece=piece).rowcount
        if taken != piece.num_rows:
            _explain_rivals(work, book, number, own, file, piece)
        work.run("INSERT INTO @held (file, part, keys) VALUES (?, ?, ?)", own, part, packed(piece["key"]))
        _add_months(months, piece)
    units, rows = (sum(figures[place] for figures in months.values()) for place in (0, 1))
    if (units, rows) != (file.units, file.rows):
        raise BadInput(
            f"{book}, file {file.sha256[:12]} of run {file.run}: it was said to have {file.units:,} units and "
            f"{file.rows:,} rows, its index lists {units:,} and {rows:,}. Nothing was changed; clear the build."
        )
    for month, figures in sorted(months.items()):
        work.run("INSERT INTO @months (file, month, units, rows) VALUES (?, ?, ?, ?)", own, month, *figures)


def _explain_rivals(work: Work, book: str, number: int, own: int, file: FileNote, piece: pa.Table) -> None:
    units = dict(work.run(_RIVALS, number, piece=piece).fetchall())
    if set(units) == {own}:
        raise BadInput(f"{book}, file {file.sha256[:12]}: its index lists a unit twice. Nothing was changed.")
    rivals = [(entry, units[each]) for each, entry in _entries(work, book) if each in units and each != own]
    named = "; ".join(f"{held:,} in {entry.label()}, {entry.state}" for entry, held in rivals[:5])
    more = f"; and {len(rivals) - 5} more files" if len(rivals) > 5 else ""
    raise AlreadyClaimed(
        f"{book}, file {file.sha256[:12]} of run {file.run}: some of its units are in other files that are being sent, "
        f"were sent, or may have been: at least {named}{more}. Sent twice they would count twice, so nothing of this "
        "file is claimed. Clear the task: it compares anew and sends the rest.",
        [entry for entry, _ in rivals],
    )


def _add_months(months: dict[str, list[int]], piece: pa.Table) -> None:
    for days in piece.group_by("day").aggregate([("rows", "count"), ("rows", "sum")]).to_pylist():
        month = "" if days["day"] is None else str(np.datetime64(days["day"], "D").astype("datetime64[M]"))
        figures = months.setdefault(month, [0, 0])
        figures[0] += days["rows_count"]
        figures[1] += days["rows_sum"]


def _settle(work: Work, book: int, number: int, state: State, by: str, note: str) -> None:
    if state in _FREE:
        parts = work.run("SELECT part FROM @held WHERE file = ? ORDER BY part", number).fetchall()
        for (part,) in parts:
            keys = work.run("SELECT keys FROM @held WHERE file = ? AND part = ?", number, part).fetchone()[0]
            work.run(_RELEASE, book, number, piece=unpacked(bytes(keys)))
    if state != "unknown":
        work.run("DELETE FROM @held WHERE file = ?", number)
    _change(work, number, state, by, note)


def _hexadecimal(beginning: str) -> str:
    if not beginning or set(beginning) - set("0123456789abcdef"):
        raise PipelineError(f"{beginning!r}: give the SHA-256 of the file, or its first characters (0-9, a-f)")
    return beginning


def _key_ranges(number: int) -> Iterator[tuple[bytes, bytes]]:
    """All keys, cut into ranges of about the same size."""
    borders = [(256 * each // number) for each in range(number + 1)]
    for start, end in pairwise(borders):
        yield bytes([start]), bytes([end]) if end < 256 else b"\xff" * 17
