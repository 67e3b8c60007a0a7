"""Uploads of purchases whose fate nobody knows: not sent again by themselves, settled by a person or a policy."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from include.errors import NotReady
from include.ledger import FileNote, Ledger, Unsettled
from include.staging import read_json
from vendor_http.errors import FateUnknown, TransientError

from .conftest import BOOK, EVERY, ROWS, Build, ended_at, sell, send, sessions, states, statuses, tried_again


class TestUnknownFate:
    @pytest.mark.parametrize("fault", ["reset_after_store", "503"])
    def test_it_is_never_sent_again_by_itself(
        self, shop: Any, run: Path, ledger: Ledger, arrived: Any, fault: str
    ) -> None:
        shop.box.fault(fault)
        with pytest.raises(Unsettled, match="settle_upload") as caught:
            send(run)
        assert isinstance(caught.value.__cause__, FateUnknown)
        assert states(ledger) == ["unknown"]
        with pytest.raises(Unsettled) as caught:
            send(run)
        assert not tried_again(caught.value)
        (entry,) = caught.value.entries
        assert states(ledger)[0] == "unknown"
        assert set(states(ledger)[1:]) == {"confirmed"}
        books = read_json(run / "sent.json")["books"]
        assert (books["unknown"], books["sent"]) == (entry.rows, 40 - entry.rows)
        stored = fault == "reset_after_store"
        ledger.settle_by_hand(BOOK, entry.sha256, "confirmed" if stored else "prepared", "a test", "it looked")
        figures = send(run)
        assert figures["sent"]["sessions"] == (0 if stored else entry.units)
        assert arrived() == EVERY

    @pytest.mark.parametrize(("fault", "policy"), [("reset_after_store", "assume_sent"), ("500", "resend")])
    def test_a_policy_settles_what_an_earlier_attempt_left(
        self, shop: Any, run: Path, ledger: Ledger, arrived: Any, tmp_path: Path, fault: str, policy: str
    ) -> None:
        sell(tmp_path, on_unknown=policy)
        shop.box.fault(fault)
        with pytest.raises(TransientError, match=f"on_unknown: {policy}") as caught:
            send(run)
        assert tried_again(caught.value)
        assert states(ledger) == ["unknown"]
        send(run)
        assert set(states(ledger)) == {"confirmed"}
        assert arrived() == EVERY
        changes = [change for change in ledger.history(BOOK, ledger.entries(BOOK)[0].sha256) if "policy" in change.by]
        assert [change.why.split(",")[0] for change in changes] == [f"on_unknown: {policy}"]

    def test_what_is_unknown_concerns_only_runs_with_those_sessions(
        self, shop: Any, build: Build, ledger: Ledger
    ) -> None:
        first, other = build("first", ROWS[:4], max_file_bytes=9_000), build("other", ROWS[10:])
        shop.box.fault("500")
        with pytest.raises(Unsettled):
            send(first)
        assert sessions(send(other)) == (15, 0, 0, 0)
        run = build("all")
        with pytest.raises(Unsettled, match="of run first"):
            send(run)
        assert sessions(read_json(run / "sent.json")) == (3, 15, 0, 2)

    def test_resending_says_which_other_run_has_sessions_of_that_file(
        self, shop: Any, build: Build, tmp_path: Path, arrived: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = build("first", ROWS[:8], max_file_bytes=9_000)
        shop.box.fault("500")
        with pytest.raises(Unsettled):
            send(first)
        sell(tmp_path, on_unknown="resend")
        assert sessions(send(build("part", ROWS[:4]))) == (2, 0, 0, 0)
        assert "That file was sent by run first" in caplog.text
        assert sessions(send(first)) == (2, 2, 0, 0)
        assert arrived() == Counter({f"s{n:02}": 2 for n in range(4)})

    @pytest.mark.parametrize(("policy", "at_once"), [("resend", False), ("assume_sent", True)])
    def test_a_sender_that_said_nothing_has_time_to_end_before_its_file_is_sent_again(
        self, shop: Any, run: Path, ledger: Ledger, tmp_path: Path, policy: str, at_once: bool
    ) -> None:
        sell(tmp_path, on_unknown=policy)
        chunk = read_json(run / "manifest.json")["chunks"][0]
        figures = (chunk["sessions"], chunk["rows"], chunk["bytes"])
        with ledger.one_sender(BOOK, "dead"):
            ledger.claim(BOOK, FileNote(chunk["sha256"], "file:///x", *figures, "one"), run / chunk["index"], "dead")
        if not at_once:
            with pytest.raises(NotReady, match="sends them again") as caught:
                send(run)
            assert tried_again(caught.value)
            assert states(ledger) == ["unknown", *["confirmed"] * (len(states(ledger)) - 1)]
            assert sessions(read_json(run / "sent.json"))[3] == chunk["sessions"]
            limits = {"upload_seconds": 0.5, "connect_seconds": 0.1, "read_seconds": 0.1}
            shop.connect(
                "luigisbox_test", host=shop.box.url, login=shop.box.tracker, password=shop.box.private_key, extra=limits
            )
            time.sleep(0.7)
        send(run)
        assert set(states(ledger)) == {"confirmed"}

    def test_a_sender_that_was_taken_for_dead_does_not_try_again(
        self, shop: Any, run: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from luigisbox import client
        from vendor_http.retry import Retry

        monkeypatch.setattr(client, "Retry", lambda: Retry(sleep=lambda _: ledger.recover(BOOK, "another")))  # type: ignore[arg-type]
        shop.box.fault("429")
        with pytest.raises(NotReady, match="took this one for dead") as caught:
            send(run)
        assert tried_again(caught.value)
        assert statuses(shop) == [429]
        assert states(ledger) == ["prepared"]

    @pytest.mark.parametrize(
        ("point", "arrives", "state"),
        [
            (("MultipartBody.__iter__", "return", 1), 0, "prepared"),
            (("MultipartBody.__iter__", "return", 4), 1, "unknown"),
            (("Client.upload_transactions", "return", 1), 1, "unknown"),
        ],
        ids=["in the body", "after the body", "after the answer"],
    )
    def test_a_task_that_is_ended_by_somebody(
        self, shop: Any, run: Path, ledger: Ledger, point: Any, arrives: int, state: str
    ) -> None:
        with pytest.raises(SystemExit), ended_at(*point):
            send(run)
        first = read_json(run / "manifest.json")["chunks"][0]
        assert states(ledger) == [state]
        books = read_json(run / "sent.json")
        fate = "unknown" if arrives else "not_stored"
        assert (books[fate]["rows"], books["not_tried"]["rows"]) == (first["rows"], 40 - first["rows"])

    def test_a_failure_that_nobody_foresaw(
        self, shop: Any, run: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: Any) -> None:
            raise OverflowError("after the answer")

        monkeypatch.setattr("luigisbox.client.skew_seconds", fails)
        with pytest.raises(Unsettled):
            send(run)
        assert states(ledger) == ["unknown"]
        assert statuses(shop) == [200]
