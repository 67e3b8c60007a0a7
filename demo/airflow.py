"""A real Airflow for the demo: its settings, its connections, and the few REST calls the demo makes."""

import json
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from demo.processes import DemoError
from include.staging import PROJECT_ROOT

DONE = {"success", "failed"}
PATIENCE = 40
"""How often a call is tried while Airflow's database is locked, half a second apart."""

UNANSWERED = 3
"""How often a question without an answer is asked again."""

SQLITE = {"timeout": 60}
"""How long, in seconds, Airflow's processes wait for each other's writes."""


def prepare_database(home: Path) -> None:
    """Make the metadata database one in which readers and a writer do not lock each other out."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / "airflow.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def environment(home: Path, port: int, staging: Path, connections: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The environment of every Airflow process of the demo.

    Args:
        home: folder of the metadata database and logs.
        port: of the API server and UI.
        staging: the staging store.
        connections: Airflow connections by id, as their JSON form.
    """
    settings = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "demo.airflow.SQLITE",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "3",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "STAGING_URI": staging.as_uri(),
    }
    return settings | {f"AIRFLOW_CONN_{name.upper()}": json.dumps(form) for name, form in connections.items()}


@dataclass
class Api:
    """Airflow's REST API at ``url``, as a person with curl would use it."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def healthy(self) -> bool:
        """Whether scheduler, triggerer and DAG processor all report that they live."""
        try:
            health = self.session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def log_in(self, user: str = "", password: str = "") -> None:
        """Take a bearer token; without a user, from an Airflow to which everybody is an admin."""
        method, form = ("POST", {"username": user, "password": password}) if user else ("GET", None)
        answer = self.session.request(method, f"{self.url}/auth/token", json=form, timeout=30)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, once: bool = False, **arguments: Any) -> Any:
        """One call below ``/api/v2``.

        A 503, by which Airflow says that its SQLite is locked, is tried again, and so is what got no answer: all but a
        POST, and a POST that is done ``once`` however often it comes, since Airflow answers 409 to the next.

        Raises:
            DemoError: Airflow answered with an error, whose words the sentence has, or not at all.
        """
        for tried in range(PATIENCE):
            try:
                answer = self.session.request(method, f"{self.url}/api/v2{path}", timeout=60, **arguments)
            except (requests.ConnectionError, requests.Timeout) as error:
                if (method == "POST" and not once) or tried == UNANSWERED:
                    raise DemoError(f"no answer to {method} {path}: {error}") from None
                time.sleep(1)
                continue
            if answer.status_code != requests.codes.unavailable:
                break
            time.sleep(0.5)
        if not answer.ok and not (once and tried and answer.status_code == requests.codes.conflict):
            raise DemoError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def dags(self) -> set[str]:
        """Ids of the DAGs that were parsed."""
        return {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]}

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def reparse(self, dag_id: str) -> None:
        """Let the DAG's file be read again now: a watcher begins to watch when its unpaused DAG has been read."""
        token = self.call("GET", f"/dags/{dag_id}")["file_token"]
        self.call("PUT", f"/parseDagFile/{token}")

    def add_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool."""
        self.call("POST", "/pools", json={"name": name, "slots": slots, "description": description})

    def backfill(self, dag_id: str, start: datetime, end: datetime, parallel: int) -> int:
        """Start a backfill and return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": start.isoformat(),
            "to_date": end.isoformat(),
            "max_active_runs": parallel,
            "reprocess_behavior": "none",
        }
        return int(self.call("POST", "/backfills", json=body)["id"])

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start one run."""
        run = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.call("POST", f"/dags/{dag_id}/dagRuns", once=True, json=run)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs of a DAG."""
        return list(self.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.call("GET", path, params={"limit": 500})["task_instances"])

    def result(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task returned; of a mapped one, at a place."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"map_index": map_index})["value"]


def wait_until(what: str, ready: Callable[[], bool], seconds: float, pause: float = 0.5) -> None:
    """Look again and again.

    Raises:
        DemoError: it did not become true in time.
    """
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise DemoError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
