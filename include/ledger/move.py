"""The ledger of one machine becomes that of many: all that a SQLite file knows goes into an empty Postgres."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from include.errors import PipelineError
from include.ledger import books
from include.ledger.database import Work
from include.ledger.entries import Busy, Unusable
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
_WHERE = """
    SELECT 'database ' || current_database() || ', schema ' || current_schema() || ', of Postgres at ' ||
        coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'a socket of this machine')
"""
_AT_ONCE = {"held": 1}
"""Rows that are read together, where it is not as many as usual: one of ``held`` is nearly a megabyte."""
_USUAL = 10_000
_WAIT_SECONDS = 60.0
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Moved(NamedTuple):
    """Where a ledger is now, and how many rows of each table went there."""

    where: str
    rows: dict[str, int]


def move(path: Path, connect: Connect, by: str) -> Moved:
    """Copy a SQLite ledger into Postgres, and let the file be no ledger any more.

    The ledger keeps its identity, so the marks outside it fit; the file gets another one, so they do not fit it. The
    file is given up first and Postgres ends last: if all ends in between, nothing is sent by either, and moving again
    goes on. A file that was moved to a place that knows nothing, by mistake or in vain, can be moved once more.

    Args:
        path: of the file.
        connect: gives a new connection of psycopg or psycopg2.
        by: who does it; kept in the ledger, and for those who wait.

    Returns:
        Where it went, and what was moved. Memory does not grow with the ledger.

    Raises:
        Busy: one of its books is being sent right now, or somebody writes into one of the databases.
        PipelineError: the file is missing or holds nothing, or Postgres knows something already, or did not say
            that it has all.
    """
    if not path.is_file():
        raise PipelineError(f"there is no ledger at {path}. Nothing was moved.")
    source = SqliteDatabase(path, _WAIT_SECONDS, although_moved=True)
    with source.transaction(write=False) as old:
        names = books.names(old)
    given_up = False
    try:
        with ExitStack() as turns, PostgresDatabase(connect, _WAIT_SECONDS).transaction() as new:
            for book in names:
                turns.enter_context(source.one_sender(book, by, 0))
            with source.transaction() as old:
                _check_worth(old, path, names)
                moved = _take_over(old, new)
                for book in names:
                    books.remark(new, book, by, "moved into Postgres", f"from {path}")
                books.move_away(old, moved.where)
            given_up = True
    except Exception as error:
        if not given_up:
            raise
        raise PipelineError(
            f"ledger {path}: the file is given up, and nothing is sent by it any more; but Postgres did not confirm "
            f"that it has everything ({error}). Run the same command again: it goes on, or says that all is there."
        ) from error
    return moved


def _check_worth(old: Work, path: Path, names: list[str]) -> None:
    if books.names(old) != names:
        raise Busy(f"ledger {path}: another publisher begins to send right now. Nothing was moved; try again.")
    if not _count(old, "files"):
        raise PipelineError(f"ledger {path}: nothing was ever sent by it. Is it the right file? Nothing was moved.")


def _take_over(old: SqliteWork, new: PostgresWork) -> Moved:
    where = str(new.run(_WHERE).fetchone()[0])
    identity = books.own_identity(old)
    _make_room(new, identity, where)
    new.run("UPDATE @identity SET id = ?", identity)
    return Moved(where, {table: _copy(old, new, table) for table in _TABLES})


def _make_room(new: Work, identity: str, where: str) -> None:
    """Keep others out until the end, and remove what a ledger holds by which nothing was ever sent.

    Raises:
        Unusable: something was.
    """
    new.run("LOCK TABLE @books, @files IN EXCLUSIVE MODE")
    if files := _count(new, "files"):
        known = f"the ledger in {where} knows {files:,} file(s) already (books: {', '.join(books.names(new))})"
        if books.identity(new) == identity:
            raise Unusable(f"{known}, and it is this very one, moved before. Nothing more was moved.")
        raise Unusable(f"{known}. Two ledgers cannot become one: give an empty database or schema. Nothing was moved.")
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
