"""The upload of purchases against the sandbox and its faults: each session once, whatever is run again, and when."""

import contextlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import duckdb
import pytest
import requests
from airflow.sdk import RetryAction

from include.errors import BadInput, BooksDoNotBalance, NotReady, PipelineError
from include.extract import write_rows
from include.ledger import FILE, Busy, FileNote, Ledger, Unsettled, Unusable, sqlite_ledger
from include.publishers.senders import Transactions
from include.staging import read_json, write_json
from include.transactions.build import build_transactions
from luigisbox.operators import UploadTransactionsOperator
from luigisbox.retries import RETRY_POLICY
from vendor_http.errors import FateUnknown, RateLimited, TransientError, Unauthorized, Unreachable

BOOK = "shop/transactions"
NAMES = ["session_id", "identity", "user_id", "created_at"]
NOW = datetime(2026, 4, 1, tzinfo=UTC)
MARCH = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-04-01T00:00:00+00:00"}
ROWS = [(f"s{n // 2:02}", f"p{n}", "u1", f"2026-03-{n % 28 + 1:02}T{n % 24:02}:00:00Z") for n in range(40)]
"""20 sessions of two rows; in files of :data:`SMALL` bytes they are five."""
SMALL = 1_000

Build = Callable[..., Path]


def context() -> Any:
    return {"ti": SimpleNamespace(dag_id="dag", task_id="upload"), "run_id": "manual__1"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    from luigisbox import client
    from vendor_http.retry import Retry

    monkeypatch.setattr(client, "Retry", lambda: Retry(sleep=lambda _: None))


@pytest.fixture(autouse=True)
def _sells(shop: Any, tmp_path: Path) -> None:
    sell(tmp_path)


def sell(tmp_path: Path, **settings: Any) -> None:
    file = tmp_path / "publishers" / "shop.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("past_transactions")]
    section = {"connection": "none", "sql": "SELECT 1", **settings}
    file.write_text("\n".join([*lines, f"past_transactions: {section}"]))


@pytest.fixture
def build(staging: Path, request: pytest.FixtureRequest) -> Build:
    """Makes runs; the sessions of each test are its own, because the sandbox is shared."""

    def made(name: str = "one", rows: Any = ROWS, window: Any = None, **changes: Any) -> Path:
        run = staging / "shop" / "transactions" / name
        own = [(session and f"{request.node.name} {session}", *others) for session, *others in rows]
        write_rows([own], NAMES, NAMES, [], run / "raw", 0)
        settings = {"connection": "w", "sql": "SELECT 1", "max_file_bytes": SMALL, "max_id_bytes": 500, **changes}
        build_transactions(run, Transactions(**settings), window=window, now=NOW)
        return run

    return made


@pytest.fixture
def run(build: Build) -> Path:
    return build()


@pytest.fixture
def ledger(staging: Path) -> Ledger:
    return sqlite_ledger(staging / FILE)


def send(run: Path) -> dict[str, Any]:
    figures = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri()).execute(context())
    assert sum(figures[name]["rows"] for name in ("sent", "already_sent", "changed", "unknown")) == rows_of(run)
    return figures


def rows_of(run: Path) -> int:
    return int(read_json(run / "manifest.json")["rows"])


def sessions(figures: dict[str, Any]) -> tuple[int, ...]:
    return tuple(figures[name]["sessions"] for name in ("sent", "already_sent", "changed", "unknown"))


def states(ledger: Ledger) -> list[str]:
    return [entry.state for entry in ledger.entries(BOOK)]


def statuses(shop: Any) -> list[int | None]:
    return [entry["status"] for entry in shop.box.requests()]


@pytest.fixture
def arrived(shop: Any, request: pytest.FixtureRequest) -> Callable[[], Counter[str]]:
    """Rows that the sandbox accepted, by the session of the test; of no session in two uploads."""

    def found() -> Counter[str]:
        answer = requests.get(f"{shop.box.url}/_sandbox/sessions", timeout=10)
        rows = [json.loads(line) for line in answer.text.splitlines()]
        own = [row for row in rows if row["session_id"].startswith(f"{request.node.name} ")]
        assert len({(row["session_id"], row["upload"]) for row in own}) == len({row["session_id"] for row in own})
        return Counter(row["session_id"].rpartition(" ")[2] for row in own)

    return found


EVERY = Counter({f"s{n:02}": 2 for n in range(20)})


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

    def test_lineage(self, run: Path) -> None:
        operator = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri())
        operator.execute(context())
        lineage = operator.get_openlineage_facets_on_complete(None)
        assert [Path(each.name).name for each in lineage.inputs][:2] == [f"transactions-0000{n}.json" for n in (0, 1)]
        assert lineage.outputs[0].name == "shop/interactions"
        assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 40
        (button,) = operator.operator_extra_links
        assert button.get_link(operator, ti_key=None) == (run / "manifest.json").as_uri()


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

    def test_a_killed_sender(self, shop: Any, run: Path, ledger: Ledger) -> None:
        shop.box.fault("slow_read", bytes_per_second=1)
        process = multiprocessing.get_context("spawn").Process(target=_send_in_process, args=(run.as_uri(),))
        process.start()
        for _ in range(1200):
            if "sending" in states(ledger):
                break
            process.join(0.05)
        process.kill()
        process.join()
        shop.box.forget()
        with pytest.raises(Unsettled, match="dag/upload manual__1"):
            send(run)
        assert states(ledger)[0] == "unknown"
        assert set(states(ledger)[1:]) == {"confirmed"}


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


def tried_again(error: BaseException) -> bool:
    """Whether Airflow tries the task again, by the policy that all tasks have."""
    return RETRY_POLICY.evaluate(error, 1, 3).action is not RetryAction.FAIL


@contextlib.contextmanager
def ended_at(function: str, event: str, number: int) -> Iterator[None]:
    """Somebody ends the task at a given moment: the signal's handler raises there."""
    seen = [0]

    def handler(frame: FrameType, what: str, _argument: Any) -> None:
        if (frame.f_code.co_qualname, what) == (function, event):
            seen[0] += 1
            if seen[0] == number:
                sys.setprofile(None)
                raise SystemExit("SIGTERM")

    sys.setprofile(handler)
    try:
        yield
    finally:
        sys.setprofile(None)


def _send_in_process(uri: str) -> None:
    UploadTransactionsOperator(task_id="upload", publisher="shop", run=uri).execute(context())
