"""The wait, from the first look to the accepted batch: deferred and synchronous, against the sandbox and its faults.

Deferring is played as Airflow does it: the trigger is rebuilt from its serialised form, a new operator instance gets
nothing but the event.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import TaskDeferred

from include.errors import ConfigError, PipelineError
from include.recommendations import batches
from luigisbox.operators import WaitForBatchOperator
from luigisbox.wait import NoBatchInTime, Superseded
from vendor_http.errors import PermanentError

Serve = Callable[[Callable[[Any], None]], str]
BOTH = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "synchronous"])


@pytest.fixture(autouse=True, scope="module")
def _purchases(sandbox: Any) -> None:
    """What recommendations are made of: ten users who bought things."""
    from luigisbox.client import Client, Settings

    rows = [
        {"session_id": f"s{user}-{basket}", "identity": f"p{(user * 3 + basket + item) % 12}", "user_id": f"u{user}"}
        for user in range(10)
        for basket in range(3)
        for item in range(3)
    ]
    path = sandbox.state / "purchases.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chunk = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    Client(Settings(sandbox.url, sandbox.tracker, sandbox.private_key)).upload_transactions(path, chunk)
    for _ in range(500):
        states = [upload["state"] for upload in requests.get(f"{sandbox.url}/_sandbox/uploads").json()]
        if states == ["accepted"]:
            return
        time.sleep(0.01)
    raise AssertionError(states)


def _sha256(path: Path) -> str:
    from include.staging import sha256_file

    return sha256_file(path)


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Played:
    """One wait, played to its end; ``meanwhile`` happens each time the task has deferred."""

    def __init__(self, deferrable: bool, meanwhile: Callable[[int], None] | None = None, **options: Any) -> None:
        self.deferrals: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.options = {"task_id": "wait", "publisher": "shop", "deadline": soon(20), **options}
        self.options["deferrable"] = deferrable
        started = SimpleNamespace(start_date=self.options.pop("run_started", None))
        self.context: Any = {"run_id": self.options.pop("run_id", "manual__1"), "dag_run": started}
        self.meanwhile = meanwhile
        self.operator = WaitForBatchOperator(**self.options)

    def run(self) -> dict[str, Any]:
        step: Callable[[], dict[str, Any]] = lambda: self.operator.execute(self.context)  # noqa: E731
        while True:
            try:
                return step()
            except TaskDeferred as deferred:
                event = self._trigger(deferred)
                self.operator = WaitForBatchOperator(**self.options)
                method = getattr(self.operator, deferred.method_name)
                step = lambda: method(self.context, event=event)  # noqa: B023, E731

    def _trigger(self, deferred: TaskDeferred) -> dict[str, Any]:
        path, arguments = deferred.trigger.serialize()
        arguments = json.loads(json.dumps(arguments))
        self.deferrals.append(arguments)
        if self.meanwhile:
            self.meanwhile(len(self.deferrals))
        module, _, name = path.rpartition(".")
        trigger = getattr(import_module(module), name)(**arguments)

        async def first() -> Any:
            events = [event async for event in trigger.run()]
            assert len(events) == 1
            return events[0].payload

        event: dict[str, Any] = json.loads(json.dumps(asyncio.run(first())))
        self.events.append(event)
        return event


@BOTH
def test_a_batch_that_is_there_is_not_waited_for(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u2", "u99")
    shop.box.publish()
    played = Played(deferrable)
    result = played.run()
    assert played.deferrals == []
    assert result["outcome"] == "fresh"
    assert result["users"] == 2
    assert result["user_set"] == played.operator.batch["user_set"]
    folder = Path(result["uri"].removeprefix("file://"))
    assert batches.latest(shop.root, "shop")["sha256"] == result["sha256"] == folder.name == _sha256(folder / "raw.xml")
    fetched = json.loads((folder / "fetch.json").read_text())
    assert fetched["bytes"] == result["bytes"] == fetched["content_length"]
    assert fetched["headers"]["etag"]
    assert json.loads((folder / "freshness.json").read_text())["verdict"] == "fresh"
    assert not list(folder.parent.glob(".incoming-*"))


@BOTH
def test_json_batches_too(shop: Any, deferrable: bool) -> None:
    shop.configure(form="json", link=f"/batches/{shop.box.tracker}.json")
    shop.sent("one", "u1", "u2")
    shop.box.publish()
    assert Played(deferrable).run()["users"] == 2


def test_the_collections_of_smartemailing_from_a_file(shop: Any, tmp_path: Path) -> None:
    product = {"id": "1", "url": "https://x.example/1?recommendation_id=7", "title": "One", "image_link": None}
    lines = [{"id": user, "data": {"mail-recommender-1": [product]}} for user in ("u1", "u2", "default")]
    shop.accepted("one", "u1", "u2")
    path = tmp_path / "collection.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(path, (time.time() + 5,) * 2)
    shop.configure(form="json", link=path.as_uri(), connection="")
    result = Played(True).run()
    assert (result["outcome"], result["users"], result["rows"]) == ("fresh", 2, 2)


class NewList:
    """A list that the staging store knows as accepted in a second from now, so that what is published is older."""

    def __init__(self, shop: Any, *ids: str) -> None:
        self.shop, self.ids = shop, ids
        self.sent_at = (datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=0)
        self.user_set = shop.accepted("new", *ids, sent_at=self.sent_at)

    def publish(self) -> None:
        """The vendor makes a batch of it, after that second."""
        time.sleep(max(0, (self.sent_at - datetime.now(UTC)).total_seconds()))
        self.shop.box.take_list(self.shop.root / "list", *self.ids)
        self.shop.box.publish()

    def publish_once(self, number: int) -> None:
        """For ``meanwhile``."""
        if number == 1:
            self.publish()


def test_it_waits_for_the_new_batch(shop: Any) -> None:
    shop.sent("old", "u1", "u2")
    shop.box.publish()
    old = Played(True).run()
    new = NewList(shop, "u1", "u3")
    played = Played(True, meanwhile=new.publish_once)
    result = played.run()
    (arguments,) = played.deferrals
    assert "last changed" in arguments["reason"]
    assert arguments["user_set"] == result["user_set"] == new.user_set.name
    assert result["outcome"] == "fresh"
    assert result["sha256"] != old["sha256"]


def test_trigger_arguments_hold_no_secret(shop: Any) -> None:
    shop.connect("batch_test", host=shop.box.url, password="hush", extra='{"headers": {"X-Key": "hush"}}')
    NewList(shop, "u1")
    with pytest.raises(TaskDeferred) as caught:
        WaitForBatchOperator(task_id="wait", publisher="shop").execute({})
    path, arguments = caught.value.trigger.serialize()
    assert path == "luigisbox.triggers.BatchTrigger"
    assert "hush" not in json.dumps(arguments)
    assert isinstance(arguments["deadline"], float)


@BOTH
def test_a_scheduled_run_never_takes_the_batch_of_the_interval_before(shop: Any, deferrable: bool) -> None:
    monday = soon(0)
    shop.sent("one", "u1", "u2")
    shop.box.publish()
    first = Played(deferrable, since=monday, run_id="scheduled__monday").run()
    again = Played(deferrable, since=monday, run_id="scheduled__monday").run()
    assert again == first
    with pytest.raises(NoBatchInTime, match="accepted before"):
        Played(deferrable, since=monday, run_id="scheduled__tuesday", deadline=soon(0.4)).run()
    time.sleep(1)
    tuesday = soon(0)
    shop.box.publish()
    second = Played(deferrable, since=tuesday, run_id="scheduled__tuesday").run()
    assert second["outcome"] == "fresh"
    assert second["sha256"] != first["sha256"]
    assert second["user_set"] == first["user_set"]


@BOTH
def test_the_late_batch_of_the_run_before_is_too_old_for_this_one(shop: Any, deferrable: bool) -> None:
    monday = soon(-3 * 3600)
    shop.accepted("one", "u1", "u2", sent_at=datetime.now(UTC) - timedelta(hours=4))
    shop.box.take_list(shop.root / "list", "u1", "u2")
    shop.box.publish()  # late: monday's run has given up
    shop.configure(max_bytes="10000000\n  max_age_hours: 1")
    tuesday = datetime.now(UTC) + timedelta(hours=2)
    options: dict[str, Any] = {"since": monday, "run_id": "scheduled__tuesday", "deadline": soon(0.4)}
    with pytest.raises(NoBatchInTime, match=r"last changed .*, before"):
        Played(deferrable, run_started=tuesday, **options).run()
    assert Played(deferrable, run_started=datetime.now(UTC), **options).run()["outcome"] == "fresh"


@BOTH
def test_nothing_published_yet(shop: Any, deferrable: bool, serve: Serve) -> None:
    shop.accepted("one", "u1")
    shop.connect("batch_test", host=serve(lambda request: request.reply(404)))
    with pytest.raises(NoBatchInTime, match=r"Last reason: nothing is published at the link yet \(answered 404\)"):
        Played(deferrable, deadline=soon(0.5)).run()


@BOTH
def test_a_late_batch(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u4")
    shop.box.fault("late_batch", seconds=0.7)
    shop.box.publish()
    assert Played(deferrable).run()["outcome"] == "fresh"


@BOTH
def test_a_truncated_batch_is_not_whole(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u5")
    shop.box.publish()
    shop.box.fault("truncated_batch", times=2)
    assert Played(deferrable).run()["outcome"] == "fresh"
    fetched = {path.parent for path in shop.root.glob("shop/batches/*/raw.xml")}
    whole = {path.parent for path in shop.root.glob("shop/batches/*/manifest.json")}
    assert (len(fetched), len(whole)) == (2, 1)


@BOTH
def test_a_batch_of_the_previous_list(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u2")
    shop.sent("two", "u1", "u6")
    shop.box.fault("previous_list_batch")
    shop.box.publish()
    with pytest.raises(NoBatchInTime, match="made from the previous list: 1 users that were removed are in it"):
        Played(deferrable, deadline=soon(1)).run()
    shop.box.publish()
    assert Played(deferrable).run()["users"] == 2


class TestSuperseded:
    """A newer list was accepted while the batch of the one before was waited for."""

    @BOTH
    def test_the_newer_lists_batch_is_not_taken(self, shop: Any, deferrable: bool) -> None:
        old = shop.accepted("one", "u1", "u2")
        newer = shop.sent("two", "u1", "u2", "u3")
        shop.box.publish()
        with pytest.raises(Superseded, match=f"superseded by {newer.name}, sent at .*: this list's batch will not"):
            Played(deferrable, user_set=old.name).run()
        assert batches.latest(shop.root, "shop") is None
        assert Played(deferrable).run()["user_set"] == newer.name

    @BOTH
    def test_a_batch_made_before_the_newer_list_is_taken(self, shop: Any, deferrable: bool) -> None:
        old = shop.sent("one", "u1", "u2")
        shop.box.publish()
        new = NewList(shop, "u1", "u3")
        first = Played(deferrable, user_set=old.name).run()
        assert Played(deferrable, user_set=old.name).run() == first
        new.publish()
        with pytest.raises(Superseded):
            Played(deferrable, user_set=old.name).run()

    @BOTH
    def test_a_wait_does_not_go_on_for_ever(self, shop: Any, deferrable: bool, serve: Serve) -> None:
        old = shop.accepted("one", "u1")
        shop.connect("batch_test", host=serve(lambda request: request.reply(404)))
        shop.accepted("two", "u1", "u2")
        with pytest.raises(Superseded, match="nothing is published"):
            Played(deferrable, user_set=old.name).run()

    def test_nothing_stands_in_at_the_deadline(self, shop: Any) -> None:
        NewList(shop, "u1")
        later = datetime.now(UTC) + timedelta(seconds=5)
        options: dict[str, Any] = {"deadline": soon(0.5), "on_deadline": "use_previous"}
        with pytest.raises(Superseded, match="last changed"):
            Played(True, meanwhile=lambda _: shop.accepted("two", "u2", sent_at=later), **options).run()

    def test_the_same_list_sent_again_supersedes_nothing(self, shop: Any) -> None:
        old = shop.accepted("one", "u1", "u2")
        shop.sent("two", "u1", "u2")
        shop.box.publish()
        assert Played(True, user_set=old.name).run()["outcome"] == "fresh"


@BOTH
def test_a_batch_that_never_changes(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u7")
    shop.box.publish()
    shop.box.fault("frozen_batch")
    shop.box.forget_requests()
    NewList(shop, "u1", "u8").publish()
    with pytest.raises(NoBatchInTime, match=r"last changed .*, before"):
        Played(deferrable, deadline=soon(2)).run()
    looks = [entry["status"] for entry in shop.box.requests() if entry["method"] == "GET"]
    assert looks[:2] == [200, 200]  # the task's, and the first of those who wait
    assert set(looks[2:]) == {304}


@BOTH
@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "reset_mid_body"])
def test_trouble_at_the_link_is_waited_out(shop: Any, deferrable: bool, fault: str) -> None:
    shop.sent("one", "u1", "u2")
    shop.box.publish()
    shop.box.fault(fault, path="/batches/", times=2)
    assert Played(deferrable).run()["outcome"] == "fresh"


@BOTH
def test_refused_credentials_fail_at_once(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1")
    shop.box.fault("401", path="/batches/")
    with pytest.raises(PermanentError, match="answered 401"):
        Played(deferrable).run()


def test_credentials_refused_later_reach_the_task(shop: Any) -> None:
    NewList(shop, "u1")
    played = Played(True, meanwhile=lambda _: shop.box.fault("401", path="/batches/"))
    with pytest.raises(PermanentError, match="answered 401"):
        played.run()
    assert played.events[0]["status"] == "error"


@BOTH
def test_a_connection_that_breaks_during_the_fetch(shop: Any, deferrable: bool, serve: Serve) -> None:
    asked: list[int] = []
    document = _document("u1")

    def answer(request: Any) -> None:
        asked.append(1)
        if len(asked) in (2, 3):
            request.reply(200, document[:100], Content_Length=str(len(document)), ETag='"x"')
            request.close_connection = True
        else:
            request.reply(200, document, ETag='"x"')

    shop.connect("batch_test", host=serve(answer))
    shop.accepted("one", "u1")
    shop.patch_retry()
    assert Played(deferrable).run()["outcome"] == "fresh"
    assert len(asked) == 4


def _document(*users: str, updated_at: str = "2099-01-01T00:00:00") -> bytes:
    one = (
        "<user><auth_user_id>{}</auth_user_id><data><_metadata><updated_at>{}</updated_at></_metadata><recommendations>"
        "<recommendation><recommendation_type>mail</recommendation_type><results><result><id>1</id>"
        "<url>https://x.example/1?recommendation_id=7</url><title>One</title></result></results></recommendation>"
        "</recommendations></data></user>\n"
    )
    return ("<users>\n" + "".join(one.format(user, updated_at) for user in users) + "</users>\n").encode()


@BOTH
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html><body>Maintenance</body></html>", "what the link shows is not a batch"),
        (b'<!DOCTYPE users [<!ENTITY a "aa">]><users></users>', "what the link shows is not a batch"),
        (b"", "the batch is not whole"),
        (b"x" * 20_000, "longer than batch.max_bytes"),
    ],
    ids=["page", "bomb", "empty", "long"],
)
def test_what_is_no_batch_is_waited_out(shop: Any, deferrable: bool, serve: Serve, content: bytes, reason: str) -> None:
    shop.configure(max_bytes=10_000)
    shop.connect("batch_test", host=serve(lambda request: request.reply(200, content)))
    shop.accepted("one", "u1")
    with pytest.raises(NoBatchInTime) as caught:
        Played(deferrable, deadline=soon(0.6)).run()
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({"login": "me", "password": "hush"}, "Authorization", "Basic bWU6aHVzaA=="),
        ({"password": "hush"}, "Authorization", "Bearer hush"),
        ({"extra": '{"headers": {"X-Key": "hush"}}'}, "X-Key", "hush"),
    ],
)
def test_the_link_is_opened_by_its_connection(
    shop: Any, serve: Serve, fields: dict[str, Any], header: str, value: str
) -> None:
    seen: list[str | None] = []

    def answer(request: Any) -> None:
        seen.append(request.headers[header])
        request.reply(200, _document("u1"))

    shop.connect("batch_test", host=serve(answer), **fields)
    shop.accepted("one", "u1")
    assert Played(True).run()["outcome"] == "fresh"
    assert seen == [value, value]


@BOTH
def test_redirects_stay_on_the_host(shop: Any, deferrable: bool, serve: Serve) -> None:
    asked: list[str] = []

    def answer(request: Any) -> None:
        asked.append(request.path)
        if request.path.startswith("/batches"):
            request.reply(302, Location="/elsewhere")
        else:
            request.reply(200, _document("u1"))

    shop.connect("batch_test", host=serve(answer), password="hush")
    shop.accepted("one", "u1")
    assert Played(deferrable).run()["outcome"] == "fresh"
    stolen: list[str] = []
    other = serve(lambda request: (stolen.append(request.path), request.reply(200))[-1])
    shop.connect("batch_test", host=serve(lambda request: request.reply(302, Location=other)), password="hush")
    with pytest.raises(PermanentError, match="another host"):
        Played(deferrable).run()
    assert stolen == []


def test_a_link_elsewhere_does_not_get_the_connections_secrets(shop: Any) -> None:
    shop.configure(link="https://elsewhere.example/batch.xml")
    shop.accepted("one", "u1")
    with pytest.raises(ConfigError, match="is not on the host of its connection"):
        Played(True).run()


@BOTH
def test_a_file_is_a_link_too(shop: Any, deferrable: bool, tmp_path: Path) -> None:
    path = tmp_path / "batch.xml"
    shop.configure(link=path.as_uri(), connection="")
    shop.accepted("one", "u1")
    with pytest.raises(NoBatchInTime, match="no such file"):
        Played(deferrable, deadline=soon(0.4)).run()
    path.write_bytes(_document("u1", "default"))
    result = Played(deferrable).run()
    assert (result["outcome"], result["users"]) == ("fresh", 1)
    assert path.exists()


def test_an_object_store_is_a_link_too(shop: Any) -> None:
    import fsspec
    from airflow.sdk.io import attach

    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/batch.xml", _document("u1"))
    attach("memory", fs=store)
    from luigisbox.connections import LinkAccess
    from luigisbox.fetch import fetch_batch
    from luigisbox.result_link import look

    seen = asyncio.run(look("memory://bucket/batch.xml", LinkAccess())).seen
    fetched = fetch_batch("memory://bucket/batch.xml", LinkAccess(), shop.root, "shop", "xml", 10_000)
    assert seen == fetched.seen
    assert (fetched.folder / "raw.xml").read_bytes() == _document("u1")


class TestDeadline:
    def test_the_previous_batch(self, shop: Any) -> None:
        shop.sent("old", "u1", "u2")
        shop.box.publish()
        old = Played(True).run()
        new = NewList(shop, "u1", "u3")
        result = Played(True, deadline=soon(0.4), on_deadline="use_previous").run()
        assert result == {**old, "outcome": "previous", "user_set": new.user_set.name}

    def test_only_the_default_set(self, shop: Any, caplog: pytest.LogCaptureFixture) -> None:
        shop.configure(on_deadline="default_only")
        shop.sent("old", "u1", "u2")
        shop.box.publish()
        old = Played(True).run()
        NewList(shop, "u1", "u3")
        result = Played(False, deadline=soon(0.4)).run()
        assert (result["outcome"], result["uri"]) == ("default_only", old["uri"])
        assert "Going on with default_only" in caplog.text

    def test_without_an_earlier_batch(self, shop: Any) -> None:
        NewList(shop, "u1")
        with pytest.raises(NoBatchInTime, match="on_deadline is use_previous, but there is no earlier batch"):
            Played(True, deadline=soon(0.3), on_deadline="use_previous").run()

    def test_without_a_default_set(self, shop: Any, tmp_path: Path) -> None:
        path = tmp_path / "batch.xml"
        path.write_bytes(_document("u1"))
        shop.configure(link=path.as_uri(), connection="")
        shop.accepted("one", "u1")
        Played(True).run()
        shop.accepted("two", "u1", "u2")
        with pytest.raises(NoBatchInTime, match="has no default set"):
            Played(True, deadline=soon(0.3), on_deadline="default_only").run()

    def test_a_deadline_in_the_past_still_takes_what_is_there(self, shop: Any) -> None:
        shop.sent("one", "u1")
        shop.box.publish()
        assert Played(True, deadline=soon(-5)).run()["outcome"] == "fresh"

    def test_a_since_that_is_no_time(self, shop: Any) -> None:
        shop.accepted("one", "u1")
        with pytest.raises(ConfigError, match="since: came 'noon'"):
            Played(True, since="noon").run()

    def test_a_deadline_that_is_no_time(self, shop: Any) -> None:
        shop.accepted("one", "u1")
        with pytest.raises(ConfigError, match="deadline: came 'noon'"):
            Played(True, deadline="noon").run()


class TestResume:
    @pytest.mark.parametrize("event", [None, {}, {"status": "success"}])
    def test_an_unknown_event_fails_loudly(self, shop: Any, event: Any) -> None:
        operator = WaitForBatchOperator(task_id="wait", publisher="shop")
        with pytest.raises(PipelineError, match="the trigger's event is"):
            operator.resume({}, event=event)

    def test_the_result_link_is_there_while_it_waits_and_after(self, shop: Any) -> None:
        (button,) = WaitForBatchOperator.operator_extra_links
        new = NewList(shop, "u1", "u2")
        played = Played(True, meanwhile=new.publish_once)
        shop.configure(link=f"/batches/{shop.box.tracker}.xml?token=hush")
        first = played.operator
        played.run()
        for operator in (first, played.operator):
            assert button.get_link(operator, ti_key=None) == f"{shop.box.link}?…"
        assert first is not played.operator

    def test_a_trigger_that_starts_again_just_goes_on(self, shop: Any) -> None:
        new = NewList(shop, "u1", "u2")
        with pytest.raises(TaskDeferred) as caught:
            WaitForBatchOperator(task_id="wait", publisher="shop").execute({})
        trigger = caught.value.trigger

        async def twice() -> Any:
            first = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.sleep(0.5)
            first.cancel()
            await asyncio.to_thread(new.publish)
            _, arguments = trigger.serialize()
            return await anext(type(trigger)(**arguments).run())

        assert asyncio.run(twice()).payload["status"] == "found"

    def test_a_connection_that_is_gone_reaches_the_task(self, shop: Any) -> None:
        NewList(shop, "u1")
        played = Played(True, meanwhile=lambda _: shop.connect("batch_test", host="ftp://x"))
        with pytest.raises(ConfigError, match="host: came 'ftp://x'"):
            played.run()
        assert played.events[0]["status"] == "error"

    def test_no_list_was_sent_yet(self, shop: Any) -> None:
        with pytest.raises(ConfigError, match="run its audience DAG first"):
            Played(True).run()


def test_lineage(shop: Any) -> None:
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    shop.sent("one", "u1", "u2")
    shop.box.publish()
    played = Played(True)
    result = played.run()
    lineage = DefaultExtractor(played.operator).extract_on_complete(None)
    assert lineage is not None
    assert [(each.namespace, each.name) for each in lineage.inputs] == [
        (shop.box.url, f"/batches/{shop.box.tracker}.xml")
    ]
    (batch,) = lineage.outputs
    assert batch.namespace == "file"
    assert batch.name == result["uri"].removeprefix("file://")
    statistics = batch.outputFacets["outputStatistics"]
    assert (statistics.rowCount, statistics.size) == (result["rows"], result["bytes"])
