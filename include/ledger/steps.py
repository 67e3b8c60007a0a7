"""The steps of the ledger's transactions: finding files, changing their state, taking and giving back units."""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.errors import BadInput, PipelineError
from include.ledger.database import Work
from include.ledger.entries import REMARK, STATES, AlreadyClaimed, AlreadySent, Entry, FileNote, State
from include.ledger.index import packed, pieces, unpacked
from include.staging import utc_text

_FREE = ("prepared", "refused")
_ENTRY = """
    SELECT f.number, f.sha256, f.uri, f.units, f.rows, f.bytes, f.run, b.name, f.state, f.claimed_by, f.claimed_at,
        f.changed_at, f.changed_by, f.note
    FROM @files f JOIN @books b ON b.number = f.book WHERE b.name = ?
"""
_ENTER = """
    INSERT INTO @files (book, sha256, uri, units, rows, bytes, run, claimed_by, claimed_at, state, changed_at,
        changed_by, note)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'sending', '', '', '')
    ON CONFLICT (book, sha256) DO UPDATE SET uri = excluded.uri, units = excluded.units, rows = excluded.rows,
        bytes = excluded.bytes, run = excluded.run, claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at
    RETURNING number
"""
_TAKE = """
    INSERT INTO @units (book, key, content, file, day)
    SELECT ?, l.key, l.content, ?, l.day FROM loaded l WHERE true ON CONFLICT DO NOTHING
"""
_MOVE = "UPDATE @units SET file = ? WHERE book = ? AND key IN (SELECT key FROM loaded) AND file = ?"
_RELEASE = "DELETE FROM @units WHERE book = ? AND key IN (SELECT key FROM loaded) AND file = ?"
_RIVALS = """
    SELECT u.file, count(*) FROM loaded l CROSS JOIN @units u
    WHERE u.book = ? AND u.key = l.key GROUP BY u.file ORDER BY u.file
"""


def find_book(work: Work, book: str) -> int:
    """The number of a book; 0 if nothing was ever claimed in it."""
    row = work.run("SELECT number FROM @books WHERE name = ?", book).fetchone()
    return int(row[0]) if row else 0


def lock_book(work: Work, book: str) -> int:
    """The number of a book, which is made if need be; until the transaction ends nobody else changes the book."""
    statement = (
        "INSERT INTO @books (name, account) VALUES (?, '') ON CONFLICT (name) DO UPDATE SET name = excluded.name"
    )
    work.run(statement, book)
    return find_book(work, book)


def entries(work: Work, book: str, which: str = "", *values: object) -> list[tuple[int, Entry]]:
    """The files of a book with their numbers; ``which`` goes on the condition."""
    found = work.run(f"{_ENTRY}{which} ORDER BY f.number", book, *values).fetchall()
    return [(number, Entry(*columns)) for number, *columns in found]


def state_in(states: Collection[str]) -> str:
    """A condition for :func:`entries`."""
    allowed = ", ".join(f"'{state}'" for state in STATES if state in states)
    return f" AND f.state IN ({allowed or 'NULL'})"


def known(work: Work, book: str, sha256: str) -> tuple[int, Entry]:
    """A file that must be there, with its number.

    Raises:
        PipelineError: it is not.
    """
    found = entries(work, book, " AND f.sha256 = ?", sha256)
    if not found:
        raise PipelineError(f"{book}: the ledger knows no file {sha256[:12]}; nobody has claimed it")
    return found[0]


def enter(work: Work, book: str, number: int, file: FileNote, by: str) -> int:
    """Note a file as being sent, for the first time or again; gives its number.

    Raises:
        AlreadyClaimed: it is sending, confirmed or unknown.
    """
    for _, entry in entries(work, book, " AND f.sha256 = ?", file.sha256):
        _check_free(entry)
    figures = (file.sha256, file.uri, file.units, file.rows, file.bytes, file.run)
    at = utc_text(datetime.now(UTC))
    own = int(work.run(_ENTER, number, *figures, by, at).fetchone()[0])
    work.run("DELETE FROM @months WHERE file = ?", own)
    change(work, own, "sending", by, "", at)
    return own


def _check_free(entry: Entry) -> None:
    if entry.state == "confirmed":
        raise AlreadySent(entry)
    if entry.state not in _FREE:
        raise AlreadyClaimed(
            f"{entry.label()}: is {entry.state}, claimed by {entry.claimed_by} at {entry.claimed_at}; it is not sent "
            "again before that attempt is settled",
            [entry],
        )


def change(work: Work, own: int, state: State, by: str, why: str, at: str = "") -> None:
    """Set a file's state, and write it into the history."""
    at = at or utc_text(datetime.now(UTC))
    statement = "UPDATE @files SET state = ?, changed_at = ?, changed_by = ?, note = ? WHERE number = ?"
    work.run(statement, state, at, by, why, own)
    _write_history(work, own, at, by, state, why)


def remark(work: Work, own: int, by: str, why: str) -> None:
    """Write into a file's history what changes nothing."""
    _write_history(work, own, utc_text(datetime.now(UTC)), by, REMARK, why)


def _write_history(work: Work, own: int, at: str, by: str, state: str, why: str) -> None:
    statement = "INSERT INTO @changes (file, at, by_whom, state, why) VALUES (?, ?, ?, ?, ?)"
    work.run(statement, own, at, by, state, why)


def attempt(work: Work, own: int) -> tuple[int, str]:
    """The newest attempt to send a file: the number and the time of its change to ``sending``."""
    query = "SELECT number, at FROM @changes WHERE file = ? AND state = 'sending' ORDER BY number DESC LIMIT 1"
    number, at = work.run(query, own).fetchone()
    return int(number), at


def take(work: Work, book: str, number: int, own: int, file: FileNote, index: Path | pa.Table, whole: int = 0) -> None:
    """Make the units of an index the file's own; its months, and the keys that give them back, are noted.

    Args:
        work: the transaction.
        book: name of the book.
        number: of the book.
        own: number of the file.
        file: what it should hold.
        index: its units.
        whole: the number of the file they are taken out of; 0: they must be free.

    Raises:
        AlreadyClaimed: some are another file's.
        BadInput: the index does not fit the file.
    """
    months: dict[str, list[int]] = {}
    for part, piece in enumerate(pieces(index)):
        if whole:
            taken = work.run(_MOVE, own, number, whole, piece=piece).rowcount
        else:
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
        if whole:
            statement = "UPDATE @months SET units = units - ?, rows = rows - ? WHERE file = ? AND month = ?"
            work.run(statement, *figures, whole, month)
    if whole:
        statement = "UPDATE @files SET units = units - ?, rows = rows - ?, bytes = bytes - ? WHERE number = ?"
        work.run(statement, units, rows, file.bytes, whole)


def _explain_rivals(work: Work, book: str, number: int, own: int, file: FileNote, piece: pa.Table) -> None:
    units = dict(work.run(_RIVALS, number, piece=piece).fetchall())
    rivals = [(entry, units[each]) for each, entry in entries(work, book) if each in units and each != own]
    if not rivals:
        raise BadInput(
            f"{book}, file {file.sha256[:12]} of run {file.run}: its index lists a unit twice, or one that is not in "
            "the file it should be taken out of. Nothing was changed."
        )
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


def settle(work: Work, number: int, own: int, state: State, by: str, note: str) -> None:
    """End an attempt; a file whose units did not arrive gives them back."""
    if state in _FREE:
        parts = work.run("SELECT part FROM @held WHERE file = ? ORDER BY part", own).fetchall()
        for (part,) in parts:
            keys = work.run("SELECT keys FROM @held WHERE file = ? AND part = ?", own, part).fetchone()[0]
            work.run(_RELEASE, number, own, piece=unpacked(bytes(keys)))
    if state != "unknown":
        work.run("DELETE FROM @held WHERE file = ?", own)
    change(work, own, state, by, note)


def take_back(work: Work, number: int, own: int, by: str, why: str) -> None:
    """Free the units of a confirmed file. Their keys are not kept any more, so all units of the book are gone over."""
    work.run("DELETE FROM @units WHERE book = ? AND file = ?", number, own)
    change(work, own, "refused", by, why)
