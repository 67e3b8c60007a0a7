"""The ledger of one machine becomes that of many: all that a SQLite file knows goes into an empty Postgres."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from include.errors import PipelineError
from include.ledger import books
from include.ledger.database import Work
from include.ledger.entries import Unusable
from include.ledger.postgres import Connect, PostgresDatabase, PostgresWork
from include.ledger.sqlite import SqliteDatabase, SqliteWork

_TABLES = {  # a table after those that it refers to
    "books": "number, name, account",
    "remarks": "number, book, at, by_whom, what, why",
    "files": "number, book, sha256, state, uri, units, rows, bytes, run, claimed_by, claimed_at, changed_at, "
    "changed_by, note",
    "changes": "number, file, at, by_whom, state, why",
    "months": "file, month, units, rows",
    "held": "file, part, keys",
    "units": "book, key, content, file, day",
}
_AT_ONCE = {"held": 1}
"""Rows that are read together, where it is not as many as usual: one of ``held`` is nearly a megabyte."""
_USUAL = 10_000
_MOVED = "moved to Postgres, was "
_WAIT_SECONDS = 60.0
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Moved(NamedTuple):
    """How many rows of a table were moved."""

    table: str
    rows: int


def move(path: Path, connect: Connect, by: str) -> list[Moved]:
    """Copy a SQLite ledger into Postgres, in one transaction, and let the file be no ledger to send by any more.

    The ledger keeps its identity, so the marks outside it fit; the file gets another one, so they do not fit it.

    Args:
        path: of the file.
        connect: gives a new connection of psycopg or psycopg2.
        by: who does it, for those who wait.

    Returns:
        The tables, with what was moved. Memory does not grow with the ledger.

    Raises:
        Busy: one of its books is being sent right now, or somebody writes into one of the databases.
        PipelineError: the file is missing, holds nothing or was moved before, or Postgres knows something already.
    """
    if not path.is_file():
        raise PipelineError(f"there is no ledger at {path}. Nothing was moved.")
    source, target = SqliteDatabase(path, _WAIT_SECONDS), PostgresDatabase(connect, _WAIT_SECONDS)
    with source.transaction(write=False) as old:
        names = books.names(old)
    with ExitStack() as turns:
        for book in names:
            turns.enter_context(source.one_sender(book, by, 0))
        with source.transaction() as old:
            identity = _take_identity(old, path)
            with target.transaction() as new:
                _make_room(new)
                new.run("UPDATE @identity SET id = ?", identity)
                return [Moved(table, _copy(old, new, table)) for table in _TABLES]


def _take_identity(old: Work, path: Path) -> str:
    identity = books.identity(old)
    if identity.startswith(_MOVED):
        raise PipelineError(f"ledger {path}: was moved into Postgres before. Nothing was moved.")
    if not _count(old, "files"):
        raise PipelineError(f"ledger {path}: nothing was ever sent by it. Is it the right file? Nothing was moved.")
    old.run("UPDATE @identity SET id = ?", f"{_MOVED}{identity}")
    return identity


def _make_room(new: Work) -> None:
    """Keep others out until the end, and remove what a ledger holds by which nothing was ever sent.

    Raises:
        Unusable: something was.
    """
    new.run("LOCK TABLE @books, @files IN EXCLUSIVE MODE")
    if files := _count(new, "files"):
        raise Unusable(
            f"the ledger in Postgres knows {files:,} file(s) already (books: {', '.join(books.names(new))}). Two "
            "ledgers cannot become one: give an empty database or schema. Nothing was moved."
        )
    for table in reversed(_TABLES):
        new.run(f"DELETE FROM @{table}")


def _copy(old: SqliteWork, new: PostgresWork, table: str) -> int:
    columns = _TABLES[table]
    new.load(table, columns, _lines(old, table))
    if columns.startswith("number"):
        new.run(
            f"SELECT setval(pg_get_serial_sequence('@{table}', 'number'), max(number)) FROM @{table} "
            "HAVING max(number) IS NOT NULL"
        )
    there, here = _count(old, table), _count(new, table)
    if there != here:
        raise PipelineError(f"table {table}: {there:,} rows were read, {here:,} arrived. Nothing was moved.")
    return here


def _lines(old: SqliteWork, table: str) -> Iterator[bytes]:
    """The rows of a table in the text format of COPY, many at a time."""
    rows = old.run(f"SELECT {_TABLES[table]} FROM @{table} ORDER BY 1, 2")
    while found := rows.fetchmany(_AT_ONCE.get(table, _USUAL)):
        yield "".join(["\t".join(map(_spelled, row)) + "\n" for row in found]).encode()


def _spelled(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    return "\\N" if value is None else str(value).translate(_ESCAPED)


def _count(work: Work, table: str) -> int:
    return int(work.run(f"SELECT count(*) FROM @{table}").fetchone()[0])
