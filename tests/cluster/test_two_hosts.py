"""Two machines that share nothing but the object store and the services do what one machine does, byte by byte.

December's purchases, then a campaign, with CeleryExecutor. During the campaign a machine is killed in the middle of
writing the list, and later the triggerer that has the wait. ``python -m tests.cluster.kills`` kills at all moments.
"""

import os
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster import kills, outcome, shop
from tests.cluster.alone import alone
from tests.cluster.world import REDIS, WORKERS, world
from tests.services import no_service

HISTORY = shop.run(shop.HISTORY, "december", **shop.WINDOW)
CAMPAIGN = shop.campaign(13)

pytestmark = pytest.mark.timeout(900)


def missing() -> str:
    """Which service this machine does not have."""
    broker = urlsplit(os.environ.get("CLUSTER_BROKER") or REDIS)
    for name, host, port in (("Postgres", "127.0.0.1", 5432), ("the broker", broker.hostname, broker.port)):
        try:
            socket.create_connection((host or "", port or 0), timeout=2).close()
        except OSError as error:
            return f"no {name} at {host}:{port}: {error}"
    return ""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if reason := missing():
        no_service(reason)
    folder = tmp_path_factory.mktemp("two-hosts")
    with alone(folder / "alone", [HISTORY, CAMPAIGN]) as one_machine, world(folder / "cluster") as running:
        running.start_run(HISTORY)
        running.finish_run(HISTORY)
        running.delay_batch(20)
        running.start_run(CAMPAIGN)
        blows = [kills.kill_worker(running, CAMPAIGN, kills.BUILD), kills.kill_triggerer(running, CAMPAIGN)]
        tasks = running.finish_run(CAMPAIGN)
        told = {"tasks": tasks, "blows": blows, "apart": running.apart, "folder": folder}
        return {**told, "two": running.came(), "one": one_machine()}


def test_both_machines_did_tasks(story: dict[str, Any]) -> None:
    assert {task["hostname"] for task in story["tasks"] if task["hostname"]} == set(WORKERS)


def test_what_came_of_it_is_the_same_as_on_one_machine(story: dict[str, Any]) -> None:
    one, two = story["one"], story["two"]
    assert len(two["files"]) > 50
    assert "\n".join(outcome.difference(one["files"], two["files"])) == ""
    assert two["received"] == one["received"]
    assert two["rows"] == one["rows"]


def test_the_ledger_has_every_session_once(story: dict[str, Any]) -> None:
    counts, ledger = story["two"]["received"]["counts"], story["two"]["ledger"]
    assert ledger == story["one"]["ledger"]
    assert {month["state"] for month in ledger} == {"confirmed"}
    assert sum(month["units"] for month in ledger) == counts["sessions"]
    assert sum(month["rows"] for month in ledger) == counts["transactions"]
    assert counts["straddling_sessions"] == 0


def test_another_worker_and_another_triggerer_went_on(story: dict[str, Any]) -> None:
    worker, triggerer = story["blows"]
    assert {worker["killed"], worker["by"]} == set(WORKERS)
    assert triggerer["by"] != triggerer["killed"]
    assert triggerer["same_deadline"]


def test_machines_share_no_disk_and_no_network(story: dict[str, Any]) -> None:
    hosts = story["folder"] / "cluster" / "hosts"
    data = [path for path in hosts.rglob("*") if path.suffix in (".parquet", ".json", ".xml", ".jsonl")]
    assert [path for path in data if "tmp" not in path.relative_to(hosts).parts] == []
    if story["apart"]:
        pytest.skip(f"they were plain processes with folders of their own: {story['apart']}")
    assert {path.name for path in hosts.iterdir()} == set(WORKERS)
