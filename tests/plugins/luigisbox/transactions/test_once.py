"""The upload of purchases: each session once, whatever is run again, and when; the books of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.errors import BooksDoNotBalance
from include.ledger import FILE, Busy, Ledger, Unsettled, sqlite_ledger
from include.staging import read_json, write_json
from luigisbox.operators import UploadTransactionsOperator
from vendor_http.errors import RateLimited, Unauthorized

from .conftest import BOOK, EVERY, MARCH, ROWS, Build, context, send, sessions, states, statuses, tried_again


class TestSentOnce:
    def test_each_session_is_sent_once(self, shop: Any, run: Path, ledger: Ledger, arrived: Any) -> None:
        figures = send(run)
        manifest = read_json(run / "manifest.json")
        assert (figures["files"], figures["bytes"]) == (len(manifest["chunks"]), manifest["bytes"])
        assert len(manifest["chunks"]) > 2
        assert sessions(figures) == (20, 0, 0, 0)
        assert arrived() == EVERY
        assert set(states(ledger)) == {"confirmed"}
        shop.box.forget_requests()
        again = send(run)
        assert sessions(again) == (0, 20, 0, 0)
        assert (again["files"], again["bytes"], again["seconds"]) == (0, 0, 0)
        assert statuses(shop) == []

    @pytest.mark.parametrize(
        "changes",
        [{"max_file_bytes": 2_000}, {"format": "csv"}, {"user_field": "auth_user_id"}],
        ids=["size", "format", "field"],
    )
    def test_the_same_sessions_in_other_files_are_known(
        self, shop: Any, run: Path, build: Build, changes: dict[str, Any]
    ) -> None:
        send(run)
        shop.box.forget_requests()
        assert sessions(send(build("two", **changes))) == (0, 20, 0, 0)
        assert statuses(shop) == []

    def test_only_what_is_new_of_a_file_is_sent(self, run: Path, build: Build, arrived: Any) -> None:
        send(build("some", ROWS[4:10] + ROWS[30:31]))
        figures = send(run)
        assert sessions(figures) == (16, 3, 1, 0)
        assert arrived() == EVERY - Counter({"s15": 1})
        assert sessions(send(build("all", max_file_bytes=100_000))) == (0, 19, 1, 0)

    def test_windows_may_overlap(self, build: Build, arrived: Any) -> None:
        first = send(build("first", window={**MARCH, "end": "2026-03-15T00:00:00+00:00"}))
        other = send(build("other", window={**MARCH, "start": "2026-03-10T00:00:00+00:00"}))
        rest = send(build("rest", window=MARCH))
        assert first["sent"]["sessions"] + other["sent"]["sessions"] == 20
        assert other["already_sent"]["sessions"] > 0
        assert sessions(rest) == (0, 20, 0, 0)
        assert arrived() == EVERY

    @pytest.mark.parametrize("form", ["json", "csv"])
    def test_changed_sessions_are_listed_and_not_sent(
        self, run: Path, build: Build, arrived: Any, form: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        send(run)
        late = ("s07", 'late "one"', "u1", "2026-03-16T10:00:00Z")
        quoted = ('s"q", \\7', "p", "u1", "2026-03-16T10:00:00Z")
        send(build("quoted", [quoted]))
        other = build("two", [*ROWS, late, quoted, (*quoted[:1], "p2", "u1", None)], format=form)
        assert sessions(send(other)) == (0, 19, 2, 0)
        rows = duckdb.connect().read_parquet(str(other / "changed.parquet")).order("session_id").fetchall()
        assert [(session.partition(" ")[2], rows, str(day)) for session, rows, day, _ in rows] == [
            ('s"q", \\7', 2, "2026-03-16"),
            ("s07", 3, "2026-03-16"),
        ]
        assert "2 session(s) of 5 row(s) were sent before and are not the same now" in caplog.text
        assert 's"q"' not in caplog.text
        assert arrived()["s07"] == 2
        assert sessions(send(run)) == (0, 20, 0, 0)
        assert not (run / "changed.parquet").exists()

    def test_the_books_of_the_run(self, build: Build, caplog: pytest.LogCaptureFixture) -> None:
        send(build("some", ROWS[:10]))
        rows = [*ROWS, ROWS[0], (None, "p", None, None), ("far", "p", None, "2026-02-01")]
        run = build("two", rows, window=MARCH)
        with caplog.at_level("INFO"):
            send(run)
        record = read_json(run / "sent.json")
        outcomes = {"sent": 30, "already_sent": 10, "changed": 0, "unknown": 0}
        outcomes |= {"not_stored": 0, "not_tried": 0}
        assert record["complete"] is True
        assert record["books"] == {"extracted": 43, "rejected": 1, "duplicates": 1, "elsewhere": 1, **outcomes}
        assert record["by"] == "dag/upload manual__1"
        assert "already sent" in caplog.text
        assert "2026-03" in caplog.text

    def test_an_empty_window_is_a_success_that_says_so(
        self, shop: Any, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("INFO"):
            figures = send(build("empty", []))
        assert (figures["files"], sessions(figures)) == (0, (0, 0, 0, 0))
        assert "no rows came, so there was nothing to send" in caplog.text
        assert statuses(shop) == []

    def test_books_that_do_not_balance_are_noticed(self, run: Path) -> None:
        manifest = read_json(run / "manifest.json")
        write_json(run / "manifest.json", {**manifest, "books": {**manifest["books"], "extracted": 41}})
        with pytest.raises(BooksDoNotBalance, match="41 rows were extracted"):
            send(run)
        assert not (run / "sent.json").exists()

    def test_the_log_names_the_runs_manifest(self, run: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri()).execute(context())
        assert f"the run's manifest: {(run / 'manifest.json').as_uri()}" in caplog.text

    def test_lineage(self, run: Path) -> None:
        operator = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri())
        operator.execute(context())
        lineage = operator.get_openlineage_facets_on_complete(None)
        assert [Path(each.name).name for each in lineage.inputs][:2] == [f"transactions-0000{n}.json" for n in (0, 1)]
        assert lineage.outputs[0].name == "shop/interactions"
        assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 40


class TestBooksOfAnAttemptThatFailed:
    @pytest.mark.parametrize(
        ("fault", "times", "kind", "fate"),
        [
            ("reset_after_store", 1, Unsettled, "unknown"),
            ("429", 4, RateLimited, "not_stored"),
            ("401", 1, Unauthorized, "not_stored"),
        ],
    )
    def test_they_say_what_became_of_all_rows(
        self, shop: Any, build: Build, fault: str, times: int, kind: type[Exception], fate: str, caplog: Any
    ) -> None:
        send(build("some", ROWS[:2]))
        run = build()
        first = read_json(run / "manifest.json")["chunks"][0]
        shop.box.fault(fault, times=times)
        with caplog.at_level("INFO"), pytest.raises(kind):
            send(run)
        record = read_json(run / "sent.json")
        books = record["books"]
        assert record["complete"] is False
        assert (books["already_sent"], books[fate]) == (2, first["rows"] - 2)
        assert books["not_tried"] == 40 - first["rows"]
        assert record["not_tried"]["sessions"] == 20 - first["sessions"]
        assert "did not come to its end" in caplog.text
        assert "by month of purchase" in caplog.text

    def test_an_attempt_that_never_had_its_turn_leaves_them(self, run: Path, ledger: Ledger, staging: Path) -> None:
        send(run)
        before = read_json(run / "sent.json")
        with ledger.one_sender(BOOK, "another"), pytest.raises(Busy) as caught:
            sqlite_ledger(staging / FILE).one_sender(BOOK, wait_seconds=0).__enter__()
        assert tried_again(caught.value)
        assert read_json(run / "sent.json") == before


class TestRests:
    def test_failed_attempts_leave_one_rest(self, shop: Any, run: Path, build: Build, arrived: Any) -> None:
        send(build("some", ROWS[:2]))
        for _ in range(3):
            shop.box.fault("429", times=4)
            with pytest.raises(RateLimited):
                send(run)
            assert [path.name for path in run.glob("rest/*.json")] == ["transactions-00000-000.json"]
        send(run)
        assert len(list(run.glob("rest/*.json"))) == 1
        assert arrived() == EVERY
