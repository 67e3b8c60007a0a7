"""The file that Klaviyo's account lies in: SQLite, one short connection for each request.

``profiles.n`` is the order of creation, which pages follow. Properties are JSON text.
"""

from datetime import UTC, datetime
from pathlib import Path

from include.sandbox.sqlite_file import SqliteFile

FILE = "klaviyo.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, email TEXT COLLATE NOCASE, external_id TEXT, first_name TEXT,
    properties TEXT NOT NULL DEFAULT '{}', consent TEXT NOT NULL, suppressed INTEGER NOT NULL DEFAULT 0,
    created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS profile_by_email ON profiles (email);
CREATE INDEX IF NOT EXISTS profile_by_external_id ON profiles (external_id);
CREATE TABLE IF NOT EXISTS sources (kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS members (
    source TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (source, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, created_at REAL NOT NULL, total INTEGER NOT NULL, failed INTEGER NOT NULL,
    sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS import_errors (
    n INTEGER PRIMARY KEY, job TEXT NOT NULL, code TEXT NOT NULL, title TEXT NOT NULL, detail TEXT NOT NULL,
    pointer TEXT NOT NULL, payload TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS errors_of_job ON import_errors (job, n);
CREATE TABLE IF NOT EXISTS campaigns (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, send_at TEXT, included TEXT NOT NULL,
    excluded TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS publications (number INTEGER PRIMARY KEY, published_at TEXT NOT NULL);
"""


class AccountDatabase(SqliteFile):
    """The file in a state folder."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / FILE, _SCHEMA)


def now_text() -> str:
    """The time as Klaviyo writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
