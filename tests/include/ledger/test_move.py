"""A ledger that goes from its file into Postgres: all that was known is known there, and the file sends no more."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from include.errors import PipelineError
from include.ledger import FILE, Busy, Ledger, Unusable, postgres_ledger, sqlite_ledger
from include.ledger import move as moving
from include.ledger.move import move
from include.transactions.__main__ import main
from tests.include.ledger.conftest import DRIVERS, empty
from tests.include.ledger.workers import BOOK, claim, index_of, open_ledger, sha256

ACCOUNT = "1234-5678@https://live.luigisbox.tech"
OTHER = "shop/interactions"
ODD = "a tab\t, a line\nand a \\N of M\u00fcller\r"


@pytest.fixture(params=DRIVERS)
def connect(request: pytest.FixtureRequest, postgres: str) -> Callable[[], object]:
    driver = pytest.importorskip(request.param)
    empty(postgres)
    return partial(driver.connect, postgres)


@pytest.fixture
def ledger(staging: Path) -> Ledger:
    """With files in every state, a unit without a day, and odd texts."""
    made = sqlite_ledger(staging / FILE, marks=staging)
    with made.one_sender(BOOK, account=ACCOUNT):
        claim(made, range(1000), "a")
        made.settle(BOOK, sha256("a"), "confirmed", "me", ODD)
        claim(made, range(1000, 1003), "b", day=None)
        made.settle(BOOK, sha256("b"), "unknown", "me", "no answer")
        claim(made, range(1003, 1006), "c")
        made.settle(BOOK, sha256("c"), "refused", "me", "422")
        claim(made, range(1006, 1010), "d")
    with made.one_sender(OTHER):
        pass
    made.forget_account(OTHER, "Jana", "a remark")
    return sqlite_ledger(staging / FILE, marks=staging)


def test_all_that_was_known_is_known_there(
    ledger: Ledger, staging: Path, connect: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_USUAL", 300)
    before = [ask(ledger) for ask in _QUESTIONS]
    moved = {each.table: each.rows for each in move(staging / FILE, connect, "me")}
    assert moved == {"books": 2, "remarks": 1, "files": 4, "changes": 7, "months": 4, "held": 2, "units": 1007}
    there = postgres_ledger(connect, marks=staging)
    assert [ask(there) for ask in _QUESTIONS] == before
    assert there.history(BOOK, sha256("a"))[-1].why == ODD
    with there.one_sender(BOOK, account=ACCOUNT):
        assert {entry.sha256 for entry in there.recover(BOOK, "me")} == {sha256("b"), sha256("d")}
        claim(there, range(1003, 1006), "e")
        there.settle(BOOK, sha256("e"), "confirmed", "me", "200")
    there.settle(BOOK, sha256("d"), "prepared", "me", "it did not arrive")
    assert there.compare(BOOK, index_of(range(1010))).codes.to_pylist() == [1] * 1000 + [3] * 3 + [1] * 3 + [0] * 4
    there.forget_account(OTHER, "Jana", "another remark")
    assert len(there.remarks(OTHER)) == 2


def _compared(ledger: Ledger) -> list[int]:
    codes: list[int] = ledger.compare(BOOK, index_of(range(1500))).codes.to_pylist()
    return codes


_QUESTIONS: tuple[Callable[[Ledger], object], ...] = (
    Ledger.books,
    _compared,
    lambda ledger: ledger.months(BOOK),
    lambda ledger: ledger.entries(BOOK),
    lambda ledger: [ledger.history(BOOK, sha256(name)) for name in "abcd"],
    lambda ledger: ledger.account(BOOK),
    lambda ledger: ledger.remarks(OTHER),
)


def test_by_the_file_nothing_is_sent_any_more(ledger: Ledger, staging: Path, connect: Callable[[], object]) -> None:
    move(staging / FILE, connect, "me")
    with pytest.raises(Unusable, match="was written by another ledger"), ledger.one_sender(BOOK, account=ACCOUNT):
        raise AssertionError
    with pytest.raises(PipelineError, match="was moved into Postgres before"):
        move(staging / FILE, connect, "me")


def test_a_copy_can_be_moved_to_rehearse(
    ledger: Ledger, staging: Path, tmp_path: Path, connect: Callable[[], object]
) -> None:
    with sqlite3.connect(staging / FILE) as old, sqlite3.connect(tmp_path / "copy.sqlite") as copy:
        old.backup(copy)
    move(tmp_path / "copy.sqlite", connect, "me")
    with ledger.one_sender(BOOK, account=ACCOUNT):
        pass


def test_what_knows_something_is_not_moved_into(
    ledger: Ledger, staging: Path, tmp_path: Path, connect: Callable[[], object]
) -> None:
    there = postgres_ledger(connect)
    with there.one_sender(BOOK, account="a sender that found nothing to send"):
        pass
    claim(open_ledger(("sqlite", str(tmp_path / "other.sqlite"))), range(3), "x")
    move(tmp_path / "other.sqlite", connect, "me")
    with pytest.raises(Unusable, match=r"knows 1 file\(s\) already \(books: shop/transactions\).* Nothing was moved"):
        move(staging / FILE, connect, "me")
    assert [entry.sha256 for entry in there.entries(BOOK)] == [sha256("x")]
    with ledger.one_sender(BOOK, account=ACCOUNT):
        pass


def test_a_move_that_breaks_off_leaves_all_as_it_was(
    ledger: Ledger, staging: Path, connect: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = moving._count
    with monkeypatch.context() as patch:
        patch.setattr(
            moving, "_count", lambda work, table: real(work, table) + (table == "units" and work_is_new(work))
        )
        with pytest.raises(PipelineError, match=r"units: 1,007 rows were read, 1,008 arrived. Nothing was moved"):
            move(staging / FILE, connect, "me")
    assert postgres_ledger(connect).books() == []
    with ledger.one_sender(BOOK, account=ACCOUNT):
        pass
    move(staging / FILE, connect, "me")


def work_is_new(work: object) -> bool:
    return type(work).__name__ == "PostgresWork"


def test_it_is_not_moved_while_somebody_sends(ledger: Ledger, staging: Path, connect: Callable[[], object]) -> None:
    with ledger.one_sender(BOOK, "a task", account=ACCOUNT), pytest.raises(Busy, match="another process is sending"):
        move(staging / FILE, connect, "me")


def test_the_command(
    ledger: Ledger, staging: Path, tmp_path: Path, postgres: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ledger.books()
    empty(postgres)
    where = ["--database", f"postgresql://postgres@127.0.0.1:5432/{postgres.rsplit('=', 1)[-1]}"]
    assert main(["move", "--from", str(tmp_path / "none.sqlite"), *where]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
    open_ledger(("sqlite", str(tmp_path / "new.sqlite"))).books()
    assert main(["move", "--from", str(tmp_path / "new.sqlite"), *where]) == 1
    assert "nothing was ever sent by it" in capsys.readouterr().err
    assert main(["move", "--from", str(staging / FILE), *where]) == 0
    shown = capsys.readouterr().out
    assert "units         1,007" in shown
    assert "is a backup from now on" in shown
    assert main(["ledger", "--publisher", "shop", *where]) == 0
    assert ACCOUNT in capsys.readouterr().out
