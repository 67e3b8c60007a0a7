"""A cluster of the compose file with two machines for its workers, which share the services and nothing else.

Services run outside of the machines, where they have a home each. A machine has copies of the DAG files and of the
publisher files; it reaches what it may reach through gates, at the network's gateway. All timers that decide how soon a
death is noticed are short.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg2
import requests

from cluster.compose import LOCAL, read_compose, read_env
from cluster.processes import Cluster, Place, Running, tail
from cluster.services import drop_databases, fresh_databases
from demo.airflow import DONE, Api, wait_until
from include.ledger import postgres_ledger
from include.staging import PROJECT_ROOT
from tests.cluster import outcome, shop
from tests.cluster.gate import Gate, gates
from tests.cluster.hosts import Lan, folders_only, lan, permitted
from tests.object_store import BUCKET, CONNECTION, connection, s3_server

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer", "triggerer-2")
REDIS = "redis://127.0.0.1:6379/11"
SHORT = {
    "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
}


@dataclass
class World:
    """What runs: how to ask it, where to stop it, and what it may not survive."""

    folder: Path
    cluster: Cluster
    network: Lan
    gates: dict[str, Gate]
    airflow: Api
    store: str
    sandbox: int
    warehouse: str
    metadata: str
    ledger: str
    apart: str
    read: dict[str, int] = field(default_factory=dict)
    """How much of a process's log is of its life before."""

    def start_run(self, wish: dict[str, Any]) -> None:
        """Trigger a run."""
        self.airflow.unpause(wish["dag"])
        self.airflow.trigger(wish["dag"], wish["run_id"], wish["conf"])

    def finish_run(self, wish: dict[str, Any], seconds: float = 240, expect: str = "success") -> list[dict[str, Any]]:
        """Wait for the end of a run; gives its task instances."""

        def ended() -> bool:
            return self.state(wish) in DONE

        wait_until(f"run {wish['run_id']}", ended, seconds)
        tasks = self.tasks(wish)
        states = {f"{task['task_id']}[{task['map_index']}]": task["state"] for task in tasks}
        assert self.state(wish) == expect, f"{wish['run_id']} of {self.folder}: {states}"
        return tasks

    def state(self, wish: dict[str, Any]) -> str:
        """A run's state."""
        return str(self.airflow.call("GET", f"/dags/{wish['dag']}/dagRuns/{wish['run_id']}")["state"])

    def tasks(self, wish: dict[str, Any]) -> list[dict[str, Any]]:
        """A run's task instances."""
        return self.airflow.tasks(wish["dag"], wish["run_id"])

    def task(self, wish: dict[str, Any], task_id: str, state: str, seconds: float = 60) -> dict[str, Any]:
        """The first instance of a task that is in this state, when one is."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [each for each in self.tasks(wish) if each["task_id"] == task_id and each["state"] == state]
            return bool(found)

        wait_until(f"{task_id} {state}", there, seconds, pause=0.2)
        return found[0]

    def tries(self, wish: dict[str, Any], task: dict[str, Any]) -> list[dict[str, Any]]:
        """All tries of a task instance, the first one first."""
        path = f"/dags/{wish['dag']}/dagRuns/{wish['run_id']}/taskInstances/{task['task_id']}"
        mapped = f"/{task['map_index']}" if task["map_index"] >= 0 else ""
        tries = self.airflow.call("GET", f"{path}{mapped}/tries")["task_instances"]
        return sorted(tries, key=lambda each: int(each["try_number"]))

    def came(self) -> dict[str, Any]:
        """What came of all runs so far."""
        uri = self.cluster.running["api-server"].environment["STAGING_URI"]
        return {
            "files": outcome.of_store(self.store, uri),
            "ledger": outcome.figures(postgres_ledger(lambda: psycopg2.connect(self.ledger))),
            "received": shop.received(self.sandbox, self.folder),
            "rows": shop.delivered_rows(self.warehouse),
        }

    def delay_batch(self, seconds: float) -> None:
        """Let the vendor publish the next batch so much later."""
        fault = {"fault": "late_batch", "seconds": seconds}
        address = f"http://127.0.0.1:{self.sandbox}/_sandbox/faults"
        requests.post(address, json=fault, timeout=10).raise_for_status()

    def wait_for_workers(self, *names: str, seconds: float = 90) -> None:
        """Until these workers take tasks; a restarted one says so once more."""
        for name in names:
            one = self.cluster.running[name]
            wait_until(f"{name} (see {one.log})", lambda one=one: self._ready(one), seconds, pause=0.2)

    def _ready(self, one: Running) -> bool:
        assert one.process.poll() is None, tail(one.log)
        return " ready." in one.log.read_text("utf-8", errors="replace")[self.read.get(one.name, 0) :]

    def machine_at(self, address: str) -> str:
        """The name of the machine with this address; empty if machines have none of their own."""
        return "" if self.apart else {each.address: name for name, each in self.network.machines.items()}[address]

    def kill(self, name: str) -> None:
        """End a process with all that it started, at once."""
        one = self.cluster.running[name]
        self.cluster.kill(name)
        self.read[name] = len(one.log.read_text("utf-8", errors="replace"))

    def revive(self, name: str) -> None:
        """Start what was killed once more."""
        self.cluster.restart(name)


@contextmanager
def world(folder: Path, broker: str = "", while_starting: Callable[[World], None] | None = None) -> Iterator[World]:
    """All of it, healthy; gone after the block.

    Args:
        folder: where everything lies.
        broker: its URL on this machine; empty: ``CLUSTER_BROKER`` of the environment, else a Redis of port 6379.
        while_starting: done while Airflow's parts start.
    """
    broker = broker or os.environ.get("CLUSTER_BROKER") or REDIS
    mark = uuid4().hex[:8]
    metadata, ledger, warehouse = (f"newsletters_{room}_{mark}" for room in ("metadata", "ledger", "warehouse"))
    apart, hosts = permitted(), folder / "hosts"
    with ExitStack() as stack:
        fresh_databases([metadata, ledger])
        stack.callback(drop_databases, [metadata, ledger, warehouse])
        shop.fill_warehouse(warehouse)
        forget_queue(broker)
        store = stack.enter_context(s3_server())
        sandbox = stack.enter_context(shop.vendors(folder))
        network = folders_only(hosts, list(WORKERS)) if apart else stack.enter_context(lan(hosts, list(WORKERS)))
        urls = {
            "METADATA_URL": f"postgresql+psycopg2://postgres@127.0.0.1:5432/{metadata}",
            "LEDGER_URL": f"postgresql://postgres@127.0.0.1:5432/{ledger}",
            "BROKER_URL": broker,
            "STAGING_URI": f"s3://{CONNECTION}@{BUCKET}/{mark}",
            "LOGS_URI": f"s3://{BUCKET}/logs-{mark}",
            "STORE_CONNECTION": connection(store)[f"AIRFLOW_CONN_{CONNECTION.upper()}"],
        }
        services = read_compose({**read_env(LOCAL), **urls})
        (folder / "publishers").mkdir()
        (folder / "publishers" / "demo.yaml").write_text(shop.PUBLISHER)
        mounts = {"/opt/airflow/publishers": folder / "publishers"}
        own = Place(mounts=mounts, environment=SHORT | shop.connections("127.0.0.1", sandbox, warehouse))
        cluster = stack.enter_context(Cluster(services, folder / "cluster", own))
        targets = {"api": cluster.address("api-server", 8080), "store": store, "postgres": "127.0.0.1:5432"}
        targets |= {"broker": urlsplit(broker).netloc.rpartition("@")[2], "sandbox": f"127.0.0.1:{sandbox}"}
        doors = stack.enter_context(gates(network.gateway, **{name: _place(at) for name, at in targets.items()}))
        airflow = Api(f"http://{targets['api']}")
        made = World(
            folder,
            cluster,
            network,
            doors,
            airflow,
            store,
            sandbox,
            warehouse,
            metadata,
            urls["LEDGER_URL"],
            apart=apart,
        )
        cluster.run("init", 180)
        for name in ("api-server", "scheduler", "dag-processor"):
            cluster.start(name)
        for name in TRIGGERERS:
            cluster.start("triggerer", name)
        for name in WORKERS:
            cluster.start("worker", name, _place_of(made, name, broker, urls))
        if while_starting:
            while_starting(made)
        wait_until(f"Airflow (see {folder}/cluster/logs)", airflow.healthy, 180)
        airflow.log_in()
        wanted = {shop.HISTORY, shop.AUDIENCE, shop.CAMPAIGN, "settle_upload"}
        wait_until("the DAGs", lambda: airflow.dags() >= wanted, 120)
        made.wait_for_workers(*WORKERS, seconds=120)
        yield made


def _place_of(made: World, name: str, broker: str, urls: dict[str, str]) -> Place:
    """Where a worker runs, with copies of what the image and its mounts hold, and the addresses of its own network."""
    machine, gateway, doors = made.network.machines[name], made.network.gateway, made.gates
    shutil.copytree(PROJECT_ROOT / "dags", machine.folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(made.folder / "publishers", machine.folder / "publishers")
    postgres, at = f"{gateway}:{doors['postgres'].port}", urlsplit(broker).netloc.rpartition("@")[2]
    ledger = urls["LEDGER_URL"].replace("127.0.0.1:5432", postgres)
    store = connection(f"http://{gateway}:{doors['store'].port}")
    addresses = {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{gateway}:{doors['api'].port}/execution/",
        "AIRFLOW__CELERY__BROKER_URL": broker.replace(at, f"{gateway}:{doors['broker'].port}"),
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{ledger}",
        "AIRFLOW_CONN_LEDGER": ledger,
        **store,
        **shop.connections(gateway, doors["sandbox"].port, made.warehouse, doors["postgres"].port),
    }
    return Place(
        home=machine.folder,
        prefix=machine.prefix,
        gateway=gateway,
        bind="0.0.0.0",
        dags=machine.folder / "dags",
        mounts={"/opt/airflow/publishers": machine.folder / "publishers"},
        environment=SHORT | addresses,
    )


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return host, int(port)


def forget_queue(broker: str) -> None:
    """Empty the broker's database or queue: nothing of another cluster waits in it."""
    from kombu import Connection
    from redis import Redis

    if broker.startswith("redis"):
        with Redis.from_url(broker) as redis:
            redis.flushdb()
    else:
        with Connection(broker, connect_timeout=5) as connected, connected.channel() as channel:
            channel.queue_delete("default")
