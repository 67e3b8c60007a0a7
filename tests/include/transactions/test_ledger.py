"""The ledger: a file is sent once, whatever processes race, die, or come back."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from include.errors import PipelineError
from include.staging import Ref
from include.transactions.__main__ import main
from include.transactions.ledger import AlreadySent, Ledger, Unsettled

SHA = "ab" * 32
REF: Ref = {"uri": "file:///x/transactions-00000.json", "rows": 1234, "bytes": 5678, "sha256": SHA}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(tmp_path / "new" / "ledger.sqlite")
    found.prepare("shop", REF, "run-1")
    return found


def test_the_way_of_a_file(ledger: Ledger) -> None:
    assert ledger.entries("shop")[0].state == "prepared"
    claimed = ledger.claim("shop", SHA, "task 1")
    assert (claimed.state, claimed.claimed_by, claimed.rows, claimed.run) == ("sending", "task 1", 1234, "run-1")
    assert ledger.settle("shop", SHA, "confirmed", "200").state == "confirmed"
    with pytest.raises(AlreadySent, match="it is not sent again") as caught:
        ledger.claim("shop", SHA, "task 2")
    assert caught.value.entry == ledger.entries("shop")[0]


def test_the_key_is_the_content(ledger: Ledger) -> None:
    ledger.claim("shop", SHA, "task 1")
    again = ledger.prepare("shop", {**REF, "uri": "file:///elsewhere"}, "run-2")
    assert (again.state, again.run, again.uri) == ("sending", "run-1", REF["uri"])
    assert ledger.prepare("other_shop", REF, "run-1").state == "prepared"
    assert len(ledger.entries("shop")) == len(ledger.entries("other_shop")) == 1
    assert ledger.entries("third") == []


def test_what_was_refused_may_be_sent_again(ledger: Ledger) -> None:
    ledger.claim("shop", SHA, "task 1")
    ledger.settle("shop", SHA, "refused", "422")
    assert ledger.claim("shop", SHA, "task 2").state == "sending"


def test_a_second_claim_makes_the_fate_unknown_and_says_what_to_do(ledger: Ledger) -> None:
    claimed = ledger.claim("shop", SHA, "task 1")
    for _ in range(2):
        with pytest.raises(Unsettled, match="Sent twice, its purchases would count twice") as caught:
            ledger.claim("shop", SHA, "task 2")
        assert caught.value.entry.state == "unknown"
    sentence = str(caught.value)
    assert f"by task 1 at {claimed.claimed_at}" in sentence
    assert f"settle --publisher shop --sha256 {SHA[:12]} --as confirmed --why" in sentence
    # The first sender was alive after all, and says so.
    assert ledger.settle("shop", SHA, "confirmed", "200").state == "confirmed"


def test_nothing_sent_goes_back_to_prepared(ledger: Ledger) -> None:
    ledger.claim("shop", SHA, "task 1")
    assert ledger.settle("shop", SHA, "prepared", "no connection").note == "no connection"
    assert ledger.claim("shop", SHA, "task 1").state == "sending"


@pytest.mark.parametrize("outcome", ["prepared", "refused", "unknown"])
def test_what_is_confirmed_stays_confirmed(ledger: Ledger, outcome: str) -> None:
    ledger.claim("shop", SHA, "task 1")
    first = ledger.settle("shop", SHA, "confirmed", "200")
    assert ledger.settle("shop", SHA, "confirmed", "again") == first
    with pytest.raises(PipelineError, match="is confirmed; there is no attempt to settle"):
        ledger.settle("shop", SHA, outcome, "?")  # type: ignore[arg-type]


def test_only_an_attempt_can_be_settled(ledger: Ledger) -> None:
    with pytest.raises(PipelineError, match="is prepared; there is no attempt to settle"):
        ledger.settle("shop", SHA, "confirmed", "?")
    with pytest.raises(PipelineError, match="cannot settle as 'sent'"):
        ledger.settle("shop", SHA, "sent", "?")  # type: ignore[arg-type]
    for unknown in (lambda: ledger.claim("shop", "cd" * 32, "t"), lambda: ledger.claim("other", SHA, "t")):
        with pytest.raises(PipelineError, match="prepare it first"):
            unknown()


def _try_to_claim(path: Path, name: str) -> str:
    ledger = Ledger(path)
    ledger.prepare("shop", REF, name)
    try:
        return ledger.claim("shop", SHA, name).state
    except Unsettled:
        return "unknown"


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    """The file does not even exist when they start."""
    path = tmp_path / "ledger.sqlite"
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(_try_to_claim, [path] * 12, [f"p{number}" for number in range(12)]))
    assert sorted(outcomes) == ["sending"] + ["unknown"] * 11


def test_a_process_killed_after_its_claim_leaves_it_on_disk(ledger: Ledger, tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from include.transactions.ledger import Ledger\n"
        f"Ledger(pathlib.Path(sys.argv[1])).claim('shop', '{SHA}', 'the killed one')\n"
        "print('claimed', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "new" / "ledger.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        os.kill(process.pid, signal.SIGKILL)
    assert ledger.entries("shop")[0].state == "sending"
    with pytest.raises(Unsettled, match="the killed one"):
        ledger.claim("shop", SHA, "the next one")


def test_a_process_killed_in_the_middle_of_a_claim_leaves_no_trace(ledger: Ledger, tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from include.transactions import ledger\n"
        "def change(*_, **__):\n"
        "    print('inside', flush=True); time.sleep(60)\n"
        "ledger._change = change\n"
        f"ledger.Ledger(pathlib.Path(sys.argv[1])).claim('shop', '{SHA}', 'the killed one')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "new" / "ledger.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGKILL)
    assert ledger.claim("shop", SHA, "the next one").claimed_by == "the next one"


@pytest.fixture
def command_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("STAGING_URI", tmp_path.as_uri())
    return Ledger(tmp_path / "ledger.sqlite")


def test_the_command_prints_the_ledger(command_ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--publisher", "shop"]) == 0
    assert "(nothing yet)" in capsys.readouterr().out
    command_ledger.prepare("shop", REF, "run-1")
    main(["ledger", "--publisher", "shop"])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:4] == [SHA[:12], "prepared", "1,234", "5,678"]


def test_the_command_settles(command_ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    command_ledger.prepare("shop", REF, "run-1")
    settle = ["settle", "--publisher", "shop", "--as", "confirmed", "--why", "seen in the application", "--sha256"]
    assert main([*settle, SHA[:12]]) == 1
    assert "there is no attempt to settle" in capsys.readouterr().err
    command_ledger.claim("shop", SHA, "task 1")
    assert main([*settle, "ff"]) == 1
    assert f"0 files begin with 'ff'; known are {SHA[:12]}" in capsys.readouterr().err
    assert main([*settle, SHA[:12]]) == 0
    assert "sending → confirmed" in capsys.readouterr().out
    assert command_ledger.entries("shop")[0].note == "seen in the application"


def test_the_command_works_as_it_is_written_in_sentences(command_ledger: Ledger) -> None:
    command_ledger.prepare("shop", REF, "run-1")
    command = [sys.executable, "-m", "include.transactions", "ledger", "--publisher", "shop"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert SHA[:12] in finished.stdout


def test_a_ledger_from_before_windows_is_taken_over(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute('ALTER TABLE files DROP COLUMN "window"')
    (entry,) = ledger.entries("shop")
    assert (entry.sha256, entry.window) == (SHA, "")
    assert ledger.claim("shop", SHA, "task 1", window="2026-03-01/2026-03-02").window == "2026-03-01/2026-03-02"
