"""What a database must give the ledger, and the ledger's tables.

In a statement ``@files`` is a table, ``?`` a value, and ``loaded`` the piece of an index that goes with it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa

SCHEMA = 2
"""The version of the tables; a database with another one is refused."""


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

    def one_sender(self, book: str, by: str, wait_seconds: float) -> AbstractContextManager[Callable[[], bool]]:
        """A lock between processes that goes with its holder; gives what asks whether one has it still."""


def tables(without_rowid: str = "") -> list[str]:
    """The statements that make the tables."""
    return [
        "CREATE TABLE @identity (id @text NOT NULL)",
        "CREATE TABLE @books (number @number, name @text NOT NULL UNIQUE, account @text NOT NULL)",
        """CREATE TABLE @remarks (number @number, book @integer NOT NULL REFERENCES @books, at @text NOT NULL,
            by_whom @text NOT NULL, what @text NOT NULL, why @text NOT NULL)""",
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
