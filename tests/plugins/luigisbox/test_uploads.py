"""The upload operators against the sandbox and each of its faults: what is sent, noted, announced, and not repeated."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias, RetryAction
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.audience import sending, user_sets
from include.audience.guard import NotPassed, judge
from include.errors import BadInput, NotReady, PipelineError
from include.extract import write_rows
from include.publishers.models import Guard
from include.publishers.senders import Transactions
from include.staging import read_json, write_json
from include.transactions.build import build_transactions
from include.transactions.ledger import FILE, Ledger, Overlaps
from luigisbox.assets import user_set_accepted
from luigisbox.operators import UploadTransactionsOperator, UploadUsersOperator
from luigisbox.retries import RETRY_POLICY
from luigisbox.uploads import send_users
from vendor_http.errors import FateUnknown, Invalid, RateLimited, ServerError, TooSlow, Unauthorized, Unreachable


def context() -> Any:
    return {
        "outlet_events": OutletEventAccessors(),
        "ti": SimpleNamespace(dag_id="dag", task_id="upload"),
        "run_id": "manual__1",
    }


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    from luigisbox import client
    from vendor_http.retry import Retry

    monkeypatch.setattr(client, "Retry", lambda: Retry(sleep=lambda _: None))


def statuses(shop: Any) -> list[int | None]:
    return [entry["status"] for entry in shop.box.requests()]


class TestUsers:
    def send(self, run: Path, **options: Any) -> tuple[dict[str, Any], Any]:
        operator, here = UploadUsersOperator(task_id="upload", publisher="shop", run=run.as_uri(), **options), context()
        return operator.execute(here), (operator, here)

    def test_the_accepted_list_is_noted_and_announced(self, shop: Any) -> None:
        run, asset, alias = shop.audience("one", "u1", "u2", "u3"), user_set_accepted("shop"), AssetAlias("any")
        figures, (operator, here) = self.send(run, outlets=[asset, alias])
        live = user_sets.live(shop.root, "shop")
        assert live is not None
        assert figures["user_set"] == live.name
        assert figures["uri"] == live.folder.as_uri()
        assert figures["rows"] == shop.box.state()["user_set"]["rows"] == 3
        assert figures["sha256"] == live.record["sha256"] == shop.box.uploads("users")[-1]["sha256"]
        assert live.record["answer"]["status"] == 200
        assert live.record["sent_at"] <= live.record["accepted_at"]
        assert here["outlet_events"][asset].extra == figures
        (event,) = here["outlet_events"][alias].asset_alias_events
        assert (event.dest_asset_key.name, event.extra) == ("user_set_shop", figures)
        (button,) = operator.operator_extra_links
        assert button.get_link(operator, ti_key=None) == (run / "manifest.json").as_uri()

    def test_an_empty_list_is_refused(self, shop: Any) -> None:
        with pytest.raises(BadInput, match="an empty list is never sent"):
            self.send(shop.audience("one"))
        assert statuses(shop) == []

    def test_a_list_older_than_the_live_one_is_refused_just_before_sending(self, shop: Any) -> None:
        self.send(shop.audience("new", "u1"))
        live, old = user_sets.live(shop.root, "shop"), datetime.now(UTC) - timedelta(days=1)
        shop.box.forget_requests()
        with pytest.raises(user_sets.OlderThanLive):
            self.send(shop.audience("old", "u2", as_of=old))
        assert statuses(shop) == []
        assert user_sets.live(shop.root, "shop") == live

    def test_another_kind_of_run_is_refused(self, shop: Any) -> None:
        run = shop.audience("one", "u1")
        write_json(run / "manifest.json", {**read_json(run / "manifest.json"), "kind": "transactions"})
        with pytest.raises(BadInput, match="kind is 'transactions', expected 'audience'"):
            self.send(run)

    def test_a_run_that_is_not_built_is_refused(self, shop: Any) -> None:
        with pytest.raises(BadInput, match="not there"):
            self.send(shop.root / "shop" / "audience" / "none")

    @pytest.mark.parametrize("fault", ["429", "500", "502", "503", "reset_mid_body", "reset_after_store"])
    def test_what_is_transient_is_sent_again(self, shop: Any, fault: str) -> None:
        shop.box.fault(fault)
        figures, _ = self.send(shop.audience("one", "u1"))
        assert figures["attempts"] == 2
        assert len(statuses(shop)) == 2

    @pytest.mark.parametrize(("fault", "kind"), [("401", Unauthorized), ("skewed_clock", Unauthorized)])
    def test_what_is_permanent_leaves_the_live_list_alone(self, shop: Any, fault: str, kind: type[Exception]) -> None:
        self.send(shop.audience("one", "u1"))
        live = user_sets.live(shop.root, "shop")
        shop.box.fault(fault)
        with pytest.raises(kind):
            self.send(shop.audience("two", "u2"))
        assert user_sets.live(shop.root, "shop") == live
        assert shop.box.state()["user_set"]["rows"] == 1

    def test_a_slow_vendor_is_given_up_on(self, shop: Any) -> None:
        shop.connect(
            "luigisbox_test",
            host=shop.box.url,
            login=shop.box.tracker,
            password=shop.box.private_key,
            extra='{"upload_seconds": 0.4, "read_seconds": 5}',
        )
        run = shop.audience("one", *(f"{number:0200d}" for number in range(60_000)))
        shop.box.fault("slow_read", bytes_per_second=1_000_000)
        with pytest.raises(TooSlow, match="Nothing was stored"):
            self.send(run)
        assert user_sets.live(shop.root, "shop") is None

    def test_nothing_is_sent_that_the_guard_did_not_let_pass(self, shop: Any) -> None:
        run = shop.audience("one", "u1")
        judge(run, None, Guard(min_users=2), accept_held=True)
        with pytest.raises(NotPassed, match="verdict is refuse"):
            self.send(run)
        (run / "verdict.json").unlink()
        with pytest.raises(NotPassed, match="Clear `judge` and `upload`"):
            self.send(run)
        assert statuses(shop) == []

    def test_a_damaged_list_of_ids_is_noticed_before_sending(self, shop: Any) -> None:
        run = shop.audience("one", "u1")
        (run / "accepted.parquet").write_bytes(b"")
        with pytest.raises(BadInput, match="Nothing was sent"):
            self.send(run)
        assert statuses(shop) == []

    def test_a_list_that_cannot_be_through_in_time_is_not_begun(
        self, shop: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("luigisbox.client.SPEED_FROM_BYTES", 100)
        self.send(shop.audience("one", *(f"u{number}" for number in range(10))))
        live = user_sets.live(shop.root, "shop")
        assert live is not None
        assert live.record["answer"]["seconds"] > 0
        write_json(live.folder / "record.json", {**live.record, "answer": {**live.record["answer"], "seconds": 599}})
        shop.box.forget_requests()
        with pytest.raises(TooSlow, match=r"of the last upload; allowed are 600 s\. Nothing was sent"):
            self.send(shop.audience("two", *(f"u{number}" for number in range(20))))
        assert statuses(shop) == []
        assert not (live.folder.parent / sending.SENDING).exists()

    def test_a_refused_key_names_the_connection(self, shop: Any) -> None:
        shop.box.fault("401")
        with pytest.raises(Unauthorized, match=r"Connection: luigisbox_test\. Clock: the clocks agree"):
            self.send(shop.audience("one", "u1"))

    @pytest.mark.parametrize(("age", "kind"), [(1, user_sets.OlderThanLive), (-1, NotPassed)])
    def test_of_two_at_once_the_second_is_checked_after_the_first(self, shop: Any, age: int, kind: Any) -> None:
        now = datetime.now(UTC)
        first = shop.audience("first", *(f"{number:0200d}" for number in range(5_000)), as_of=now)
        second = shop.audience("second", "u1", as_of=now - timedelta(days=age))
        shop.box.fault("slow_read", bytes_per_second=2_000_000)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(send_users, shop.box.client(), shop.root, "shop", first)
            while not (shop.root / "shop/user_sets/sending.json").exists() and not one.done():
                threading.Event().wait(0.01)
            other = pool.submit(send_users, shop.box.client(), shop.root, "shop", second)
            with pytest.raises(kind):
                other.result()
        live = user_sets.live(shop.root, "shop")
        assert live is not None
        assert live.name == one.result()["user_set"]
        assert statuses(shop) == [200]
        assert not (live.folder.parent / sending.SENDING).exists()

    def test_what_the_vendor_has_is_live_even_if_another_machine_was_newer(
        self, shop: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        run, client = shop.audience("one", "u1", as_of=datetime.now(UTC) - timedelta(days=1)), shop.box.client()
        upload = client.upload_users
        client.upload_users = lambda *whole: (shop.accepted("newer", "u2"), upload(*whole))[1]
        figures = send_users(client, shop.root, "shop", run)
        live = user_sets.live(shop.root, "shop")
        assert live is not None
        assert live.name == figures["user_set"]
        assert live.record["run"] == "one"
        assert "Run the audience again now" in caplog.text

    def test_an_attempt_that_died_is_named_and_replaced(self, shop: Any, caplog: pytest.LogCaptureFixture) -> None:
        note = shop.root / "shop" / "user_sets" / sending.SENDING
        run = shop.audience("dead", *(f"{number:0200d}" for number in range(5_000)))
        shop.box.fault("slow_read", bytes_per_second=1)
        process = multiprocessing.get_context("spawn").Process(target=_send_users_in_process, args=(run.as_uri(),))
        process.start()
        while not note.exists() and process.is_alive():
            process.join(0.05)
        process.kill()
        process.join()
        shop.box.forget()
        left = read_json(note)
        assert (left["run"], left["sha256"]) == ("dead", read_json(run / "manifest.json")["sha256"])
        shop.box.fault("401")
        with pytest.raises(Unauthorized):
            self.send(shop.audience("refused", "u1"))
        assert read_json(note) == left
        caplog.clear()
        self.send(shop.audience("good", "u1"))
        assert "Luigi's Box may hold that list" in caplog.text
        assert not note.exists()

    @pytest.mark.parametrize(("faults", "stays"), [(["401"], False), (["500"] * 4, True), (["500", "401"], True)])
    def test_the_note_stays_while_nobody_knows(self, shop: Any, faults: list[str], stays: bool) -> None:
        for fault in faults:
            shop.box.fault(fault)
        with pytest.raises((Unauthorized, ServerError)):
            self.send(shop.audience("one", "u1"))
        assert (shop.root / "shop" / "user_sets" / sending.SENDING).exists() == stays

    def test_sending_again_changes_nothing_but_the_record(self, shop: Any) -> None:
        run = shop.audience("one", "u1", "u2")
        first, second = self.send(run)[0], self.send(run)[0]
        assert (first["sha256"], first["rows"]) == (second["sha256"], second["rows"])
        assert shop.box.state()["user_set"]["rows"] == 2

    def test_lineage(self, shop: Any) -> None:
        run = shop.audience("one", "u1", "u2")
        figures, (operator, _) = self.send(run)
        lineage = operator.get_openlineage_facets_on_complete(None)
        (chunk,) = lineage.inputs
        assert (chunk.namespace, chunk.name) == ("file", str(run / "chunks/users-00000.json"))
        (users,) = lineage.outputs
        assert (users.namespace, users.name) == ("luigisbox://luigisbox_test", "shop/users")
        statistics = users.outputFacets["outputStatistics"]
        assert (statistics.rowCount, statistics.size) == (2, figures["bytes"])


class TestUsersThatThePlatformHandsOver:
    """``luigisbox.upload_users: false``: judged and recorded, not sent."""

    @pytest.fixture(autouse=True)
    def _not_uploaded(self, shop: Any, tmp_path: Path) -> None:
        file = tmp_path / "publishers" / "shop.yaml"
        file.write_text(file.read_text().replace("luigisbox: {", "luigisbox: {upload_users: false, "))

    def record(self, run: Path, **options: Any) -> tuple[dict[str, Any], Any]:
        here = context()
        return UploadUsersOperator(task_id="upload", publisher="shop", run=run.as_uri(), **options).execute(here), here

    def test_the_list_is_recorded_and_announced_and_nothing_is_sent(self, shop: Any) -> None:
        asset = user_set_accepted("shop")
        figures, here = self.record(shop.audience("one", "u1", "u2"), outlets=[asset])
        live = user_sets.live(shop.root, "shop")
        assert live is not None
        assert live.record["answer"]["sent"] is False
        assert "upload_users is false" in live.record["answer"]["why"]
        assert figures == {
            "user_set": live.name,
            "uri": live.folder.as_uri(),
            "rows": 2,
            "bytes": live.record["bytes"],
            "sha256": live.record["sha256"],
            "seconds": 0.0,
            "attempts": 0,
        }
        assert here["outlet_events"][asset].extra == figures
        assert statuses(shop) == []

    def test_the_guard_holds_as_before(self, shop: Any) -> None:
        with pytest.raises(BadInput, match="empty list is never recorded"):
            self.record(shop.audience("none"))
        run = shop.audience("one", "u1", "u2")
        verdict = read_json(run / "verdict.json")
        write_json(run / "verdict.json", {**verdict, "verdict": "hold"})
        with pytest.raises(NotPassed):
            self.record(run)
        assert user_sets.live(shop.root, "shop") is None

    def test_an_older_list_never_replaces_a_newer_one(self, shop: Any) -> None:
        self.record(shop.audience("new", "u1"))
        with pytest.raises(user_sets.OlderThanLive):
            self.record(shop.audience("old", "u1", as_of=datetime.now(UTC) - timedelta(days=1)))

    def test_a_recorded_list_says_nothing_of_the_speed_of_the_next_upload(self, shop: Any) -> None:
        self.record(shop.audience("one", "u1"))
        shop.configure()
        shop.sent("two", "u1", "u2")
        assert shop.box.state()["user_set"]["rows"] == 2


class TestTransactions:
    @pytest.fixture
    def run(self, shop: Any, lines: Any, request: pytest.FixtureRequest) -> Path:
        """A run of two files, different in each test because the sandbox is shared."""
        folder = shop.root / "shop" / "transactions" / "one"
        salt = len(request.node.name) % 40
        first, second = lines.purchase_lines(4, size=salt), lines.purchase_lines(6, size=salt + 50)
        manifest = lines.write_chunks(folder, first, second, kind="transactions")
        for chunk in manifest["chunks"]:
            chunk["sessions"] = chunk["rows"] // 2
        write_json(folder / "manifest.json", {**manifest, "kind": "transactions", "sessions": 5})
        return Path(folder)

    def send(self, run: Path) -> dict[str, Any]:
        operator = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri())
        return operator.execute(context())

    def states(self, shop: Any) -> list[str]:
        return [entry.state for entry in Ledger(shop.root / FILE).entries("shop")]

    def settle(self, shop: Any, state: Any) -> None:
        ledger = Ledger(shop.root / FILE)
        for entry in ledger.entries("shop"):
            if entry.state == "unknown":
                ledger.settle("shop", entry.sha256, state, "a test looked")

    def test_each_file_is_sent_once(self, shop: Any, run: Path) -> None:
        figures = self.send(run)
        expected = {"files": 2, "confirmed": 2, "already_sent": 0, "rows": 10, "sessions": 5}
        assert {key: figures[key] for key in expected} == expected
        assert self.states(shop) == ["confirmed", "confirmed"]
        again = self.send(run)
        assert (again["confirmed"], again["already_sent"], again["seconds"]) == (0, 2, 0)
        assert statuses(shop) == [200, 200]

    def test_nothing_to_send(self, shop: Any) -> None:
        run = shop.root / "shop" / "transactions" / "empty"
        empty = {"kind": "transactions", "chunks": [], "rows": 0, "sessions": 0, "bytes": 0}
        write_json(run / "manifest.json", empty)
        assert self.send(run)["files"] == 0

    @pytest.mark.parametrize("fault", ["reset_after_store", "500", "502", "503"])
    def test_an_unknown_fate_is_never_sent_again_by_itself(self, shop: Any, run: Path, fault: str) -> None:
        shop.box.fault(fault)
        with pytest.raises(PipelineError, match=r"include\.transactions settle") as caught:
            self.send(run)
        assert isinstance(caught.value.__cause__, FateUnknown)
        assert self.states(shop) == ["unknown", "prepared"]
        with pytest.raises(PipelineError, match=r"include\.transactions settle"):
            self.send(run)
        assert len(statuses(shop)) == 1
        self.settle(shop, "confirmed")
        assert self.send(run)["already_sent"] == 1
        assert len(statuses(shop)) == 2

    def test_a_person_may_have_it_sent_again(self, shop: Any, run: Path) -> None:
        shop.box.fault("500")
        with pytest.raises(PipelineError):
            self.send(run)
        self.settle(shop, "prepared")
        assert self.send(run)["confirmed"] == 2

    def test_a_refusal_for_now_is_tried_again(self, shop: Any, run: Path) -> None:
        shop.box.fault("429")
        assert self.send(run)["confirmed"] == 2
        assert statuses(shop) == [429, 200, 200]

    def test_a_failure_that_nobody_foresaw_leaves_an_unknown_fate(
        self, shop: Any, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: Any) -> None:
            raise OverflowError("after the answer")

        monkeypatch.setattr("luigisbox.client.skew_seconds", fails)
        with pytest.raises(PipelineError, match=r"include\.transactions settle"):
            self.send(run)
        assert self.states(shop) == ["unknown", "prepared"]
        assert statuses(shop) == [200]

    def test_a_refusal_for_good_may_be_sent_by_a_later_run(self, shop: Any, run: Path) -> None:
        shop.box.fault("401")
        with pytest.raises(Unauthorized):
            self.send(run)
        assert self.states(shop) == ["refused", "prepared"]
        assert self.send(run)["confirmed"] == 2

    def test_trouble_that_lasts_leaves_the_file_to_a_later_run(self, shop: Any, run: Path) -> None:
        shop.box.fault("429", times=4)
        with pytest.raises(RateLimited):
            self.send(run)
        assert self.states(shop) == ["prepared", "prepared"]
        assert self.send(run)["confirmed"] == 2

    def test_no_connection_leaves_the_file_to_a_later_run(self, shop: Any, run: Path) -> None:
        shop.connect("luigisbox_test", host="http://127.0.0.1:9", login=shop.box.tracker, password="key")
        with pytest.raises(Unreachable, match="nothing was stored"):
            self.send(run)
        assert self.states(shop) == ["prepared", "prepared"]

    def test_a_changed_file_is_never_whole_at_the_vendor(self, shop: Any, run: Path) -> None:
        path = run / "chunks/transactions-00000.json"
        path.write_bytes(path.read_bytes().replace(b"s0", b"s9"))
        with pytest.raises(BadInput, match="SHA-256"):
            self.send(run)
        assert self.states(shop) == ["prepared", "prepared"]

    def test_a_killed_sender_leaves_an_unknown_fate(self, shop: Any, run: Path) -> None:
        shop.box.fault("slow_read", bytes_per_second=1)
        process = multiprocessing.get_context("spawn").Process(target=_send_in_process, args=(run.as_uri(),))
        process.start()
        for _ in range(1200):
            if (shop.root / FILE).exists() and "sending" in self.states(shop):
                break
            process.join(0.05)
        process.kill()
        process.join()
        shop.box.forget()
        with pytest.raises(PipelineError, match="the attempt by dag/upload manual__1"):
            self.send(run)
        assert self.states(shop) == ["unknown", "prepared"]

    def test_lineage(self, shop: Any, run: Path) -> None:
        operator = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri())
        operator.execute(context())
        lineage = operator.get_openlineage_facets_on_complete(None)
        assert [Path(each.name).name for each in lineage.inputs] == [f"transactions-0000{n}.json" for n in (0, 1)]
        assert lineage.outputs[0].name == "shop/interactions"
        assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 10


def _send_users_in_process(uri: str) -> None:
    UploadUsersOperator(task_id="upload", publisher="shop", run=uri).execute(context())


def _send_in_process(uri: str) -> None:
    UploadTransactionsOperator(task_id="upload", publisher="shop", run=uri).execute(context())


ROWS = [(f"s{number // 2}", f"p{number}", "u1", f"2026-03-01T{number % 24:02}:00:00Z") for number in range(200)]
MARCH = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-04-01T00:00:00+00:00"}
APRIL = {"start": "2026-04-01T00:00:00+00:00", "end": "2026-05-01T00:00:00+00:00"}
NO_SUMMER_TIME = {"start": "2026-04-01T00:30:00+01:00", "end": "2026-04-02T00:00:00+01:00"}


class TestWindows:
    """Purchases that were sent are not sent again in other files."""

    @pytest.fixture(autouse=True)
    def _store_of_its_own(self, staging: Path, request: pytest.FixtureRequest) -> None:
        self.staging, self.salt = staging, request.node.name

    def build(self, name: str, rows: Any, **changes: Any) -> Path:
        run = self.staging / "shop" / "transactions" / name
        names = ["session_id", "identity", "user_id", "created_at"]
        rows = [(f"{self.salt}-{session}", *others) for session, *others in rows]
        write_rows([rows], names, names, [], run / "raw", 0)
        settings = {"connection": "w", "sql": "SELECT 1", "max_file_bytes": 10_000, **changes}
        build_transactions(run, Transactions(**settings))
        return run

    def send(self, run: Path, window: Any = MARCH) -> dict[str, Any]:
        operator = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri(), window=window)
        return operator.execute(context())

    @pytest.mark.parametrize(
        ("rows", "changes", "window"),
        [
            (ROWS, {"max_file_bytes": 7_000}, MARCH),
            (ROWS, {"format": "csv"}, MARCH),
            ([*ROWS, ("late", "p1", "u1", "2026-03-01T00:00:00Z")], {}, MARCH),
            (ROWS[:50], {}, {**MARCH, "end": "2026-03-02T00:00:00+00:00"}),
            (ROWS[150:], {}, NO_SUMMER_TIME),
        ],
        ids=["file_size", "format", "late_purchase", "part", "zones"],
    )
    def test_other_files_of_the_same_time_are_refused(self, shop: Any, rows: Any, changes: Any, window: Any) -> None:
        sent = self.send(self.build("one", ROWS))
        assert sent["confirmed"] > 1
        shop.box.forget_requests()
        other = self.build("two", rows, **changes)
        with pytest.raises(Overlaps, match="Purchases in both would count twice"):
            self.send(other, window)
        assert statuses(shop) == []

    def test_the_same_files_are_known_in_any_window(self, shop: Any) -> None:
        files = self.send(self.build("one", ROWS))["files"]
        for window in (MARCH, {**MARCH, "end": APRIL["end"]}):
            again = self.send(self.build("two", ROWS), window)
            assert (again["confirmed"], again["already_sent"]) == (0, files)

    def test_windows_side_by_side_at_the_same_time(self, shop: Any) -> None:
        runs = [self.build("one", ROWS), self.build("two", [(f"x{s}", *others) for s, *others in ROWS])]
        with ThreadPoolExecutor(2) as pool:
            figures = list(pool.map(self.send, runs, [MARCH, APRIL]))
        assert all(each["confirmed"] == each["files"] > 1 for each in figures)

    def test_of_two_at_the_same_time_one_is_sent(self, shop: Any) -> None:
        runs = [self.build("one", ROWS), self.build("two", ROWS, format="csv")]
        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(self.send, run) for run in runs]
        assert sorted(type(outcome.exception()) for outcome in outcomes if outcome.exception()) == [Overlaps]
        assert {entry.run for entry in self.confirmed()} in ({"one"}, {"two"})

    def test_a_file_that_did_not_arrive_is_no_hindrance(self, shop: Any) -> None:
        shop.box.fault("500")
        with pytest.raises(PipelineError):
            self.send(self.build("one", ROWS[:50]))
        with pytest.raises(Overlaps, match="unknown"):
            self.send(self.build("two", ROWS))
        ledger = Ledger(self.staging / FILE)
        (unknown,) = [entry for entry in ledger.entries("shop") if entry.state == "unknown"]
        ledger.settle("shop", unknown.sha256, "prepared", "a test looked")
        assert self.send(self.build("two", ROWS))["confirmed"] > 1

    def confirmed(self) -> list[Any]:
        return [entry for entry in Ledger(self.staging / FILE).entries("shop") if entry.state == "confirmed"]


class TestRetries:
    @pytest.mark.parametrize(
        ("error", "action"),
        [
            (Invalid("no"), RetryAction.FAIL),
            (Unauthorized("no"), RetryAction.FAIL),
            (FateUnknown("who knows"), RetryAction.FAIL),
            (BadInput("no"), RetryAction.FAIL),
            (PipelineError("no"), RetryAction.FAIL),
            (NotReady("later"), RetryAction.DEFAULT),
            (RateLimited("later"), RetryAction.DEFAULT),
            (Unreachable("later"), RetryAction.DEFAULT),
            (TooSlow("later"), RetryAction.DEFAULT),
            (OSError("disk"), RetryAction.DEFAULT),
        ],
    )
    def test_only_what_waiting_mends_is_tried_again(self, error: Exception, action: RetryAction) -> None:
        assert RETRY_POLICY.evaluate(error, 1, 3).action is action

    def test_the_policy_can_be_stored_with_a_dag(self) -> None:
        again = type(RETRY_POLICY).deserialize(RETRY_POLICY.serialize())
        assert again.evaluate(Invalid("no"), 1, 3).action is RetryAction.FAIL

    def test_operators_have_it_unless_told_otherwise(self) -> None:
        assert UploadUsersOperator(task_id="a", publisher="shop", run="/x").retry_policy is RETRY_POLICY
        assert UploadUsersOperator(task_id="a", publisher="shop", run="/x", retry_policy=None).retry_policy is None
