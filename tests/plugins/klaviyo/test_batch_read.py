"""All profiles are read for a batch: whole or not, killed, throttled, and by the real interface's rules."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.recommendations import batches
from include.staging import read_json, to_path
from luigisbox.wait import NoBatchInTime
from pipeline.wait import WaitOperator
from tests.plugins.klaviyo.batches import NO_CERTIFICATES, PUBLISHER, TYPE, Played, Shop, rows_of, soon
from vendor_http.pacing import Pacer

PACED = Pacer.before


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
