"""The ledger in one SQLite file: for any number of processes of one machine."""

import fcntl
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from include.ledger import books
from include.ledger.database import SCHEMA, tables
from include.ledger.entries import Busy, Unusable
from include.ledger.index import columns
from include.ledger.ledger import Ledger
from include.ledger.lockfile import LockFile
from include.ledger.turns import wait_for_turn
from include.staging import slug

FILE = "ledger.sqlite"
WAIT_SECONDS = 60.0
_TYPES = {"@number": "INTEGER PRIMARY KEY", "@key": "BLOB", "@integer": "INTEGER", "@text": "TEXT"}
_NOT_LATER = ("prepared", "refused")
"""States of the files of an older ledger that nobody misses."""


def sqlite_ledger(path: Path, wait_seconds: float = WAIT_SECONDS, marks: Path | None = None) -> Ledger:
    """The ledger in a file, which is made at the first use.

    Args:
        path: of the file; it must lie on a disk of this machine.
        wait_seconds: how long to wait for another process's transaction.
        marks: the folder outside the ledger where each book's newest change is marked; None: nowhere.
    """
    return Ledger(SqliteDatabase(path, wait_seconds), marks)


class SqliteDatabase:
    """Transactions and the one-sender lock on a SQLite file.

    Args:
        path: of the file.
        wait_seconds: how long to wait for another process's transaction.
        although_moved: write also into a file whose ledger was moved.
    """

    def __init__(self, path: Path, wait_seconds: float, *, although_moved: bool = False) -> None:
        self._path = path
        self._wait = wait_seconds
        self._although_moved = although_moved

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator["SqliteWork"]:
        """A transaction; one that writes has the write lock from the start, and is on disk after the block."""
        with self._words(), self._open() as database:
            database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                work = SqliteWork(database)
                if write and not self._although_moved:
                    self._check_not_moved(work)
                yield work
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    database.execute("ROLLBACK")
                raise

    def _check_not_moved(self, work: "SqliteWork") -> None:
        if where := books.moved_to(work):
            raise Unusable(
                f"ledger {self._path}: was moved to {where}. The file is a backup: by it nothing is sent, settled or "
                "changed any more. Is LEDGER_CONNECTION missing on this worker, or --database on this command line?"
            )

    @contextmanager
    def one_sender(self, book: str, by: str, wait_seconds: float) -> Iterator[Callable[[], bool]]:
        """The lock on a file beside; the system frees it when the process dies."""
        lock = LockFile(self._path.with_name(f"{self._path.name}.{slug(book)}.lock"))

        def take() -> bool:
            with self._words():
                return lock.take()

        try:
            wait_for_turn(book, take, lock.holder, wait_seconds)
            lock.sign(by)
            with ExitStack() as kept:
                with self._words():
                    kept.enter_context(self._open())  # while one is open, no transaction tidies up as the last
                yield lock.mine  # outside the words: what the sender raises is not the database's
        finally:
            lock.free()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=self._wait, isolation_level=None)) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                self._begin(database)
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA cache_size = -65536")
            database.execute("PRAGMA temp_store = MEMORY")
            database.execute("PRAGMA journal_size_limit = 67108864")
            yield database

    def _begin(self, database: sqlite3.Connection) -> None:
        """Make the tables, unless something is there that must not be lost."""
        with self._path.with_name(f"{self._path.name}.lock").open("w") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("BEGIN IMMEDIATE")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA:
                self._check_old(database, version)
                for statement in tables(without_rowid=" WITHOUT ROWID"):
                    database.execute(_translated(statement))
                database.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(16),))
                database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.execute("COMMIT")

    def _check_old(self, database: sqlite3.Connection, version: int) -> None:
        found = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version or found - {"files"}:
            raise Unusable(
                f"ledger {self._path}: its version is {version}, this program knows {SCHEMA} only. A ledger is never "
                "begun anew in silence: nothing is sent. Use the program that wrote it, or give the right file."
            )
        if found:
            marks = ", ".join("?" * len(_NOT_LATER))
            query = f"SELECT count(*) FROM files WHERE state NOT IN ({marks})"
            kept = database.execute(query, _NOT_LATER).fetchone()[0]
            if kept:
                raise Unusable(
                    f"ledger {self._path}: it was written by an older version, which kept files but not the sessions "
                    f"in them; {kept} file(s) in it were sent, or may have been, and nobody can say which sessions "
                    "those were. Nothing is sent. Move the file aside only if none of those purchases will be "
                    "extracted again."
                )
            database.execute("DROP TABLE files")

    @contextmanager
    def _words(self) -> Iterator[None]:
        """Errors of the database as sentences."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Busy(
                    f"ledger {self._path}: another process has it locked for more than {self._wait:.0f} s. Nothing "
                    "was changed; try again."
                ) from error
            raise Unusable(f"{self._sentence(error)}. Is there room on the disk, and may this user write?") from error
        except sqlite3.Error as error:
            raise Unusable(f"{self._sentence(error)}. If the file is damaged, restore it from a backup.") from error
        except OSError as error:
            raise Unusable(f"{self._sentence(error)}. May this user write there?") from error

    def _sentence(self, error: Exception) -> str:
        return f"ledger {self._path}: cannot be used ({error}). Nothing was changed and nothing is sent"


class SqliteWork:
    """Statements of one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def run(self, statement: str, *values: object, piece: pa.Table | None = None) -> sqlite3.Cursor:
        """Run a statement; it sees ``piece``, if given, as the table ``loaded`` (place, key, content, day)."""
        if piece is not None:
            self._load(piece)
        return self._database.execute(_translated(statement), values)

    def _load(self, piece: pa.Table) -> None:
        self._database.execute(
            "CREATE TEMP TABLE IF NOT EXISTS loaded (place INTEGER, key BLOB, content INTEGER, day INTEGER)"
        )
        self._database.execute("DELETE FROM loaded")
        self._database.executemany("INSERT INTO loaded VALUES (?, ?, ?, ?)", zip(*columns(piece), strict=True))


def _translated(statement: str) -> str:
    for word, meaning in _TYPES.items():
        statement = statement.replace(word, meaning)
    return statement.replace("@", "")
