"""A ledger that was deleted, restored or exchanged, an account that changed, a publisher renamed: nothing is sent."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from include.errors import PipelineError, StoreError
from include.ledger import Busy, Ledger, Unusable, sqlite_ledger
from include.staging import read_json, write_json
from tests.include.ledger.conftest import empty, place_of
from tests.include.ledger.workers import BOOK, Place, claim, index_of, note_of, open_ledger, sha256

REAL, SANDBOX = "1234-5678@https://live.luigisbox.tech", "1234-5678@http://127.0.0.1:8080"
OTHER = "shop/interactions"


@pytest.fixture(params=["sqlite", "psycopg"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty ledger will be; what is tried here is the same with both drivers of Postgres."""
    return place_of(request, tmp_path)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "staging"


@pytest.fixture
def again(place: Place, marks: Path) -> Callable[[], Ledger]:
    """Opens the ledger, as each task does."""

    def opened() -> Ledger:
        made = open_ledger(place)
        made._marks = marks
        return made

    return opened


def send(ledger: Ledger, units: range, name: str, account: str = "", book: str = BOOK) -> None:
    with ledger.one_sender(book, "a task", account=account, wait_seconds=5):
        index = index_of(units)
        ledger.claim(book, note_of(index, name), index, "a task")
        ledger.settle(book, sha256(name), "confirmed", "a task", "200")


def lose(place: Place) -> None:
    kind, where = place
    if kind == "sqlite":
        shutil.rmtree(Path(where).parent)
    else:
        empty(where)


def test_the_first_sending_of_all_is_said_aloud(again: Callable[[], Ledger], caplog: pytest.LogCaptureFixture) -> None:
    send(again(), range(3), "a")
    (said,) = caplog.messages
    assert said.startswith(
        "shop/transactions: nothing is known to have been sent before, so all that comes now is sent"
    )
    send(again(), range(3, 6), "b")
    assert len(caplog.messages) == 1


def test_the_commands_name_a_ledger_in_postgres(
    again: Callable[[], Ledger], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_CONNECTION", "ledger")
    send(again(), range(3), "a")
    lose(place)
    with pytest.raises(Unusable) as e:
        send(again(), range(3), "a")
    assert 'accept --publisher shop --database postgresql://… --why "…"' in str(e.value)
    assert "move --from …/ledger.sqlite --database postgresql://… (then clear this task)" in str(e.value)


def test_each_claim_is_marked(again: Callable[[], Ledger], marks: Path) -> None:
    send(again(), range(3), "a", SANDBOX)
    first = read_json(marks / BOOK / "ledger.json")
    assert first["account"] == SANDBOX
    assert len(first["ledger"]) == 32
    send(again(), range(3, 6), "b", SANDBOX)
    second = read_json(marks / BOOK / "ledger.json")
    assert second["ledger"] == first["ledger"]
    assert second["change"] > first["change"]


def test_a_ledger_that_was_lost_is_noticed_and_can_be_accepted(
    again: Callable[[], Ledger], place: Place, marks: Path
) -> None:
    send(again(), range(3), "a")
    lose(place)
    for _ in range(2):
        with pytest.raises(
            Unusable, match=r"not the ledger by which it was sent: .*ledger\.json .*another ledger"
        ) as e:
            send(again(), range(3), "a")
    assert "Nothing was sent" in str(e.value)
    assert 'python -m include.transactions accept --publisher shop --why "…"' in str(e.value)
    assert again().entries(BOOK) == []
    with pytest.raises(PipelineError, match="say how you know"):
        again().accept(BOOK, "Jana", "")
    assert str(marks) in again().accept(BOOK, "Jana", "the vendor emptied the account")
    send(again(), range(3), "a")
    (remark,) = again().remarks(BOOK)
    assert remark[1:] == ("Jana", "this ledger was accepted", "the vendor emptied the account")


def test_a_ledger_of_an_older_backup_is_noticed(tmp_path: Path, marks: Path) -> None:
    path, backup = tmp_path / "ledger.sqlite", tmp_path / "backup.sqlite"
    ledger = sqlite_ledger(path, marks=marks)
    send(ledger, range(3), "a")
    shutil.copy(path, backup)
    send(ledger, range(3, 6), "b")
    send(ledger, range(9), "c", book=OTHER)
    shutil.copy(backup, path)
    ledger = sqlite_ledger(path, marks=marks)
    for book in (BOOK, OTHER):
        with pytest.raises(Unusable, match="its newest change of this book is number"):
            send(ledger, range(3, 6), "b", book=book)
    ledger.accept(OTHER, "Jana", "nothing was sent after the backup")
    for number in range(9):
        send(ledger, range(number, number + 1), f"d{number}", book=OTHER)
    with pytest.raises(Unusable, match="its newest change of this book is number"):  # other books went on
        send(ledger, range(3, 6), "b")


def test_without_a_mark_what_runs_say_is_enough(again: Callable[[], Ledger], marks: Path) -> None:
    write_json(marks / BOOK / "run-1" / "sent.json", {"sent": {"sessions": 0, "rows": 0}})
    write_json(marks / BOOK / "run-2" / "sent.json", {"unreadable": True})
    send(again(), range(3), "a")
    write_json(marks / "other/transactions" / "run-1" / "sent.json", {"sent": {"sessions": 3, "rows": 4}})
    write_json(marks / "other/interactions" / "run-1" / "views" / "sent.json", {"sent": 7})
    for book in ("other/transactions", "other/interactions"):
        with pytest.raises(Unusable, match=r"it holds nothing of this book, but by .*sent\.json some of it was sent"):
            send(again(), range(3), "a", book=book)
        again().accept(book, "Jana", "that was the sandbox")
        send(again(), range(3), "a", book=book)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ledger": "x"}', "\x00"])
def test_a_mark_that_cannot_be_read_stops_too(tmp_path: Path, marks: Path, content: str) -> None:
    ledger = sqlite_ledger(tmp_path / "ledger.sqlite", marks=marks)
    send(ledger, range(3), "a")
    (marks / BOOK / "ledger.json").write_text(content)
    with pytest.raises(Unusable, match="its mark cannot be read"):
        send(ledger, range(3, 6), "b")


def test_what_cannot_be_marked_is_not_sent(tmp_path: Path, marks: Path) -> None:
    ledger = sqlite_ledger(tmp_path / "ledger.sqlite", marks=marks)
    marks.write_text("no folder")
    with pytest.raises(Unusable, match=r"could not be written .*so it was not sent"):
        claim(ledger, range(3))
    assert [entry.state for entry in ledger.entries(BOOK)] == ["prepared"]


def test_a_mark_that_an_object_store_does_not_take_frees_the_file(
    s3_staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was never sent must not be of unknown fate."""
    ledger = sqlite_ledger(tmp_path / "ledger.sqlite", marks=s3_staging)
    for told, raised in ((OSError("no answer"), StoreError), (PermissionError("no"), Unusable)):

        def refuse(*_: object, error: OSError = told, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(s3_staging.fs, "pipe_file", refuse)  # type: ignore[attr-defined]
            with pytest.raises(raised):
                claim(ledger, range(3))
        assert [entry.state for entry in ledger.entries(BOOK)] == ["prepared"]
    claim(ledger, range(3))


def test_a_book_keeps_its_account(again: Callable[[], Ledger]) -> None:
    with again().one_sender(BOOK, account=SANDBOX):
        pass
    send(again(), range(3), "a", REAL)  # nothing had been sent to the first one
    send(again(), range(3, 6), "b")
    assert again().account(BOOK) == REAL
    with pytest.raises(Unusable, match=f"holds what was sent to {REAL}, and the connection leads to {SANDBOX}") as e:
        send(again(), range(6, 9), "c", SANDBOX)
    assert "Nothing was sent" in str(e.value)
    assert "account --publisher shop --as other" in str(e.value)
    assert len(again().entries(BOOK)) == 2
    assert again().forget_account(BOOK, "Jana", "another host") == REAL
    send(again(), range(6, 9), "c", SANDBOX)
    assert again().account(BOOK) == SANDBOX


def test_a_book_is_put_aside_for_another_account_and_comes_back(again: Callable[[], Ledger]) -> None:
    send(again(), range(3), "a", SANDBOX)
    aside = again().put_aside(BOOK, "Jana", "now for real")
    assert again().books() == sorted([aside, BOOK])
    send(again(), range(3), "a", REAL)
    assert [entry.units for book in (aside, BOOK) for entry in again().entries(book)] == [3, 3]
    assert "begun anew" in again().remarks(BOOK)[0].what
    with pytest.raises(PipelineError, match="already, with files in it"):
        again().rename(aside, BOOK, "Jana", "back")
    real = again().put_aside(BOOK, "Jana", "back to the sandbox")
    with pytest.raises(Unusable, match=rf"is in the book {aside}.* rename --from {aside.split('/')[0]} --to shop"):
        send(again(), range(3), "a", SANDBOX)
    again().rename(aside, BOOK, "Jana", "back")
    send(again(), range(3, 6), "b", SANDBOX)
    assert [remark.what for remark in again().remarks(BOOK)][-1] == f"renamed, was {aside}"
    assert again().account(real) == REAL


def test_the_book_of_a_renamed_publisher_is_missed(again: Callable[[], Ledger], marks: Path) -> None:
    send(again(), range(3), "a", REAL)
    send(again(), range(3), "a", REAL, book="two/interactions")
    for _ in range(2):
        with pytest.raises(Unusable, match="rename --from shop --to boutique") as e:
            send(again(), range(3), "a", REAL, book="boutique/transactions")
    assert "Nothing was sent" in str(e.value)
    send(again(), range(3), "a", REAL, book=OTHER)  # several publishers may have interactions of one account
    with again().one_sender(BOOK), pytest.raises(Busy):
        again().rename(BOOK, "boutique/transactions", "Jana", "a new name")
    again().rename(BOOK, "boutique/transactions", "Jana", "a new name")
    assert (marks / "boutique/transactions/ledger.json").exists()
    assert not (marks / BOOK / "ledger.json").exists()
    send(again(), range(3, 6), "b", REAL, book="boutique/transactions")
    assert len(again().entries("boutique/transactions")) == 2
    with pytest.raises(PipelineError, match="there is no book shop/transactions"):
        again().rename(BOOK, "third/transactions", "Jana", "a new name")


def test_publishers_that_were_bound_before_either_sent_do_not_both_send(again: Callable[[], Ledger]) -> None:
    for book in (BOOK, "two/transactions"):
        with again().one_sender(book, account=REAL):
            pass
    send(again(), range(3), "a", REAL)
    with pytest.raises(Unusable, match="Sent by two publishers"):
        send(again(), range(3), "a", REAL, book="two/transactions")
