"""A ledger that goes from its file into Postgres: all that was known is known there, and the file sends no more."""

import re
import sqlite3
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from include.errors import PipelineError
from include.ledger import FILE, Busy, Ledger, Unusable, postgres_ledger, sqlite_ledger
from include.ledger import move as moving
from include.ledger.move import move
from include.transactions.__main__ import main
from tests.include.ledger.conftest import DRIVERS, empty
from tests.include.ledger.workers import BOOK, claim, index_of, note_of, open_ledger, sha256

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
    moved = move(staging / FILE, connect, "me")
    assert re.fullmatch(r"database \w+, schema public, of Postgres at 127\.0\.0\.1:5432", moved.where)
    assert moved.rows == {"books": 2, "remarks": 1, "files": 4, "changes": 7, "months": 4, "held": 2, "units": 1007}
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
    assert [each.by for each in there.remarks(OTHER)] == ["Jana", "me", "Jana"]
    assert there.remarks(BOOK)[0].what == "moved into Postgres"
    assert there.moved_to() == ""


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
    lambda ledger: [each.why for each in ledger.remarks(OTHER) if each.by == "Jana"],
)


def claim_anew(ledger: Ledger) -> None:
    index = index_of(range(3))
    ledger.claim("new/transactions", note_of(index, "late"), index, "me")


MOVED = r"was moved to database \w+, schema public, .* is a backup: by it nothing is sent, settled or changed"
_CHANGES: tuple[Callable[[Ledger], object], ...] = (
    lambda ledger: claim(ledger, range(5), "x"),
    claim_anew,
    lambda ledger: ledger.recover(BOOK, "me"),
    lambda ledger: ledger.settle(BOOK, sha256("b"), "prepared", "me", "it did not arrive"),
    lambda ledger: ledger.settle_by_hand(BOOK, sha256("b"), "prepared", "me", "it did not arrive"),
    lambda ledger: ledger.rename(BOOK, "other/transactions", "me", "another name"),
    lambda ledger: ledger.accept(BOOK, "me", "because"),
    lambda ledger: ledger.put_aside(BOOK, "me", "another account"),
    lambda ledger: ledger.forget_account(BOOK, "me", "another spelling"),
    lambda ledger: ledger.forget(BOOK, date(2030, 1, 1)),
)


def test_by_the_file_nothing_is_sent_or_changed_any_more(
    ledger: Ledger, staging: Path, connect: Callable[[], object]
) -> None:
    before = [ask(ledger) for ask in _QUESTIONS]
    where = move(staging / FILE, connect, "me").where
    for book in (BOOK, "new/transactions"):
        with pytest.raises(Unusable, match=MOVED), ledger.one_sender(book, account=ACCOUNT):
            raise AssertionError
    for change in _CHANGES:
        with pytest.raises(Unusable, match=MOVED):
            change(ledger)
    assert [ask(ledger) for ask in _QUESTIONS] == before
    assert ledger.moved_to() == where
    with postgres_ledger(connect, marks=staging).one_sender(BOOK, account=ACCOUNT):
        pass
    with pytest.raises(Unusable, match=r"knows 4 file\(s\) already .* this very one, moved before\. Nothing more"):
        move(staging / FILE, connect, "me")


def test_what_was_moved_to_the_wrong_place_is_moved_once_more(
    ledger: Ledger, staging: Path, postgres: str, connect: Callable[[], object]
) -> None:
    before = [ask(ledger) for ask in _QUESTIONS]
    move(staging / FILE, connect, "me")
    empty(postgres)
    move(staging / FILE, connect, "me")
    there = postgres_ledger(connect, marks=staging)
    assert [ask(there) for ask in _QUESTIONS] == before
    with there.one_sender(BOOK, account=ACCOUNT):
        pass


@pytest.mark.parametrize("committed", [False, True])
def test_a_postgres_that_does_not_confirm(
    ledger: Ledger, staging: Path, connect: Callable[[], Any], committed: bool
) -> None:
    before = [ask(ledger) for ask in _QUESTIONS]

    class Dying:
        """A connection whose second commit (the first makes the tables) gets no answer."""

        def __init__(self) -> None:
            self.__dict__.update(real=connect(), commits=0)

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self.real, name, value)

        def commit(self) -> None:
            self.__dict__["commits"] += 1
            if self.commits > 1 and not committed:
                self.real.rollback()
            else:
                self.real.commit()
            if self.commits > 1:
                raise self.real.OperationalError("server closed the connection unexpectedly")

    dying: Any = Dying
    with pytest.raises(PipelineError, match=r"did not confirm .*\(server closed .*Run the same command again"):
        move(staging / FILE, dying, "me")
    with pytest.raises(Unusable, match=MOVED), ledger.one_sender(BOOK, account=ACCOUNT):
        raise AssertionError
    if committed:
        with pytest.raises(Unusable, match="this very one, moved before"):
            move(staging / FILE, connect, "me")
    else:
        move(staging / FILE, connect, "me")
    assert [ask(postgres_ledger(connect, marks=staging)) for ask in _QUESTIONS] == before


def test_a_file_that_cannot_be_given_up_is_not_moved(
    ledger: Ledger, staging: Path, connect: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(work: object, where: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(moving.books, "move_away", full)
        with pytest.raises(Unusable, match=r"disk is full.*Nothing was changed"):
            move(staging / FILE, connect, "me")
    assert postgres_ledger(connect).books() == []
    with ledger.one_sender(BOOK, account=ACCOUNT):
        pass


def test_a_book_that_begins_meanwhile_is_not_left_behind(
    ledger: Ledger, staging: Path, connect: Callable[[], Any]
) -> None:
    def late() -> object:
        claim_anew(sqlite_ledger(staging / FILE, marks=staging))
        return connect()

    with pytest.raises(Busy, match=r"another publisher begins to send right now\. Nothing was moved"):
        move(staging / FILE, late, "me")
    with ledger.one_sender(BOOK, account=ACCOUNT):
        pass


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
    assert re.search(r"The ledger is in database \w+, schema public, .* now\. Set LEDGER_CONNECTION", shown)
    assert "is a backup from now on" in shown
    assert main(["ledger", "--publisher", "shop"]) == 0
    assert "A BACKUP: this ledger was moved to database" in capsys.readouterr().out
    assert main(["rename", "--from", "shop", "--to", "new", "--why", "a name"]) == 1
    assert "is a backup: by it nothing is sent" in capsys.readouterr().err
    assert main(["ledger", "--publisher", "shop", *where]) == 0
    assert ACCOUNT in capsys.readouterr().out


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "mysql://root:secret@127.0.0.1/shop",
        "postgresql+psycopg2://root:secret@127.0.0.1/shop",
        '{"conn_type": "postgres", "password": "secret"}',
        "host=127.0.0.1 password=secret",
        "postgresql://root:secret@127.0.0.1",
        "postgresql://root:sec/ret@127.0.0.1/shop",
        "postgresql://root:sec@ret@127.0.0.1/shop",
    ],
)
def test_an_address_that_is_none_is_not_repeated(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["move", "--from", "ledger.sqlite"], ["ledger", "--publisher", "shop"]):
        with pytest.raises(SystemExit):
            main([*command, "--database", address])
        said = capsys.readouterr().err
        assert "argument --database: it must be postgresql://user@host/name" in said
        assert "sec" not in said.replace("second", "")
