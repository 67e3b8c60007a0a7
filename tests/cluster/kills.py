"""Kills at certain moments, and how long it takes until another goes on: all by ``python -m tests.cluster.kills``.

A moment is a piece of a conversation with a service (an object that is written, a body that is sent) at which the
connection is stopped; then the machine that stands there is killed.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from demo.airflow import wait_until
from demo.processes import DemoError, free_port
from include.ledger import postgres_ledger
from ledgers.settle import NOT_ARRIVED
from tests.cluster import outcome, shop
from tests.cluster.alone import alone
from tests.cluster.world import TRIGGERERS, World
from tests.cluster.world import world as cluster

WRITES = "PUT /[^ ]*/"
LAST_ATTEMPT = "not the same: demo/transactions/past_transactions__demo--second-half/sent.json"
"""The books of the last attempt count what the killed one had sent as sent before."""
WAIT = 300
"""Seconds until a moment comes, at worst."""


@dataclass(frozen=True)
class Moment:
    """When a worker is killed: in which task, at which piece of its conversation with which service."""

    name: str
    task: str
    gate: str
    pattern: str
    after: int = 0
    nth: int = 1


PULL = Moment("pull", "audience.pull", "store", f"{WRITES}raw/part-")
BUILD = Moment("build", "audience.build", "store", f"{WRITES}chunks/users-")
UPLOAD = Moment("upload", "audience.upload", "sandbox", "POST /v1/recommender/batching/", after=4000)
PARSE = Moment("parse", "recommendations.wait", "store", f"{WRITES}recommendations/part-", nth=2)
DELIVER = Moment("delivery", "recommendations.deliver", "store", f"{WRITES}feed/part-")
WRITE_BACK = Moment("write-back", "recommendations.write_back", "sandbox", "POST /api/profile-bulk-import-jobs", 2000)
MOMENTS = (PULL, BUILD, UPLOAD, PARSE, DELIVER, WRITE_BACK)


def kill_worker(world: World, wish: dict[str, Any], moment: Moment, revive: bool = True) -> dict[str, Any]:
    """Kill the worker that comes to this moment; gives who went on, and after how many seconds."""
    hold = world.gates[moment.gate].hold(moment.pattern, moment.after, moment.nth)
    hold.wait(WAIT)
    standing = [task for task in world.tasks(wish) if task["task_id"] == moment.task and task["state"] == "running"]
    killed = world.machine_at(hold.peer) or standing[0]["hostname"]
    (hit, *_) = [task for task in standing if task["hostname"] == killed]
    world.kill(killed)
    began = time.monotonic()
    hold.drop()

    def taken_over() -> bool:
        return world.tries(wish, hit)[-1]["hostname"] not in (killed, "", None)

    wait_until(f"{moment.task} on another worker", taken_over, 120, pause=0.3)
    seconds = round(time.monotonic() - began, 1)
    if revive:
        world.revive(killed)
    tries = world.tries(wish, hit)
    return {"moment": moment.name, "killed": killed, "by": tries[-1]["hostname"], "seconds": seconds}


def kill_triggerer(world: World, wish: dict[str, Any], task_id: str = "recommendations.wait") -> dict[str, Any]:
    """Kill the triggerer that has a task's trigger; gives who went on with what, and after how many seconds."""
    world.task(wish, task_id, "deferred", 120)
    wait_until("a triggerer that has it", lambda: bool(triggers(world)), 60, pause=0.2)
    (before,) = triggers(world)
    killed = before["host"]
    world.kill(killed)
    began = time.monotonic()

    def taken_over() -> bool:
        return [each["host"] for each in triggers(world)] == [*(set(TRIGGERERS) - {killed})]

    wait_until("another triggerer has it", taken_over, 120, pause=0.3)
    seconds = round(time.monotonic() - began, 1)
    (after,) = triggers(world)
    world.revive(killed)
    same = all(before[key] == after[key] for key in ("id", "kwargs"))
    return {"moment": "wait", "killed": killed, "by": after["host"], "seconds": seconds, "same_deadline": same}


def triggers(world: World) -> list[dict[str, Any]]:
    """The triggers that a triggerer has: id, arguments as they are stored (the deadline is one), and its host."""
    query = "SELECT t.id, t.kwargs, j.hostname FROM trigger t JOIN job j ON j.id = t.triggerer_id"
    with closing(psycopg2.connect(dbname=world.metadata, **shop.POSTGRES)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return [{"id": row[0], "kwargs": row[1], "host": row[2]} for row in cursor.fetchall()]


def restart_scheduler(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """Kill the scheduler while a task runs, and start it again; gives how long until a task after that was begun."""
    hold = world.gates["store"].hold(f"{WRITES}verdict")
    hold.wait(WAIT)
    began = time.monotonic()
    world.kill("scheduler")
    hold.release()
    world.task(wish, "audience.judge", "success", 60)
    world.revive("scheduler")
    wait_until("the next task", lambda: _begun(world, wish, "audience.upload"), 120, pause=0.3)
    return {"moment": "judge", "killed": "scheduler", "by": "scheduler", "seconds": _since(began)}


def restart_broker(
    world: World, wish: dict[str, Any], stop: Callable[[], None], start: Callable[[], None]
) -> dict[str, Any]:
    """Kill the broker while a task runs, and start it later; gives how long until the next one began."""
    hold = world.gates["store"].hold(f"{WRITES}coverage")
    hold.wait(WAIT)
    began = time.monotonic()
    stop()
    hold.release()
    world.task(wish, "recommendations.reconcile", "success", 60)
    time.sleep(5)  # the scheduler tries to queue the next one meanwhile
    start()
    wait_until("the next task", lambda: _begun(world, wish, "recommendations.fan_out"), WAIT, pause=0.3)
    return {"moment": "reconcile", "killed": "broker", "by": "broker", "seconds": _since(began)}


def kill_sender_of_purchases(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """Kill the worker in the middle of a file of purchases: its fate is unknown until somebody settles it."""
    moment = Moment("upload of purchases", "past_transactions.upload", "sandbox", "POST /v1/interactions/", after=4000)
    told = kill_worker(world, wish, moment)
    world.finish_run(wish, expect="failed")
    ledger = postgres_ledger(lambda: psycopg2.connect(world.ledger))
    (entry,) = ledger.entries("demo/transactions", ("sending", "unknown"))
    conf = {"publisher": "demo", "file": entry.sha256[:12], "outcome": NOT_ARRIVED, "why": "the sender was killed"}
    settle = shop.run("settle_upload", f"settle-{entry.sha256[:12]}", **conf)
    world.start_run(settle)
    world.finish_run(settle)
    body = {
        "dry_run": False,
        "dag_run_id": wish["run_id"],
        "task_ids": ["past_transactions.upload"],
        "only_failed": True,
    }
    world.airflow.call("POST", f"/dags/{wish['dag']}/clearTaskInstances", json=body)
    return told


def _begun(world: World, wish: dict[str, Any], task_id: str) -> bool:
    states = {task["state"] for task in world.tasks(wish) if task["task_id"] == task_id}
    return bool(states & {"running", "success", "deferred"})


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


BORDER = "2017-12-16T05:00:00+00:00"
FIRST_HALF = shop.run(shop.HISTORY, "first-half", window_start=shop.WINDOW["window_start"], window_end=BORDER)
SECOND_HALF = shop.run(shop.HISTORY, "second-half", window_start=BORDER, window_end=shop.WINDOW["window_end"])
EVERYBODY = shop.run(shop.AUDIENCE, "everybody")
RAW = Moment("pull of purchases", "past_transactions.pull", "store", f"{WRITES}raw/part-")
FILES = Moment("build of purchases", "past_transactions.build", "store", f"{WRITES}chunks/transactions-", nth=2)
"""Objects of some size are uploaded in parts; the first piece that names one may be the whole of it."""


def main() -> int:
    """Do all, print what took how long, and hold what came against the single machine's; gives 0 if it is the same."""
    say = print
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    told: list[dict[str, Any]] = []
    failed: list[str] = []
    wishes = [FIRST_HALF, SECOND_HALF, EVERYBODY, *map(shop.campaign, (13, 8, 18))]
    with ExitStack() as stack:
        one_machine = stack.enter_context(alone(folder / "alone", wishes))
        redis, broker = None, os.environ.get("CLUSTER_BROKER", "")
        if not broker:
            redis = stack.enter_context(Redis.running(folder / "redis"))
            broker = redis.url
        world = stack.enter_context(cluster(folder / "cluster", broker))
        say(f"{folder}; broker {broker.partition('://')[0]}; machines: {world.apart or 'namespaces'}", flush=True)

        def story(wish: dict[str, Any], *blows: Callable[[World, dict[str, Any]], dict[str, Any]]) -> None:
            world.start_run(wish)
            try:
                for blow in blows:
                    told.append({"run": wish["run_id"], **blow(world, wish)})
                    say(told[-1], flush=True)
                world.finish_run(wish, 600)
                say(wish["run_id"], "success", flush=True)
            except (AssertionError, DemoError) as error:  # the others may tell something all the same
                failed.append(f"{wish['run_id']}: {error}")
                say(failed[-1], flush=True)

        def at(moment: Moment) -> Callable[[World, dict[str, Any]], dict[str, Any]]:
            return lambda world, wish: kill_worker(world, wish, moment)

        story(FIRST_HALF, at(RAW), at(FILES))
        story(SECOND_HALF, kill_sender_of_purchases)
        story(EVERYBODY, at(PULL))
        story(shop.campaign(13), at(BUILD), at(PARSE), at(DELIVER))
        world.delay_batch(30)
        story(shop.campaign(8), at(UPLOAD), kill_triggerer, at(WRITE_BACK))
        broken = [lambda world, wish: restart_broker(world, wish, redis.kill, redis.start)] if redis else []
        story(shop.campaign(18), restart_scheduler, *broken)
        one, two = one_machine(), world.came()
    different = [name for name in ("received", "rows", "ledger") if one[name] != two[name]]
    different += [line for line in outcome.difference(one["files"], two["files"]) if line != LAST_ATTEMPT]
    say(json.dumps(told, indent=1))
    say(f"{len(two['files'])} files; different: {different or 'nothing'}")
    say("ledger:", two["ledger"], "sandbox:", two["received"]["counts"])
    (folder / "told.json").write_text(json.dumps({"told": told, "one": one, "two": two}, default=str))
    return 1 if different or failed else 0


class Redis:
    """A broker of its own, which keeps its queue on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> "Iterator[Redis]":
        """One that runs while the block lasts."""
        folder.mkdir()
        made = cls(folder)
        made.start()
        try:
            yield made
        finally:
            made.kill()

    def start(self) -> None:
        """Start it, with what it kept."""
        options = {"port": self._port, "dir": self._folder, "appendonly": "yes", "save": "", "bind": "127.0.0.1"}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        wait_until("redis", lambda: _listens(self._port), 20, pause=0.1)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
