"""The main job on real data: ``python -m demo``. Warehouse → sandbox → Airflow → backfill → campaigns → deliveries.

Every step is what a shop would do: a backfill of the year's purchases, a campaign triggered through Airflow's REST API,
and a second newsletter (``demo.klaviyo``), whose campaign is scheduled in Klaviyo and starts its run by itself. What
else is sent (``demo.senders``): December once more, pins, and interactions.
The outputs and ``summary.json`` lie in ``build/demo``. The exit code is 0 only if every step and every sum held.
"""

import argparse
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import requests

from demo import klaviyo, senders, warehouse
from demo.airflow import DONE, Api, environment, prepare_database, wait_until
from demo.processes import DemoError, free_port, started
from demo.progress import Progress
from demo.report import check, last_error, summary, table, write
from include.staging import PROJECT_ROOT

CAMPAIGN_SQL = PROJECT_ROOT / "include" / "sql" / "demo_campaign_audience.sql"
CAMPAIGN_RUN = "campaign-13"
DAGS = {
    "audience__demo",
    "past_transactions__demo",
    "recommendations__demo",
    "campaign",
    klaviyo.HISTORY,
    klaviyo.WATCHER,
    *(dag for dag, _, _ in senders.RUNS),
    "settle_upload",
}
TODAY = "2018-01-01"
"""The day after the data's year: the sandbox recommends to those who bought in the six months before."""
SHOP_ZONE = ZoneInfo("America/New_York")
"""Whose months the publisher file speaks of."""


@dataclass(frozen=True)
class World:
    """The running demo: where things lie and how to reach them; ``klaviyo`` is the second publisher's sandbox."""

    folder: Path
    airflow: Api
    sandbox: str
    klaviyo: str
    progress: Progress
    shop: dict[str, Any]


@contextmanager
def world(folder: Path, progress: Progress) -> Iterator[World]:
    """Warehouse, sandbox and Airflow, running while the block lasts and gone after it."""
    for old in ("airflow", "staging", "sandbox", "sandbox-klaviyo"):
        shutil.rmtree(folder / old, ignore_errors=True)
    (folder / "summary.json").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    shop = warehouse.build(folder / "warehouse.sqlite")
    progress.step(f"warehouse: {shop['purchases']:,} purchases in {shop['baskets']:,} baskets, SQLite")
    sandbox_port, klaviyo_port, airflow_port = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        sandbox = _sandbox(stack, folder / "sandbox", sandbox_port, "1234-5678")
        progress.step(f"sandbox of Luigi's Box at {sandbox}")
        profiles = klaviyo.fill(folder)
        other = _sandbox(stack, folder / "sandbox-klaviyo", klaviyo_port, klaviyo.TRACKER)
        progress.step(f"sandbox of a second tracker, and of Klaviyo with {profiles:,} profiles, at {other}")
        forms = connections(folder, sandbox_port) | klaviyo.connections(klaviyo_port)
        forms |= senders.connection(sandbox_port)
        settings = environment(folder / "airflow", airflow_port, folder / "staging", forms)
        prepare_database(folder / "airflow")
        log = folder / "airflow.log"
        standalone = stack.enter_context(started([sys.executable, "-m", "airflow", "standalone"], settings, log))
        airflow = Api(f"http://127.0.0.1:{airflow_port}")
        progress.show("airflow standalone is starting")
        wait_until(f"Airflow (see {log})", lambda: standalone.poll() is not None or airflow.healthy(), 180)
        if standalone.poll() is not None:
            raise DemoError(f"airflow standalone ended by itself; see {log}")
        airflow.log_in()
        wait_until(f"the DAGs (see {log})", lambda: airflow.dags() >= DAGS, 120)
        airflow.add_pool("luigisbox", 1, "Uploads to Luigi's Box, one at a time")
        airflow.add_pool("klaviyo", 2, "Klaviyo: all share the account's quota")
        airflow.add_pool("advisable", 1, "Interactions, one sender at a time")
        progress.step(f"Airflow at {airflow.url}: scheduler, triggerer and LocalExecutor are healthy")
        try:
            yield World(folder, airflow, sandbox, other, progress, shop)
        finally:
            progress.step("stopping Airflow and the sandbox; this takes some seconds")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _sandbox(stack: ExitStack, state: Path, port: int, tracker: str) -> str:
    """Start a sandbox; gives its address."""
    command = [
        *(sys.executable, "-m", "include.sandbox", "--port", str(port), "--state", str(state), "--tracker", tracker),
        *("--publish-after", "8", "--today", TODAY, "--types", "mail-basket=8,mail-discovery=4"),
        *("--catalogue", str(state.with_name("catalogue.csv"))),
    ]
    address, log = f"http://127.0.0.1:{port}", state.with_suffix(".log")
    stack.enter_context(started(command, {}, log))
    wait_until(f"sandbox at {address} (see {log})", lambda: _answers(f"{address}/health"), 30)
    return address


def connections(folder: Path, sandbox_port: int) -> dict[str, dict[str, Any]]:
    """Airflow connections of the first publisher."""
    sandbox = {"host": "127.0.0.1", "schema": "http", "port": sandbox_port}
    return {
        "luigisbox_demo": {
            "conn_type": "luigisbox",
            "host": f"http://127.0.0.1:{sandbox_port}",
            "login": "1234-5678",
            "password": "your_private_api_key",
        },
        "batch_demo": {"conn_type": "http", **sandbox},
        "warehouse_demo": {"conn_type": "sqlite", "host": str(folder / "warehouse.sqlite")},
    }


def send_history(world: World, months: int) -> None:
    """Backfill the purchases of the year's last months, one interval a month; the second tracker gets half a year."""
    dag, first = "past_transactions__demo", datetime(2017, 13 - months, 1, tzinfo=SHOP_ZONE)
    # The scheduler leaves a paused DAG alone, so it cannot meet a backfill that is only half created.
    world.airflow.backfill(dag, first, datetime(2017, 12, 31, tzinfo=SHOP_ZONE), parallel=3)
    world.airflow.unpause(dag)
    other = klaviyo.send_history(world.airflow, datetime(2017, max(7, 13 - months), 1, tzinfo=SHOP_ZONE))
    began = time.monotonic()

    def finished() -> bool:
        runs = [run for run in world.airflow.runs(dag) if run["run_type"] == "backfill"]
        states = Counter(run["state"] for run in runs)
        world.progress.show(f"past transactions: {states['success']} of {months} months sent")
        if states["failed"]:
            raise DemoError(f"a run of {dag} failed. {last_error(world.folder / 'airflow' / 'logs', dag)}")
        return states["success"] == months and other()

    wait_until("the backfill", finished, 600)
    world.progress.step(
        f"past transactions: a backfill of {months} monthly runs, and one run for the second tracker, "
        f"{time.monotonic() - began:.0f} s"
    )


def send_the_rest(world: World) -> None:
    """December once more, the pins, and a day's interactions."""
    began = time.monotonic()
    senders.trigger(world.airflow, SHOP_ZONE)
    world.progress.show("December once more, pins, interactions")
    wait_until("the other senders", senders.finished(world.airflow, world.folder / "airflow" / "logs"), 300)
    world.progress.step(f"December once more, pins, interactions: {time.monotonic() - began:.0f} s")


def send_campaigns(world: World) -> dict[str, set[tuple[str, str]]]:
    """Trigger campaign 13 and schedule a newsletter in Klaviyo; watch the two runs.

    Returns:
        every (task, state) that was seen, by run id.
    """
    world.airflow.unpause("campaign")
    klaviyo.schedule_campaign(world.klaviyo)
    world.airflow.unpause(klaviyo.WATCHER)
    world.airflow.reparse(klaviyo.WATCHER)
    conf = {"publisher": "demo", "audience_sql": CAMPAIGN_SQL.read_text("utf-8")}
    world.airflow.trigger("campaign", CAMPAIGN_RUN, conf)
    began, seen, done = time.monotonic(), dict[str, set[tuple[str, str]]](), set[str]()

    def finished() -> bool:
        runs = {run["dag_run_id"]: run["state"] for run in world.airflow.runs("campaign")}
        for run_id in runs.keys() - done:
            tasks = world.airflow.tasks("campaign", run_id)
            seen.setdefault(run_id, set()).update((task["task_id"], task["state"]) for task in tasks)
            active = sorted({f"{task['task_id']} {task['state']}" for task in tasks if task["state"] in ACTIVE})
            world.progress.show(f"{run_id}: {', '.join(active) or 'between two tasks'}")
            if runs[run_id] == "failed":
                bad = sorted({task["task_id"] for task in tasks if task["state"] == "failed"})
                why = last_error(world.folder / "airflow" / "logs", "campaign")
                raise DemoError(f"{run_id} failed in {', '.join(bad)}. {why}")
            if runs[run_id] in DONE:
                done.add(run_id)
                world.progress.step(f"{run_id}: done, {time.monotonic() - began:.0f} s")
        return len(done) == CAMPAIGNS

    wait_until("the campaigns", finished, 600)
    return seen


CAMPAIGNS = 2
ACTIVE = {"queued", "running", "deferred", "up_for_retry"}


def run(folder: Path, months: int = 12, stay: bool = False) -> dict[str, Any]:
    """Run the whole demo and return what ``summary.json`` holds.

    Args:
        folder: where everything lies, ``build/demo``.
        months: how many months of purchases to send, counted back from the year's end.
        stay: leave Airflow and the sandbox running until Ctrl-C.

    Raises:
        DemoError: a step failed or a sum did not hold.
    """
    progress = Progress()
    with world(folder, progress) as running:
        send_history(running, months)
        send_the_rest(running)
        seen = send_campaigns(running)
        figures = summary(running.airflow, CAMPAIGN_RUN, running.sandbox, running.shop, seen[CAMPAIGN_RUN], folder)
        figures["klaviyo"] = klaviyo.figures(running.airflow, running.klaviyo, seen, folder)
        figures["senders"] = senders.figures(running.airflow, running.sandbox, folder)
        figures["seconds"] = round(progress.seconds, 1)
        write(folder / "summary.json", figures)
        print(table(figures, folder))
        print(klaviyo.table(figures["klaviyo"]))
        print(senders.table(figures["senders"]))
        wrong = _wrong(figures)
        if stay:
            print(wrong or "", file=sys.stderr)
            _stay(running)
        if wrong:
            raise DemoError(wrong)
    return figures


def _wrong(figures: dict[str, Any]) -> str:
    """The sums that do not hold, in words; empty if all do."""
    try:
        check(figures)
        klaviyo.check(figures["klaviyo"])
        senders.check(figures["senders"], figures["history"])
    except DemoError as error:
        return str(error)
    return ""


def _stay(running: World) -> None:
    running.progress.step(
        f"Airflow's UI is at {running.airflow.url}, the sandbox at {running.sandbox}. Ctrl-C ends both."
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The main job on real data, in real Airflow.")
    parser.add_argument("--ui", action="store_true", help="leave Airflow running at the end, until Ctrl-C")
    parser.add_argument("--months", type=int, default=12, choices=range(1, 13), help="months of purchases to send")
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "build" / "demo", help="where outputs go")
    arguments = parser.parse_args()
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, signal.default_int_handler)
    try:
        run(arguments.folder.resolve(), arguments.months, arguments.ui)
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
