"""The wait, from the first look to the accepted batch: deferred and synchronous, against the sandbox and its faults."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.errors import ConfigError, PipelineError
from include.recommendations import batches
from include.staging import sha256_file
from luigisbox.operators import WaitForBatchOperator
from luigisbox.wait import NoBatchInTime
from tests.plugins.luigisbox.waits import BOTH, NewList, Played, document, soon
from vendor_http.errors import PermanentError

pytestmark = pytest.mark.usefixtures("purchases")


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
    assert (
        batches.latest(shop.root, "shop")["sha256"]
        == result["sha256"]
        == folder.name
        == sha256_file(folder / "raw.xml")
    )
    fetched = json.loads((folder / "fetch.json").read_text())
    assert fetched["bytes"] == result["bytes"] == fetched["content_length"]
    assert fetched["headers"]["etag"]
    assert json.loads((folder / "freshness.json").read_text())["verdict"] == "fresh"
    assert not list(folder.parent.glob(".work-*"))


def test_json_batches_too(shop: Any) -> None:
    shop.configure(form="json", link=f"/batches/{shop.box.tracker}.json")
    shop.sent("one", "u1", "u2")
    shop.box.publish()
    assert Played(True).run()["users"] == 2


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
def test_a_late_batch(shop: Any, deferrable: bool) -> None:
    shop.sent("one", "u1", "u4")
    shop.box.fault("late_batch", seconds=0.7)
    shop.box.publish()
    assert Played(deferrable).run()["outcome"] == "fresh"


def test_a_truncated_batch_is_not_whole(shop: Any) -> None:
    shop.sent("one", "u1", "u5")
    shop.box.publish()
    shop.box.fault("truncated_batch", times=2)
    assert Played(True).run()["outcome"] == "fresh"
    fetched = {path.parent for path in shop.root.glob("shop/batches/*/raw.xml")}
    whole = {path.parent for path in shop.root.glob("shop/batches/*/manifest.json")}
    assert (len(fetched), len(whole)) == (2, 1)


@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "reset_mid_body"])
def test_trouble_at_the_link_is_waited_out(shop: Any, fault: str) -> None:
    shop.sent("one", "u1", "u2")
    shop.box.publish()
    shop.box.fault(fault, path="/batches/", times=2)
    assert Played(True).run()["outcome"] == "fresh"


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
        path.write_bytes(document("u1"))
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
