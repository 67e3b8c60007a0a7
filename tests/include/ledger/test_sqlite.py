"""The SQLite file in bad hands: locked, read-only, damaged, of another version, of the time before units."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from include.ledger import Busy, Unusable, sqlite_ledger
from include.ledger.database import SCHEMA
from tests.include.ledger.workers import BOOK, claim, sha256

OLD = """
    CREATE TABLE files (publisher TEXT NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL, uri TEXT NOT NULL,
        rows INTEGER NOT NULL, PRIMARY KEY (publisher, sha256)) STRICT
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_claim_is_on_disk_when_it_returns(path: Path) -> None:
    claim(sqlite_ledger(path), range(3))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT state FROM files").fetchall() == [("sending",)]
        assert database.execute("SELECT count(*) FROM units").fetchone() == (3,)


def test_a_locked_database_is_waited_for_and_then_said(path: Path) -> None:
    ledger = sqlite_ledger(path, wait_seconds=0.05)
    claim(ledger, range(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match=r"another process has it locked .* Nothing was changed"):
            claim(ledger, range(3, 6), "b")
        assert len(ledger.entries(BOOK)) == 1, "reading waits for nobody"
        other.execute("ROLLBACK")
    claim(ledger, range(3, 6), "b")


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at " * 100, b"SQLite format 3\0x"]
)
def test_a_damaged_file_is_said(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Unusable, match=r"ledger\.sqlite: cannot be used .* restore it from a backup"):
        claim(sqlite_ledger(path), range(3))
    assert path.read_bytes() == content, "it is not begun anew"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_said(path: Path) -> None:
    ledger = sqlite_ledger(path)
    claim(ledger, range(3))
    path.chmod(0o400)
    with pytest.raises(Unusable, match="may this user write"):
        claim(ledger, range(3, 6), "b")


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be used"):
        sqlite_ledger(tmp_path / "file" / "ledger.sqlite").entries(BOOK)
    with pytest.raises(Unusable, match="cannot be used"):
        sqlite_ledger(tmp_path).entries(BOOK)
    with pytest.raises(Unusable, match="cannot be used"), sqlite_ledger(tmp_path / "file" / "x").one_sender(BOOK):
        raise AssertionError


def test_a_full_disk_changes_nothing(path: Path) -> None:
    ledger = sqlite_ledger(path)
    claim(ledger, range(3))
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON months BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    with pytest.raises(Unusable, match="disk is full"):
        claim(ledger, range(3, 100), "b")
    assert [entry.sha256 for entry in ledger.entries(BOOK)] == [sha256("a")]


@pytest.mark.parametrize("version", [SCHEMA + 1, 99])
def test_another_version_is_refused(path: Path, version: int) -> None:
    claim(sqlite_ledger(path), range(3))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(Unusable, match=f"its version is {version}, this program knows {SCHEMA} only"):
        sqlite_ledger(path).entries(BOOK)
    assert path.read_bytes() == before


@pytest.mark.parametrize("state", ["confirmed", "unknown", "sending"])
def test_files_of_the_time_before_units_that_were_sent_are_refused(path: Path, state: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(OLD)
        database.execute(
            "INSERT INTO files VALUES ('shop', 'ab', ?, 'x', 1), ('shop', 'cd', 'refused', 'x', 1)", (state,)
        )
    for _ in range(2):
        with pytest.raises(Unusable, match=r"older version.* 1 file\(s\) in it were sent, or may have been"):
            claim(sqlite_ledger(path), range(3))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (2,)


def test_files_of_the_time_before_units_that_were_never_sent_are_not_missed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(OLD)
        database.execute(
            "INSERT INTO files VALUES ('shop', 'ab', 'prepared', 'x', 1), ('shop', 'cd', 'refused', 'x', 1)"
        )
    claim(sqlite_ledger(path), range(3))
    assert len(sqlite_ledger(path).entries(BOOK)) == 1


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE somebody (x)")
    with pytest.raises(Unusable, match="give the right file"):
        sqlite_ledger(path).entries(BOOK)
