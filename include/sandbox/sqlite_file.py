"""An account of a newsletter platform in one SQLite file, one short connection for each request."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_BUSY_SECONDS = 60.0


class SqliteFile:
    """Gives connections; the file is made at the first use. Safe to use from several threads and processes.

    Args:
        path: of the file.
        schema: statements that make what is not there yet.
        after_writing: a statement that ends each writing, if any.
    """

    def __init__(self, path: Path, schema: str, after_writing: str = "") -> None:
        self.path = path
        self._schema = schema
        self._after_writing = after_writing
        self._lock = threading.Lock()
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the data for all its questions."""
        with self._open() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is stored, or nothing. Nobody else writes meanwhile."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            if self._after_writing:
                connection.execute(self._after_writing)
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            with self._lock:
                if not self._ready:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(self._schema)
                    self._ready = True
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
