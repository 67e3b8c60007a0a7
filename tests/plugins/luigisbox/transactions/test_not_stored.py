"""Uploads of purchases that were refused, or never left: their sessions are free for a later attempt."""

from pathlib import Path
from typing import Any

import pytest

from include.errors import BadInput, PipelineError
from include.ledger import Ledger, Unusable
from include.staging import read_json, write_json
from vendor_http.errors import RateLimited, Unauthorized, Unreachable

from .conftest import EVERY, ROWS, Build, send, sessions, states, statuses


class TestNotStored:
    def test_a_refusal_for_now_is_tried_again(self, shop: Any, run: Path) -> None:
        shop.box.fault("429")
        send(run)
        assert statuses(shop)[:3] == [429, 200, 200]

    @pytest.mark.parametrize(("fault", "kind"), [("401", Unauthorized), ("skewed_clock", Unauthorized)])
    def test_a_refusal_for_good_may_be_sent_by_a_later_attempt(
        self, shop: Any, run: Path, ledger: Ledger, fault: str, kind: type[Exception]
    ) -> None:
        shop.box.fault(fault)
        with pytest.raises(kind):
            send(run)
        assert states(ledger) == ["refused"]
        shop.box.forget()
        assert sessions(send(run)) == (20, 0, 0, 0)

    def test_trouble_that_lasts_leaves_the_rest_to_a_later_attempt(
        self, shop: Any, run: Path, ledger: Ledger, arrived: Any
    ) -> None:
        shop.box.fault("429", times=4)
        with pytest.raises(RateLimited):
            send(run)
        assert states(ledger) == ["prepared"]
        assert sessions(send(run)) == (20, 0, 0, 0)
        assert arrived() == EVERY

    def test_no_connection(self, shop: Any, run: Path, ledger: Ledger) -> None:
        shop.connect("luigisbox_test", host="http://127.0.0.1:9", login=shop.box.tracker, password="key")
        with pytest.raises(Unreachable, match="nothing was stored"):
            send(run)
        assert states(ledger) == ["prepared"]

    def test_a_changed_file_is_never_whole_at_the_vendor(self, run: Path, ledger: Ledger) -> None:
        path = run / "chunks/transactions-00000.json"
        path.write_bytes(path.read_bytes().replace(b"u1", b"u9"))
        with pytest.raises(BadInput, match="SHA-256"):
            send(run)
        assert states(ledger) == ["prepared"]

    def test_nothing_is_copied_out_of_a_changed_file(self, run: Path, build: Build, ledger: Ledger) -> None:
        send(build("some", ROWS[:2]))
        path = run / "chunks/transactions-00000.json"
        path.write_bytes(path.read_bytes().replace(b"u1", b"u9"))
        with pytest.raises(BadInput, match="SHA-256"):
            send(run)
        assert states(ledger) == ["confirmed"]

    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (lambda path: path.unlink(), "cannot be read"),
            (lambda path: path.write_bytes(b"PAR1"), "cannot be read"),
            (lambda path: path.write_bytes((path.parent / "transactions-00001.parquet").read_bytes()), "lists"),
        ],
        ids=["gone", "damaged", "of_another_file"],
    )
    def test_without_its_index_a_file_is_not_sent(
        self, shop: Any, build: Build, ledger: Ledger, damage: Any, sentence: str
    ) -> None:
        run = build("one", [*ROWS, ("s00", "a", "u1", None)])
        damage(run / "index/transactions-00000.parquet")
        with pytest.raises(BadInput, match=sentence):
            send(run)
        assert (states(ledger), statuses(shop)) == ([], [])

    def test_a_run_that_was_not_built_or_by_an_older_program(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="not there"):
            send(tmp_path)
        manifest = read_json(run / "manifest.json")
        for chunk in manifest["chunks"]:
            del chunk["index"]
        write_json(run / "manifest.json", manifest)
        with pytest.raises(BadInput, match="Clear `build`"):
            send(run)

    def test_another_account_is_not_sent_to(self, shop: Any, run: Path, build: Build) -> None:
        send(run)
        shop.box.forget_requests()
        shop.connect("luigisbox_test", host=shop.box.url, login="9-9", password=shop.box.private_key)
        with pytest.raises(Unusable, match="9-9@http"):
            send(build("two", [("new", "p", "u1", None)]))
        assert statuses(shop) == []

    def test_a_publisher_without_purchases(self, shop: Any, run: Path) -> None:
        shop.configure()
        with pytest.raises(PipelineError, match="past_transactions is missing"):
            send(run)
