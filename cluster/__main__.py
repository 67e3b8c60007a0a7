"""The whole cluster on this machine: ``python -m cluster``. The services of docker-compose.yaml, without containers.

Postgres and Redis are the machine's (databases of the cluster's own, empty at each start); the API server, scheduler,
DAG processor, triggerer, two workers, an S3 and the sandbox are processes, each with a home of its own below
``build/cluster``. The demo's campaigns then run on it, to be looked at in Airflow's UI, until Ctrl-C.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.compose import LOCAL, read_compose, read_env
from cluster.processes import Cluster
from cluster.services import POSTGRES_ADDRESS, drop_databases, empty_queue, fresh_databases
from demo import klaviyo, senders, warehouse
from demo.__main__ import DAGS, TODAY, World, connections, send_campaigns, send_history, send_the_rest
from demo.airflow import Api, wait_until
from demo.processes import DemoError, undisturbed
from demo.progress import Progress
from include.staging import PROJECT_ROOT

DATABASES = ("newsletters_cluster", "newsletters_cluster_ledger")
BROKER = "redis://127.0.0.1:6379/9"
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
WORKERS = ("worker", "worker-2")
SMALL = {
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "3",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
}
"""What makes the cluster small and quick enough for one machine."""


def settings() -> dict[str, str]:
    """Those of ``.env.local``, with the machine's services for the file's, and secrets of this run.

    ``BROKER_URL`` of the environment names another broker than the machine's Redis.
    """
    metadata, ledger = (f"{POSTGRES_ADDRESS}/{name}" for name in DATABASES)
    return {
        **read_env(LOCAL),
        "PUBLISHERS_FOLDER": "include/publishers",  # the demo's; those of the try-out need its Postgres
        "METADATA_URL": metadata.replace("postgresql:", "postgresql+psycopg2:"),
        "LEDGER_URL": ledger,
        "BROKER_URL": os.environ.get("BROKER_URL") or BROKER,
        "ADMIN_PASSWORD": secrets.token_hex(8),
        "API_SECRET_KEY": secrets.token_hex(32),
        "JWT_SECRET": secrets.token_hex(64),
    }


def prepare(cluster: Cluster, progress: Progress) -> dict[str, Any]:
    """Make the shop's data, start what Airflow talks to, and tell all later services the connections.

    Returns:
        figures of the shop, as of ``demo.warehouse.build``.
    """
    folder = cluster.folder
    shop = warehouse.build(folder / "warehouse.sqlite")
    klaviyo.fill(folder)
    progress.step(f"the shop: {shop['purchases']:,} purchases, {shop['households']:,} households")
    usual = ("--today", TODAY, "--catalogue", str(folder / "catalogue.csv"))
    cluster.start("s3")
    first = cluster.start("sandbox", more=usual)
    state = ("--state", str(folder / "sandbox-klaviyo"), "--tracker", klaviyo.TRACKER)
    second = cluster.start("sandbox", "sandbox-klaviyo", more=(*usual, *state))
    names = ["s3", "sandbox", "sandbox-klaviyo"]
    cluster.wait_healthy(names, 60, lambda name: progress.step(f"{name}: healthy"))
    port, other = first.ports[8090], second.ports[8090]
    forms = connections(folder, port) | klaviyo.connections(other) | senders.connection(port)
    found = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(form) for name, form in forms.items()}
    cluster.place = replace(cluster.place, environment={**SMALL, **found})
    return shop


def start_airflow(cluster: Cluster, progress: Progress) -> None:
    """Migrate, make pools, start every part of Airflow, and wait until all are healthy."""
    progress.show("migrating the metadata database")
    cluster.run("init", 180)
    progress.step("init: database and pools are made")
    for name in AIRFLOW:
        cluster.start(name)
    for name in WORKERS:
        cluster.start("worker", name)
    # Those with cheap checks first: the checks of the others import Airflow, which would hold up what is starting.
    for names in (AIRFLOW[:2], (*AIRFLOW[2:], *WORKERS)):
        cluster.wait_healthy(names, 300, lambda name: progress.step(f"{name}: healthy"))


def campaigns(cluster: Cluster, airflow: Api, shop: dict[str, Any], months: int, progress: Progress) -> None:
    """Send purchases, and run the demo's two campaigns, on the cluster.

    Raises:
        DemoError: a run failed.
    """
    wait_until("the DAGs", lambda: airflow.dags() >= DAGS, 180)
    first, second = (f"http://127.0.0.1:{cluster.running[name].ports[8090]}" for name in ("sandbox", "sandbox-klaviyo"))
    world = World(cluster.folder, airflow, first, second, progress, shop)
    try:
        send_history(world, months)
        send_the_rest(world)
        runs = sorted(send_campaigns(world))
    except DemoError as error:
        raise DemoError(f"{error}\n{failures(airflow)}") from None
    for run in runs:
        hosts = Counter(task["hostname"] for task in airflow.tasks("campaign", run) if task["hostname"])
        spread = ", ".join(f"{count} on {host}" for host, count in sorted(hosts.items()))
        progress.step(f"{run}: {hosts.total()} tasks ran, {spread}")


def failures(airflow: Api) -> str:
    """What the failed tasks said in their logs, which lie in the store and are read by Airflow's API."""
    runs = [(dag, run["dag_run_id"]) for dag in sorted(DAGS) for run in airflow.runs(dag) if run["state"] == "failed"]
    tasks = (task for dag, run in runs for task in airflow.tasks(dag, run) if task["state"] == "failed")
    return "\n".join(
        f"{task['dag_id']} {task['dag_run_id']} {task['task_id']}: {_error(airflow, task)}" for task in tasks
    )


def _error(airflow: Api, task: dict[str, Any]) -> str:
    path = (
        f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    )
    lines = airflow.call("GET", path, params={"map_index": task["map_index"]})["content"]
    errors = [line["error_detail"][0] for line in lines if isinstance(line, dict) and line.get("error_detail")]
    return f"{errors[-1]['exc_type']}: {errors[-1]['exc_value']}" if errors else "its log names no error"


def addresses(cluster: Cluster, values: Mapping[str, str]) -> str:
    """What a person needs to look around."""
    rows = [
        (
            "Airflow",
            f"http://{cluster.address('api-server', 8080)}",
            f"user admin, password {values['ADMIN_PASSWORD']}",
        ),
        ("sandbox", f"http://{cluster.address('sandbox', 8090)}", "Luigi's Box, SmartEmailing, Advisable.ai"),
        ("sandbox", f"http://127.0.0.1:{cluster.running['sandbox-klaviyo'].ports[8090]}", "a second tracker, Klaviyo"),
        ("S3", f"http://{cluster.address('s3', 9000)}", "bucket newsletters: staging/ and logs/"),
        ("Postgres", POSTGRES_ADDRESS, f"databases {' and '.join(DATABASES)}"),
        ("broker", re.sub("//.*@", "//…@", values["BROKER_URL"]), "Celery's queue"),
        ("logs", str(cluster.folder / "logs"), "a file for each process"),
    ]
    width = max(len(where) for _, where, _ in rows)
    return "\n".join(["", *(f"  {what:<9} {where:<{width}}  {note}" for what, where, note in rows), ""])


def run(folder: Path, demo: bool, months: int, stay: bool) -> None:
    """Run the cluster until Ctrl-C.

    Args:
        folder: where everything lies; what was there is removed, but for the shop's warehouse.
        demo: run the demo's campaigns on it.
        months: of purchases to send before them.
        stay: do not end after the campaigns.

    Raises:
        DemoError: a service is not healthy, or a run failed.
    """
    progress = Progress()
    for old in folder.glob("*/"):
        shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)
    values = settings()
    fresh_databases(DATABASES)
    try:
        if values["BROKER_URL"] == BROKER:  # what waits in another one is not ours to remove
            empty_queue(BROKER)
        with Cluster(read_compose(values), folder) as cluster:
            shop = prepare(cluster, progress)
            start_airflow(cluster, progress)
            progress.step("the cluster is ready")
            print(addresses(cluster, values), flush=True)
            airflow = Api(f"http://{cluster.address('api-server', 8080)}")
            if demo:
                airflow.log_in("admin", values["ADMIN_PASSWORD"])
                campaigns(cluster, airflow, shop, months, progress)
            if stay:
                progress.step("Ctrl-C ends all of it")
                watch(cluster)
    finally:
        with undisturbed():
            progress.step("everything is stopped")
            drop_databases(DATABASES)
            if values["BROKER_URL"] == BROKER:
                empty_queue(BROKER)


def watch(cluster: Cluster) -> None:
    """Wait for Ctrl-C, or until a service ends by itself.

    Raises:
        DemoError: one did.
    """
    with suppress(KeyboardInterrupt):
        while True:
            for name in (*AIRFLOW, *WORKERS):
                if cluster.running[name].process.poll() is not None:
                    raise DemoError(f"{name} ended by itself; see {cluster.running[name].log}")
            time.sleep(2)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description="The cluster of docker-compose.yaml, here.")
    parser.add_argument("--no-demo", action="store_true", help="start the cluster only")
    parser.add_argument("--months", type=int, default=6, choices=range(1, 13), help="months of purchases to send")
    parser.add_argument("--once", action="store_true", help="end after the campaigns")
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "build" / "cluster", help="where outputs go")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in what a shell starts in the background
        signal.signal(number, signal.default_int_handler)
    try:
        run(arguments.folder.resolve(), not arguments.no_demo, arguments.months, not arguments.once)
    except DemoError as error:
        print(f"\nThe cluster failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
