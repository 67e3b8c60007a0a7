"""The wait for a batch in Klaviyo's profiles: nothing there, old, half written, fresh, and all that can go wrong.

The account is a small server of ours, so that each state of the profiles can be told exactly.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.recommendations import batches
from include.staging import read_json, to_path
from luigisbox.wait import NoBatchInTime, Superseded
from pipeline.wait import WaitOperator
from vendor_http.errors import PermanentError
from vendor_http.pacing import Pacer

TYPE = "mail-recommender-1"
PACED = Pacer.before
NO_CERTIFICATES = {"verify": False}  # each look in a process of its own would read them, which takes long
BOTH = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "synchronous"])
PUBLISHER = """
luigisbox: {connection: none, upload_users: false}
audience: {kind: klaviyo, connection: klaviyo_test, lists: [LIST01], segments: [SEGM01]}
batch:
  from: klaviyo
  connection: klaviyo_test
  poll_seconds: 0.2
  sample: 10
  parts: 2
  recommendation_types: {mail-recommender-1: 2}
deliveries: [{name: feed, kind: feed}]
"""


def products(publication: int, user: int = 0) -> list[dict[str, str]]:
    return [
        {"id": f"p{slot}", "url": f"https://x.example/p{slot}?recommendation_id={publication}-{user}", "title": "One"}
        for slot in (1, 2)
    ]


class Account:
    """Profiles ``k0``, ``k1`` … of the customers ``c0``, ``c1`` …, all in the list, every second in the segment too."""

    def __init__(self, serve: Callable[..., str], size: int = 20) -> None:
        self.size = size
        self.properties: dict[int, Any] = {}
        self.default: Any = {}
        self.troubles: list[int] = []
        self.seconds_a_page = 0.0
        self.counted: int | None = None
        self.ends_after: int | None = None
        self.circle_from: int | None = None
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda path: None
        self.url = serve(self.answer)

    def publish(self, publication: int, users: Any = None) -> None:
        for user in range(self.size) if users is None else users:
            self.properties[user] = {TYPE: products(publication, user), "name": "Ann"}
        self.default = {TYPE: products(publication)}

    def answer(self, request: Any) -> None:
        parts = urlsplit(request.path)
        asked = dict(parse_qsl(parts.query))
        self.asked.append(parts.path)
        self.before(unquote(request.path))
        if self.troubles:
            error = {"errors": [{"id": "1", "code": "x", "title": "x", "detail": "x", "source": {}}]}
            return request.reply(self.troubles.pop(0), json.dumps(error).encode())
        if parts.path in ("/api/lists/LIST01", "/api/segments/SEGM01"):
            return request.reply(200, json.dumps(self._count(parts.path)).encode())
        time.sleep(self.seconds_a_page)
        rows, after = self._rows(parts.path, asked)
        link = f"https://elsewhere.example/x?page%5Bcursor%5D={after}" if after else None
        return request.reply(200, json.dumps({"data": rows, "links": {"next": link}}).encode())

    def _count(self, path: str) -> dict[str, Any]:
        own = -(-self.size // 2) if "segments" in path else self.size
        count = own if self.counted is None or "segments" in path else self.counted
        return {"data": self._row(path[-6:], {"profile_count": count})}

    def _rows(self, path: str, asked: dict[str, str]) -> tuple[list[dict[str, Any]], int | None]:
        wanted = asked.get("filter", "")
        if "external_id" in wanted:
            return [self._row("kd", {"external_id": "default", "properties": self.default})], None
        if wanted:
            keys = json.loads(wanted.removeprefix("any(id,").removesuffix(")"))
            assert len(keys) <= 100
            return [self._row(key, {"properties": self.properties.get(int(key[1:]), {})}) for key in keys], None
        start, step = int(asked.get("page[cursor]", 0)), 2 if "segments" in path else 1
        users = range(0, self.size, step)[start : start + 100]
        rows = [self._row(f"k{user}", {"properties": self.properties.get(user, {})}) for user in users]
        if self.ends_after is not None and start >= self.ends_after:
            return rows, None
        if self.circle_from is not None and start >= 400:
            return rows, self.circle_from
        return rows, start + 99 if start + 100 < self.size // step else None  # the last row comes again

    def _row(self, key: str, attributes: dict[str, Any]) -> dict[str, Any]:
        return {"type": "profile", "id": key, "attributes": attributes}


class Shop:
    def __init__(self, root: Path, publishers: Path, account: Account, patch: pytest.MonkeyPatch) -> None:
        self.root, self.account = root, account
        patch.setenv("PUBLISHERS_DIR", str(publishers))
        connection = {"conn_type": "klaviyo", "host": account.url, "password": "pk_hush", "extra": NO_CERTIFICATES}
        patch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(connection))
        (publishers / "shop.yaml").write_text(PUBLISHER)

    def accepted(self, run: str, users: Any = range(20), people: Any = None) -> Any:
        from include.audience import user_sets
        from include.audience.build import build_audience
        from include.audience.guard import judge
        from include.extract import write_rows
        from include.publishers.config import load_publisher
        from include.publishers.models import Guard
        from luigisbox.uploads import record_users

        folder = self.root / "shop" / "audience" / run
        rows = people or [(f"c{user}", f"k{user}") for user in users]
        write_rows([rows], ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], folder / "raw", 0)
        build_audience(folder, load_publisher("shop").audience, datetime.now(UTC))
        anything = dict.fromkeys((name for name in Guard.model_fields if name.endswith("_percent")), 100)
        anything |= dict.fromkeys(("hold_grow_percent", "refuse_grow_percent"), 1000)
        judge(folder, user_sets.live(self.root, "shop"), Guard(**anything))
        record_users(self.root, "shop", folder)
        return user_sets.live(self.root, "shop")


@pytest.fixture
def account(serve: Callable[..., str]) -> Account:
    return Account(serve)


@pytest.fixture
def shop(staging: Path, tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch) -> Shop:
    from vendor_http import retry

    monkeypatch.setattr("klaviyo.batch.REST", 0.1)
    monkeypatch.setattr("klaviyo.client.Pacer.before", lambda _: None)  # this account has no limits
    monkeypatch.setattr(retry.Retry, "__init__", _impatient(retry.Retry.__init__))
    (tmp_path / "publishers").mkdir()
    return Shop(staging, tmp_path / "publishers", account, monkeypatch)


def _impatient(usual: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        usual(self, *arguments, **{**options, "sleep": lambda _: None})

    return init


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Played:
    """One wait, played to its end as Airflow does; ``meanwhile`` happens each time the task has deferred."""

    def __init__(self, deferrable: bool, meanwhile: Callable[[int], None] | None = None, **options: Any) -> None:
        self.deferrals: list[dict[str, Any]] = []
        self.options = {"task_id": "wait", "publisher": "shop", "deadline": soon(20), **options}
        self.options["deferrable"] = deferrable
        self.context: Any = {"run_id": self.options.pop("run_id", "manual__1"), "dag_run": SimpleNamespace()}
        self.meanwhile = meanwhile

    def run(self) -> dict[str, Any]:
        self.operator = WaitOperator(**self.options)
        try:
            return self.operator.execute(self.context)
        except TaskDeferred as deferred:
            return self._resume(deferred)

    def _resume(self, deferred: TaskDeferred) -> dict[str, Any]:
        path, arguments = deferred.trigger.serialize()
        arguments = json.loads(json.dumps(arguments))
        self.deferrals.append(arguments)
        if self.meanwhile:
            self.meanwhile(len(self.deferrals))
        event = asyncio.run(_first(path, arguments))
        self.operator = WaitOperator(**self.options)
        try:
            return self.operator.resume(self.context, event=json.loads(json.dumps(event)))
        except TaskDeferred as again:
            return self._resume(again)


async def _first(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    (event,) = [event async for event in getattr(import_module(module), name)(**arguments).run()]
    return event.payload


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    return list(pq.read_table(to_path(result["uri"]) / "recommendations").to_pylist())


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
    assert not list(folder.parent.glob(".incoming-*"))


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


class TestComplete:
    """Who was not read would be delivered as somebody without recommendations."""

    def test_a_listing_that_ends_early_is_no_batch(self, shop: Shop) -> None:
        shop.account.size, shop.account.ends_after = 500, 198
        shop.accepted("one", range(500))
        asked: list[str] = []
        shop.account.before = asked.append

        def meanwhile(number: int) -> None:
            shop.account.publish(1)
            shop.account.ends_after = 198 if number < 3 else None

        played = Played(True, meanwhile=meanwhile)
        result = played.run()
        assert (result["outcome"], result["users"], len(played.deferrals)) == ("fresh", 500, 3)
        for deferral in played.deferrals[1:]:
            assert "list:LIST01 is not complete: 298 distinct profiles were read" in deferral["reason"]
            assert "Klaviyo counted 500 before, and after 500" in deferral["reason"]
        begun = [path for path in asked if "LIST01/profiles" in path and "cursor" not in path]
        assert len(begun) == 3, "what was not complete is read anew"

    @pytest.mark.parametrize(("counted", "taken"), [(303, True), (304, False), (298, True), (297, False), (0, False)])
    def test_the_audiences_tolerance_decides(self, shop: Shop, counted: int, taken: bool) -> None:
        shop.account.size, shop.account.counted = 300, counted
        shop.accepted("one", range(300))
        played = Played(True, meanwhile=lambda _: shop.account.publish(1), deadline=soon(20 if taken else 0.8))
        if taken:
            assert played.run()["outcome"] == "fresh"
            return
        with pytest.raises(NoBatchInTime, match="list:LIST01 is not complete"):
            played.run()
        assert batches.latest(shop.root, "shop") is None

    def test_all_profiles_have_no_count(self, shop: Shop, tmp_path: Path) -> None:
        path = tmp_path / "publishers" / "shop.yaml"
        path.write_text(PUBLISHER.replace(", lists: [LIST01], segments: [SEGM01]", ""))
        shop.account.counted = 1
        shop.accepted("one")
        assert Played(True, meanwhile=lambda _: shop.account.publish(1)).run()["users"] == 20
        assert "/api/lists/LIST01" not in shop.account.asked

    def test_who_left_since_is_warned_of(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        shop.accepted("one", range(22))
        result = Played(True, meanwhile=lambda _: shop.account.publish(1)).run()
        assert read_json(to_path(result["uri"]) / "fetch.json")["profiles"]["missing"] == 2
        assert "2 of 22 profiles of the accepted list are not among those read, more than 1 %" in caplog.text

    def test_nobody_missing_is_not_warned_of(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        shop.accepted("one")
        Played(True, meanwhile=lambda _: shop.account.publish(1)).run()
        assert "not among those read" not in caplog.text

    def test_a_circle_over_staged_pages_ends_and_is_read_anew(self, shop: Shop) -> None:
        shop.account.size, shop.account.circle_from = 1_000, 99
        shop.accepted("one", range(1_000))
        asked: list[str] = []
        shop.account.before = asked.append

        def meanwhile(number: int) -> None:
            shop.account.publish(1)
            shop.account.circle_from = 99 if number < 4 else None

        played = Played(True, meanwhile=meanwhile)
        result = played.run()
        assert (result["outcome"], result["users"]) == ("fresh", 1_000)
        reasons = [deferral["reason"] for deferral in played.deferrals[1:]]
        assert any("lead in a circle" in reason for reason in reasons)
        assert any("would never end" in reason for reason in reasons)
        fetched = read_json(to_path(result["uri"]) / "fetch.json")["profiles"]
        assert fetched["read"] < 1_600, "nothing of the circles is left"


READ = """
import sys, json
from include.audience import segments
from pipeline.wait import WaitOperator
segments.SEGMENT_SECONDS = 0.0
print(json.dumps(WaitOperator(task_id="wait", publisher="shop").resume(
    {"run_id": "manual__1"}, event=json.loads(sys.argv[1]))))
"""
PAGES, LISTED = "/api/lists/LIST01/profiles", 1_000


def test_killed_while_reading_it_goes_on(shop: Shop) -> None:
    account, pages = shop.account, LISTED // 99 + 1
    account.size = LISTED
    user_set = shop.accepted("one", range(LISTED))
    with pytest.raises(TaskDeferred):
        WaitOperator(task_id="wait", publisher="shop").execute({})
    account.publish(1)
    event = {"status": "found", "reason": "", "refused": [], "user_set": user_set.name, "deadline": time.time() + 60}
    account.seconds_a_page = 0.05
    with subprocess.Popen([sys.executable, "-c", READ, json.dumps(event)], env=_environment()) as child:
        while account.asked.count(PAGES) < 6:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert batches.latest(shop.root, "shop") is None
    account.seconds_a_page = 0.0
    account.asked.clear()
    result = WaitOperator(task_id="wait", publisher="shop").resume({"run_id": "manual__1"}, event=event)
    assert (result["outcome"], result["users"]) == ("fresh", LISTED)
    assert 0 < account.asked.count(PAGES) < pages - 3
    segment = LISTED // 2 + LISTED // 2 // 99
    read = read_json(to_path(result["uri"]) / "fetch.json")["profiles"]["read"]
    assert read == LISTED + pages - 1 + segment, "each page once"
    assert not list((shop.root / "shop" / "reading").iterdir())


@pytest.mark.parametrize("published_again", [False, True])
def test_a_read_that_was_throttled_goes_on_if_nothing_changed(shop: Shop, published_again: bool) -> None:
    shop.account.size = 500
    shop.accepted("one", range(500))
    asked: list[str] = []

    def throttle(path: str) -> None:
        if "LIST01/profiles" in path:
            asked.append(path)
            shop.account.troubles = [503] * 20 if len(asked) == 4 else shop.account.troubles

    def meanwhile(number: int) -> None:
        shop.account.troubles.clear()
        shop.account.publish(number if published_again else 1)

    shop.account.before = throttle
    played = Played(True, meanwhile=meanwhile)
    result = played.run()
    assert (result["outcome"], len(played.deferrals)) == ("fresh", 2)
    assert "could not be read" in played.deferrals[1]["reason"]
    assert sum("cursor" not in path for path in asked) == 1 + published_again
    assert {row["recommendation_id"][:2] for row in rows_of(result)} == {"2-" if published_again else "1-"}


def _environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[3]
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}


def test_against_the_stand_in_with_its_dirt(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, filters and limits of the real interface; then coverage, as of any other batch."""
    import requests

    from include.audience import user_sets
    from include.publishers.config import load_publisher
    from include.recommendations import coverage
    from include.sandbox.fill import fill_klaviyo
    from include.sandbox.server import running
    from klaviyo.client import Client
    from klaviyo.connections import Settings

    with running(tmp_path / "box") as box:
        fill_klaviyo(tmp_path / "box", 300)
        monkeypatch.setattr(Pacer, "before", PACED)  # this one has limits
        connection = {"conn_type": "klaviyo", "host": box.url, "password": "pk_sandbox", "extra": NO_CERTIFICATES}
        monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(connection))
        with Client(Settings(box.url, "pk_sandbox")) as client:
            rows = [row for page in client.profiles("list:LIST01", fields=["external_id"]) for row in page.rows]
        ids = {row["attributes"]["external_id"]: row["id"] for row in rows if row["attributes"]["external_id"]}
        ids.pop("default", None)
        people = [(user, key) for user, key in ids.items() if user == user.strip() and len(user) < 200]
        user_set = shop.accepted("one", people=people)

        def publish(_: int) -> None:
            requests.post(f"{box.url}/_sandbox/klaviyo/publish", json={"types": {TYPE: 2}}).raise_for_status()

        result = Played(True, meanwhile=publish).run()
        with pytest.raises(NoBatchInTime):
            Played(True, run_id="scheduled__2", since=soon(0), deadline=soon(0.3)).run()
    settings, folder = load_publisher("shop"), to_path(result["uri"])
    figures = coverage.reconcile(
        folder, user_sets.load(shop.root, "shop", user_set.name), settings.batch, settings.coverage
    )
    coverage.check(figures)
    assert 0.6 * len(people) < result["users"] < len(people)
    assert figures["personalised"] == result["users"]
    assert read_json(folder / "manifest.json")["default"]["rows"] == 2
