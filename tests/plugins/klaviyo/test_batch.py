"""The wait for a batch in Klaviyo's profiles: nothing there, old, half written, fresh, and what looks run into."""

import asyncio
import json
import time
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.recommendations import batches
from include.staging import read_json, to_path
from luigisbox.wait import NoBatchInTime, Superseded
from pipeline.wait import WaitOperator
from tests.plugins.klaviyo.batches import BOTH, TYPE, Played, Shop, products, rows_of, soon
from vendor_http.errors import PermanentError


def test_from_nothing_to_a_fresh_batch(shop: Shop) -> None:
    user_set = shop.accepted("one")
    played = Played(True, meanwhile=lambda _: shop.account.publish(1))
    result = played.run()
    assert len(played.deferrals) == 1
    assert (result["outcome"], result["users"], result["rows"]) == ("fresh", 20, 42 - 2)
    assert result["user_set"] == user_set.name
    folder = to_path(result["uri"])
    fetched, verdict = read_json(folder / "fetch.json"), read_json(folder / "freshness.json")
    books = fetched["profiles"]
    assert books == {"read": 30, "repeated": 10, "not_in_list": 0, "carrying": 20, "without": 0, "missing": 0}
    assert (verdict["verdict"], verdict["evidence"]["compared"]) == ("fresh", 10)
    assert read_json(folder / "manifest.json")["default"]["rows"] == 2
    rows = rows_of(result)
    assert {row["auth_user_id"] for row in rows} == {f"c{user}" for user in range(20)}
    assert {row["recommendation_id"] for row in rows} == {f"1-{user}" for user in range(20)}
    assert batches.latest(shop.root, "shop")["sha256"] == result["sha256"]
    assert not list(folder.parent.glob(".work-*"))


def test_trigger_arguments_hold_no_secret_and_no_profile(shop: Shop) -> None:
    shop.accepted("one")
    with pytest.raises(TaskDeferred) as caught:
        WaitOperator(task_id="wait", publisher="shop").execute({})
    path, arguments = caught.value.trigger.serialize()
    assert path == "klaviyo.batch_trigger.KlaviyoBatchTrigger"
    assert "hush" not in json.dumps(arguments)
    assert len(json.dumps(arguments)) < 1000
    assert "k1" not in json.dumps({**arguments, "sample": ""})


class TestWhatCounts:
    @pytest.fixture
    def first(self, shop: Shop) -> dict[str, Any]:
        shop.accepted("one")
        return Played(True, meanwhile=lambda _: shop.account.publish(1)).run()

    @BOTH
    def test_the_last_batchs_recommendations_are_not_fresh(self, shop: Shop, first: Any, deferrable: bool) -> None:
        shop.accepted("two", range(19))
        with pytest.raises(NoBatchInTime, match="only 0 of 10 sampled profiles with recommendations carry new ones"):
            Played(deferrable, deadline=soon(0.3)).run()

    def test_a_new_list_of_other_profiles_does_not_make_old_ones_fresh(self, shop: Shop) -> None:
        shop.account.publish(1)
        shop.accepted("half", range(10))
        Played(True, meanwhile=lambda _: shop.account.publish(2)).run()
        shop.accepted("other half", range(10, 20))
        with pytest.raises(NoBatchInTime, match="only 0 of 10"):
            Played(True, deadline=soon(0.3)).run()

    @BOTH
    def test_a_new_publication_is(self, shop: Shop, first: Any, deferrable: bool) -> None:
        shop.accepted("two", range(19))
        shop.account.publish(2)
        result = Played(deferrable).run()
        assert (result["outcome"], result["users"]) == ("fresh", 19)
        assert read_json(to_path(result["uri"]) / "fetch.json")["profiles"]["not_in_list"] == 1
        evidence = read_json(to_path(result["uri"]) / "freshness.json")["evidence"]
        assert (evidence["compared"], evidence["changed"]) == (19, 19)
        assert evidence["latest_sha256"] == first["sha256"] != result["sha256"]

    def test_half_a_publication_is_waited_out(self, shop: Shop, first: Any) -> None:
        shop.accepted("two", range(19))
        account, looks = shop.account, []

        def go_on(path: str) -> None:
            if "any(" in path:
                looks.append(path)
                account.publish(2, range(min(20, 10 + 3 * len(looks))))

        account.before = go_on
        result = Played(True).run()
        assert result["outcome"] == "fresh"
        assert len(looks) >= 3
        assert {row["recommendation_id"][:2] for row in rows_of(result)} == {"2-"}

    def test_the_audience_decides_not_the_sample(self, shop: Shop, first: Any) -> None:
        shop.accepted("two", range(19))
        with pytest.raises(TaskDeferred) as caught:
            WaitOperator(task_id="wait", publisher="shop").execute({})
        sampled = read_json(to_path(caught.value.trigger.sample))["before"]
        shop.account.publish(2, [int(key[1:]) for key in list(sampled)[:9]])
        played = Played(True, meanwhile=lambda number: number == 2 and shop.account.publish(2))
        assert played.run()["outcome"] == "fresh"
        assert "only 9 of 19 profiles with recommendations carry other ones" in played.deferrals[1]["reason"]
        assert played.deferrals[1]["refused"][0]["again_at"] > time.time() - 20

    def test_a_batch_is_taken_again_by_its_run_and_for_its_list(self, shop: Shop, first: Any) -> None:
        asked = len(shop.account.asked)
        assert Played(True).run() == first
        assert len(shop.account.asked) == asked
        assert Played(True, run_id="manual__2").run() == first
        with pytest.raises(NoBatchInTime, match="only 0 of 10"):
            Played(True, run_id="scheduled__1", since=soon(0), deadline=soon(0.3)).run()


class TestDeadline:
    def test_fail(self, shop: Shop) -> None:
        shop.accepted("one")
        with pytest.raises(NoBatchInTime, match="none of 10 sampled profiles carries recommendations yet"):
            Played(True, deadline=soon(0.3)).run()

    @pytest.mark.parametrize(("choice", "outcome"), [("use_previous", "previous"), ("default_only", "default_only")])
    def test_what_stands_in(self, shop: Shop, choice: str, outcome: str) -> None:
        shop.accepted("one")
        first = Played(True, meanwhile=lambda _: shop.account.publish(1)).run()
        shop.accepted("two", range(19))
        result = Played(True, deadline=soon(0.3), on_deadline=choice).run()
        assert (result["outcome"], result["uri"]) == (outcome, first["uri"])

    def test_a_newer_list(self, shop: Shop) -> None:
        old = shop.accepted("one")
        shop.accepted("two", range(19))
        with pytest.raises(Superseded):
            Played(True, user_set=old.name).run()


class TestTrouble:
    @BOTH
    def test_errors_while_looking_are_waited_out(self, shop: Shop, deferrable: bool) -> None:
        shop.accepted("one")
        with pytest.raises(TaskDeferred):
            WaitOperator(task_id="wait", publisher="shop").execute({})
        shop.account.publish(1)
        shop.account.troubles = [429, 503]
        assert Played(deferrable).run()["outcome"] == "fresh"

    def test_a_refused_key_fails_at_once(self, shop: Shop) -> None:
        shop.accepted("one")
        played = Played(True, meanwhile=lambda _: shop.account.troubles.append(403))
        with pytest.raises(PermanentError, match="klaviyo_test"):
            played.run()

    def test_a_triggerer_that_starts_again_just_goes_on(self, shop: Shop) -> None:
        shop.accepted("one")
        with pytest.raises(TaskDeferred) as caught:
            WaitOperator(task_id="wait", publisher="shop").execute({})
        trigger = caught.value.trigger

        async def twice() -> Any:
            first = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.sleep(0.25)
            first.cancel()
            shop.account.publish(1)
            _, arguments = trigger.serialize()
            return await anext(type(trigger)(**arguments).run())

        assert asyncio.run(twice()).payload["status"] == "found"

    def test_hostile_values_are_counted_and_kept_out(self, shop: Shop) -> None:
        shop.accepted("one")
        odd: list[Any] = [
            "[]",
            7,
            {"a": 1},
            [products(1)],
            [{"id": {}}],
            [{"id": "x" * 70_000}],
            [{"url": "a\0b"}],
            [{}],
            products(1) * 6000,
            [None, *products(1)],
            [{"id": 7, "extra": 1}],
        ]

        def publish(_: int) -> None:
            shop.account.publish(1)
            for user, value in enumerate(odd):
                shop.account.properties[user] = {TYPE: value}
            shop.account.properties[12] = "nonsense"
            shop.account.properties[13] = {TYPE: None}

        result = Played(True, meanwhile=publish).run()
        folder = to_path(result["uri"])
        assert result["users"] == 20 - len(odd) - 2 + 2
        problems = read_json(folder / "fetch.json")["problems"]
        assert problems["not_a_list"] >= 3
        assert {"not_a_product", "id_not_a_text", "id_too_long", "url_has_a_nul", "empty_product"} <= problems.keys()
        assert {"too_many_products", "unknown_fields", "properties_not_an_object"} <= problems.keys()
        kept = {row["key"] for row in pq.read_table(folder / "problems.parquet").to_pylist()}
        assert kept == {f"k{user}" for user in range(len(odd))} | {"k12"}
