"""What only Postgres can do: locks that time out, schemas, versions, weak settings, connections that die."""

from typing import Any

import pytest

from include.ledger import Busy, Unusable, postgres_ledger
from include.ledger.database import SCHEMA
from tests.include.ledger.conftest import DRIVERS, empty
from tests.include.ledger.workers import BOOK, claim, index_of, open_ledger

psycopg = pytest.importorskip("psycopg")
TABLES = {"books", "changes", "files", "held", "identity", "months", "remarks", "units", "version"}


@pytest.fixture
def database(postgres: str) -> Any:
    empty(postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def test_the_tables_have_a_prefix_and_lie_in_the_search_path(postgres: str, database: Any) -> None:
    database.execute("CREATE SCHEMA shop")
    claim(open_ledger(("psycopg", f"{postgres} options='-c search_path=shop,public'")), range(3))
    found = database.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'").fetchall()
    assert {name for (name,) in found} == {f"newsletter_ledger_{name}" for name in TABLES}
    assert open_ledger(("psycopg", postgres)).entries(BOOK) == []


def test_two_drivers_share_one_ledger(postgres: str, database: Any) -> None:
    del database
    one, other = (open_ledger((driver, postgres)) for driver in DRIVERS)
    note = claim(one, range(10))
    assert other.settle_by_hand(BOOK, note.sha256, "refused", "me", "422")[1].state == "refused"
    claim(other, range(5), "b")
    assert one.compare(BOOK, index_of(range(10))).codes.to_pylist() == [3] * 5 + [0] * 5


def test_another_version_is_refused(postgres: str, database: Any) -> None:
    claim(open_ledger(("psycopg", postgres)), range(3))
    database.execute("UPDATE newsletter_ledger_version SET version = 99")
    with pytest.raises(Unusable, match=rf"is \[99\], this program knows {SCHEMA} only"):
        open_ledger(("psycopg", postgres)).entries(BOOK)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_locked_book_is_waited_for_and_then_said(postgres: str, database: Any, driver: str) -> None:
    ledger = open_ledger((driver, postgres), wait_seconds=0.1)
    claim(ledger, range(3))
    with database.transaction():
        database.execute("SELECT * FROM newsletter_ledger_books FOR UPDATE")
        with pytest.raises(Busy, match=r"another process has this book locked .* Nothing was changed"):
            claim(ledger, range(3, 6), "b")
        assert len(ledger.entries(BOOK)) == 1, "reading waits for nobody"
    claim(ledger, range(3, 6), "b")


@pytest.mark.parametrize("driver", DRIVERS)
def test_weak_settings_of_the_server_are_made_strong(postgres: str, database: Any, driver: str) -> None:
    weak = "-c synchronous_commit=off -c default_transaction_isolation=serializable -c default_transaction_read_only=on"
    ledger = open_ledger((driver, f"{postgres} options='{weak}'"))
    with ledger._database.transaction() as work:
        shown = [work.run(f"SHOW {name}").fetchone()[0] for name in ("synchronous_commit", "transaction_isolation")]
    assert shown == ["on", "read committed"]
    claim(ledger, range(3))
    assert database.execute("SELECT count(*) FROM newsletter_ledger_units").fetchone() == (3,)


def test_a_server_that_goes_away_is_the_drivers_error(postgres: str, database: Any) -> None:
    """Another try may help, so it is no error for a person."""
    ledger = open_ledger(("psycopg", postgres))

    def die() -> None:
        with ledger._database.transaction() as work:
            number = work.run("SELECT pg_backend_pid()").fetchone()[0]
            database.execute("SELECT pg_terminate_backend(%s)", (number,))
            work.run("SELECT 1")

    with pytest.raises(psycopg.OperationalError):
        die()
    claim(ledger, range(3))


def test_no_connection_is_left_open(postgres: str, database: Any) -> None:
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(psycopg.connect(postgres))
        return opened[-1]

    ledger = postgres_ledger(connect)
    with ledger.one_sender(BOOK):
        claim(ledger, range(3))
        with pytest.raises(Busy), ledger.one_sender(BOOK, wait_seconds=0):
            raise AssertionError
    assert len(opened) == 3
    assert all(connection.closed for connection in opened)
