"""The upload of users against the sandbox and each of its faults: what is sent, noted and announced."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.audience import sending, user_sets
from include.audience.guard import NotPassed, judge
from include.errors import BadInput, PipelineError
from include.publishers.models import Guard
from include.staging import read_json, write_json
from luigisbox.assets import user_set_accepted
from luigisbox.operators import UploadUsersOperator
from luigisbox.uploads import send_users
from vendor_http.errors import ServerError, TooSlow, Unauthorized


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

    def test_the_accepted_list_is_noted_and_announced(self, shop: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        run, asset, alias = shop.audience("one", "u1", "u2", "u3"), user_set_accepted("shop"), AssetAlias("any")
        figures, (_, here) = self.send(run, outlets=[asset, alias])
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
        assert f"the run's manifest: {(run / 'manifest.json').as_uri()}" in caplog.text

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

    @pytest.mark.parametrize("still_on_its_way", [True, False])
    def test_a_list_whose_turn_was_lost_on_the_way_is_not_recorded(self, shop: Any, still_on_its_way: bool) -> None:
        run, other, client = shop.audience("one", "u1"), shop.audience("two", "u2"), shop.box.client()
        upload = client.upload_users

        def overtaken(*whole: Any) -> Any:
            receipt = upload(*whole)
            sending.begin(shop.root, "shop", other)
            if not still_on_its_way:
                sending.end(shop.root, "shop")
            return receipt

        client.upload_users = overtaken
        with pytest.raises(PipelineError, match="another list was sent meanwhile"):
            send_users(client, shop.root, "shop", run)
        assert user_sets.live(shop.root, "shop") is None
        noted = sending.noted(shop.root, "shop")
        assert noted is not None
        assert noted["run"] == ("two" if still_on_its_way else "one")

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


def _send_users_in_process(uri: str) -> None:
    UploadUsersOperator(task_id="upload", publisher="shop", run=uri).execute(context())
