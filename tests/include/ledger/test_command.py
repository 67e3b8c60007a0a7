"""The ledger on the command line, as a person at a shell meets it."""

import getpass
import re
import shlex
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from include.ledger import FILE, Ledger, Unusable, sqlite_ledger
from include.transactions.__main__ import main
from tests.include.ledger.workers import BOOK, claim, index_of, note_of, open_ledger, sha256

SHA = sha256("a")
PUBLISHER = """
audience: {connection: warehouse, sql: SELECT 1}
past_transactions: {connection: warehouse, sql: SELECT 1, max_age_weeks: AGE}
batch: {link: "https://example.com/batch.xml", recommendation_types: {basic: 4}}
deliveries: [{kind: feed, name: feed}]
"""


@pytest.fixture
def ledger(staging: Path) -> Ledger:
    return sqlite_ledger(staging / FILE)


def test_it_shows_months_and_what_is_unknown(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    claim(ledger, range(3), "a", day=(date(2026, 3, 1) - date(1970, 1, 1)).days)
    ledger.settle(BOOK, SHA, "unknown", "task 1", "no answer")
    assert main(["ledger", "--publisher", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "2026-03" in shown
    assert f'settle --publisher shop --sha256 {SHA[:12]} --as confirmed --why "…"' in shown
    assert "run, note" not in shown
    assert main(["ledger", "--publisher", "shop", "--files"]) == 0
    assert "run, note" in capsys.readouterr().out
    for command in (["ledger"], ["history", "--sha256", SHA], ["forget", "--weeks", "60"]):
        assert main([*command, "--publisher", "demoo"]) == 1
        assert "demoo/transactions: there is no such book in the ledger; there are: shop/tr" in capsys.readouterr().err


def test_without_a_ledger_none_is_made(staging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--publisher", "shop"]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
    assert list(staging.iterdir()) == []


def test_a_ledger_in_postgres_is_not_taken_for_none(
    staging: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEDGER_CONNECTION", "ledger")
    assert main(["ledger", "--publisher", "shop"]) == 1
    assert "LEDGER_CONNECTION is set, so the ledger is in Postgres" in capsys.readouterr().err


def test_it_settles_and_remembers_who(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    claim(ledger, range(3), "a")
    settle = ["settle", "--publisher", "shop", "--as", "prepared", "--why", "not in the application", "--sha256"]
    assert main([*settle, "ff"]) == 1
    assert "0 files of the ledger begin with 'ff'" in capsys.readouterr().err
    assert main([*settle, SHA[:12]]) == 0
    assert "sending → prepared. Clear the task that sends, of run run-1: it is sent again." in capsys.readouterr().out
    last = ledger.history(BOOK, SHA)[-1]
    assert (last.by, last.state, last.why) == (getpass.getuser(), "prepared", "not in the application")
    assert main([*settle, SHA[:12]]) == 0
    assert "was prepared already" in capsys.readouterr().out
    claim(ledger, range(3), "a")
    confirm = ["settle", "--publisher", "shop", "--as", "confirmed", "--why", "it is there", "--who", "Jana"]
    assert main([*confirm, "--sha256", SHA[:12]]) == 0
    assert main(["history", "--publisher", "shop", "--sha256", SHA[:6]]) == 0
    shown = capsys.readouterr().out
    assert "file:///a.json" in shown
    assert "confirmed  Jana" in shown
    assert "it is there" in shown


def test_the_other_room_has_a_book_of_its_own(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    index = index_of(range(3))
    ledger.claim("shop/interactions", note_of(index), index, "me")
    assert main(["ledger", "--publisher", "shop"]) == 1
    assert "there are: shop/interactions" in capsys.readouterr().err
    assert main(["ledger", "--publisher", "shop", "--room", "interactions"]) == 0
    assert SHA[:12] in capsys.readouterr().out


def test_it_forgets_only_what_the_build_would_reject(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    (tmp_path / "shop.yaml").write_text(PUBLISHER.replace("AGE", "52"))
    (tmp_path / "ageless.yaml").write_text(PUBLISHER.replace("AGE", "null"))
    old = (datetime.now(UTC).date() - timedelta(weeks=60) - date(1970, 1, 1)).days
    claim(ledger, range(3), "a", day=old)
    ledger.settle(BOOK, SHA, "confirmed", "me", "")
    for book in ("ageless/transactions", "gone/transactions", "shop/interactions"):
        with ledger.one_sender(book, account="an account"):
            pass
    for arguments, sentence in (
        (["--publisher", "shop", "--weeks", "55"], "--weeks must be at least 56, came 55. Nothing was forgotten."),
        (["--publisher", "ageless", "--weeks", "500"], "max_age_weeks is not set"),
        (["--publisher", "shop", "--weeks", "60", "--room", "interactions"], "would be sent again"),
        (["--publisher", "gone", "--weeks", "60"], "no such publisher file"),
    ):
        assert main(["forget", *arguments]) == 1
        assert sentence in capsys.readouterr().err
    assert main(["forget", "--publisher", "shop", "--weeks", "61"]) == 0
    assert "shop/transactions: 0 sessions" in capsys.readouterr().out
    assert main(["forget", "--publisher", "shop", "--weeks", "56"]) == 0
    assert "shop/transactions: 3 sessions whose last purchase was before" in capsys.readouterr().out


def test_a_ledger_in_postgres(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    claim(open_ledger(("psycopg", postgres)), range(3), "a")
    name = postgres.rsplit("=", 1)[-1]
    database = ["--publisher", "shop", "--database", f"postgresql://postgres@127.0.0.1:5432/{name}"]
    assert main(["ledger", *database]) == 0
    assert SHA[:12] in capsys.readouterr().out
    assert main(["ledger", *database[:-1], "postgresql://postgres:secret@127.0.0.1:1/x"]) == 1
    said = capsys.readouterr().err
    assert "connection failed" in said
    assert "secret" not in said


def test_it_works_as_it_is_written_in_sentences(ledger: Ledger) -> None:
    claim(ledger, range(3), "a")
    command = [sys.executable, "-m", "include.transactions"]
    shown = subprocess.run([*command, "ledger", "--publisher", "shop"], capture_output=True, text=True, check=True)
    assert SHA[:12] in shown.stdout
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(word in helped for word in ("ledger", "history", "settle", "forget", "STAGING_URI"))


def test_what_was_cancelled_is_freed(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    claim(ledger, range(3), "a")
    ledger.settle(BOOK, SHA, "confirmed", "me", "200")
    settle = ["settle", "--publisher", "shop", "--sha256", SHA, "--why", "ticket 12", "--as"]
    for wrong in ([*settle, "refused"], [*settle, "prepared", "--although-confirmed"]):
        assert main(wrong) == 1
        assert "--as refused and --although-confirmed go together" in capsys.readouterr().err
    assert main([*settle, "refused", "--although-confirmed"]) == 0
    assert "confirmed → refused. Clear the task that sends, of run run-1: it is sent again" in capsys.readouterr().out
    assert ledger.compare(BOOK, index_of(range(3))).codes.to_pylist() == [0] * 3


def test_the_commands_that_the_sentences_name(
    staging: Path, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(book: str, account: str) -> str:
        opened = sqlite_ledger(staging / FILE, marks=staging)
        with pytest.raises(Unusable) as caught, opened.one_sender(book, account=account):
            raise AssertionError
        return str(caught.value)

    def run(sentence: str, beginning: str) -> str:
        """The command of a sentence, as a person copies it."""
        (command,) = re.findall(rf'python -m include\.transactions ({beginning}[^"]*--why "…")', sentence)
        assert main(shlex.split(command)) == 0
        return capsys.readouterr().out

    with sqlite_ledger(staging / FILE, marks=staging).one_sender(BOOK, account="one"):
        claim(sqlite_ledger(staging / FILE, marks=staging), range(3), "a")
    said = refused(BOOK, "two")
    assert "how its account is spelled (so far: one)" in run(said.partition("If only")[2], "account")
    with sqlite_ledger(staging / FILE, marks=staging).one_sender(BOOK, account="two"):
        pass
    assert "is kept as shop.before-1/transactions" in run(refused(BOOK, "three").partition(" puts")[0], "account")
    assert "is renamed/transactions from now on" in run(refused("renamed/transactions", "two"), "rename")
    (staging / FILE).unlink()
    said = refused("renamed/transactions", "two")
    (staging / FILE).unlink()
    assert f"marked in {staging}/renamed/transactions/ledger.json. Clear the task that failed." in run(said, "accept")
    assert main(["accept", "--publisher", "renammed", "--why", "seen"]) == 1
    assert "there is nothing to accept" in capsys.readouterr().err
    with sqlite_ledger(staging / FILE, marks=staging).one_sender("renamed/transactions", account="two"):
        pass
    assert main(["ledger", "--publisher", "renamed"]) == 0
    shown = capsys.readouterr().out
    assert "renamed/transactions: what was sent to two, by month" in shown
    assert f"{getpass.getuser()}: this ledger was accepted (…)" in shown
