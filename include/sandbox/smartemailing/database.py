"""The file that SmartEmailing's contacts lie in: SQLite, one short connection for each request."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FILE = "smartemailing.sqlite"
_BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (
    id INTEGER PRIMARY KEY, guid TEXT NOT NULL, emailaddress TEXT NOT NULL COLLATE NOCASE UNIQUE, name TEXT,
    blacklisted INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contactlists (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS memberships (
    contactlist_id INTEGER NOT NULL, contact_id INTEGER NOT NULL, status TEXT NOT NULL,
    added TEXT NOT NULL, updated TEXT NOT NULL, PRIMARY KEY (contactlist_id, contact_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS membership_of_contact ON memberships (contact_id);
CREATE TABLE IF NOT EXISTS customfields (id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contact_customfields (
    id INTEGER PRIMARY KEY, contact_id INTEGER NOT NULL, customfield_id INTEGER NOT NULL, value TEXT,
    customfield_options_id INTEGER, UNIQUE (contact_id, customfield_id));
CREATE INDEX IF NOT EXISTS values_of_field ON contact_customfields (customfield_id, id);
CREATE TABLE IF NOT EXISTS newsletters (id INTEGER PRIMARY KEY, name TEXT NOT NULL, start TEXT, finish TEXT);
CREATE TABLE IF NOT EXISTS generation (number INTEGER NOT NULL);
INSERT INTO generation SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM generation);
"""


class ContactsDatabase:
    """Gives connections; the file is made at the first use. Safe to use from several threads and processes."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE
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
            connection.execute("UPDATE generation SET number = number + 1")
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            with self._lock:
                if not self._ready:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(_SCHEMA)
                    self._ready = True
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
