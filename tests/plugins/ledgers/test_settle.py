"""The task of ``settle_upload``: what it shows, what it settles and for whom, and what it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from include.errors import ConfigError, PipelineError
from include.ledger import FILE, FileNote, Ledger, sqlite_ledger
from include.transactions.index import INDEX
from ledgers.settle import ARRIVED, CANCELLED, NOT_ARRIVED, NOT_KNOWN, settle_file, who

PUBLISHER = """
audience: {connection: c, sql: SELECT 1}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
"""
BOOK, FIRST, OTHER = "shop/transactions", "aa" * 32, "ab" * 32
FORM = {"publisher": "shop", "which": "transactions", "file": "", "outcome": NOT_KNOWN, "why": None}


@pytest.fixture
def ledger(staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Two files of unknown fate."""
    monkeypatch.delenv("LEDGER_CONNECTION", raising=False)
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    (tmp_path / "shop.yaml").write_text(PUBLISHER)
    made = sqlite_ledger(staging / FILE)
    for sha256 in (FIRST, OTHER):
        index = pa.table({"key": [bytes.fromhex(sha256[:32])], "content": [1], "rows": [2], "bytes": [9], "day": [7]})
        made.claim(BOOK, FileNote(sha256, "file:///x", 1, 2, 9, f"run-{sha256[:2]}"), index.cast(INDEX), "a sender")
        made.settle(BOOK, sha256, "unknown", "a sender", "the line broke")
    return made


def test_without_a_file_it_only_shows(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert settle_file(FORM, "me") == {"unknown": 2}
    assert all(text in caplog.text for text in (FIRST[:12], OTHER[:12], "run run-aa", "a sender", "the line broke"))
    assert len(ledger.entries(BOOK, ["unknown"])) == 2


@pytest.mark.parametrize(("outcome", "state"), [(ARRIVED, "confirmed"), (NOT_ARRIVED, "prepared")])
def test_it_settles_and_keeps_who_and_why(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, outcome: str, state: str
) -> None:
    form = {**FORM, "file": f" {FIRST[:9].upper()} ", "outcome": outcome, "why": " import 4711 "}
    with caplog.at_level("INFO"):
        assert settle_file(form, "eve") == {"unknown": 1, "file": FIRST, "state": state, "run": "run-aa"}
    last = ledger.history(BOOK, FIRST)[-1]
    assert (last.state, last.by, last.why) == (state, "eve", "import 4711")
    assert f"was unknown, is {state} now (eve: import 4711)" in caplog.text
    assert "clear the task that sends, of run run-aa" in caplog.text
    assert ledger.entry(BOOK, OTHER).state == "unknown"


def test_what_a_dead_sender_left_is_settled_too(ledger: Ledger) -> None:
    index = pa.table({"key": [16 * b"c"], "content": [1], "rows": [2], "bytes": [9], "day": [7]}, INDEX)
    ledger.claim(BOOK, FileNote("ac" * 32, "file:///x", 1, 2, 9, "run-ac"), index, "a sender")
    form = {**FORM, "file": "ac", "outcome": ARRIVED, "why": "seen"}
    assert settle_file(form, "me")["state"] == "confirmed"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"why": "  "}, "say how you know"),
        ({"outcome": NOT_KNOWN}, "to settle a file say"),
        ({"outcome": CANCELLED}, "is unknown; only what is confirmed can be taken for cancelled"),
        ({"outcome": CANCELLED, "why": " "}, "say how you know"),
        ({"file": "a"}, "2 files of the ledger begin with 'a'"),
        ({"file": "zz"}, "0-9, a-f"),
        ({"file": "%"}, "0-9, a-f"),
        ({"file": "ff"}, "0 files of the ledger begin"),
        ({"which": "users"}, "which: came 'users'"),
        ({"which": "interactions"}, "0 files of the ledger"),
        ({"publisher": "shops"}, "shops"),
    ],
)
def test_what_it_refuses_changes_nothing(ledger: Ledger, changes: dict[str, Any], sentence: str) -> None:
    form = {**FORM, "file": FIRST, "outcome": ARRIVED, "why": "seen", **changes}
    with pytest.raises((ConfigError, PipelineError), match=sentence):
        settle_file(form, "me")
    assert len(ledger.entries(BOOK, ["unknown"])) == 2


def test_a_settled_file_is_not_settled_otherwise(ledger: Ledger) -> None:
    form = {**FORM, "file": FIRST, "outcome": ARRIVED, "why": "seen"}
    settle_file(form, "me")
    with pytest.raises(PipelineError, match="no attempt to settle"):
        settle_file({**form, "outcome": NOT_ARRIVED}, "me")


def test_what_the_vendor_cancelled_after_its_confirmation_is_free_again(ledger: Ledger) -> None:
    form = {**FORM, "file": FIRST, "why": "support: ticket 12"}
    settle_file({**form, "outcome": ARRIVED}, "me")
    assert settle_file({**form, "outcome": CANCELLED}, "eve")["state"] == "refused"
    last = ledger.history(BOOK, FIRST)[-1]
    assert (last.state, last.by, last.why) == ("refused", "eve", "support: ticket 12")


def test_who_asked_for_the_run() -> None:
    run = SimpleNamespace(dag_id="settle_upload", run_id="manual__1", triggering_user_name="eve")
    assert who(run) == "eve (settle_upload manual__1)"
    run.triggering_user_name = None
    assert who(run) == "unknown user (settle_upload manual__1)"
