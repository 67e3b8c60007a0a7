"""DuckDB for one job at a time: bounded memory, spilling into the state folder, interruptible at shutdown."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


class Stopping(Exception):
    """The sandbox is shutting down; the job will be done again after the next start."""


class Database:
    """Gives connections, and interrupts those in use when the sandbox stops."""

    def __init__(self, spill: Path, memory_limit: str) -> None:
        self._config = {
            "temp_directory": str(spill),
            "memory_limit": memory_limit,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._lock = threading.Lock()
        self._open: set[duckdb.DuckDBPyConnection] = set()
        self._stopping = False

    @contextmanager
    def connect(self, threads: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
        """A fresh in-memory database; one thread keeps memory flat, two are for publishing.

        Raises:
            Stopping: the sandbox stops while the job runs.
        """
        connection = duckdb.connect(config={**self._config, "threads": str(threads)})
        try:
            with self._lock:
                if self._stopping:
                    raise Stopping
                self._open.add(connection)
            yield connection
        except duckdb.InterruptException:
            raise Stopping from None
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def stop(self) -> None:
        """Interrupt all that runs; nothing starts any more."""
        with self._lock:
            self._stopping = True
            for connection in self._open:
                connection.interrupt()


def literal(value: object) -> str:
    """A value as an SQL string literal; paths too."""
    return "'" + str(value).replace("'", "''") + "'"
