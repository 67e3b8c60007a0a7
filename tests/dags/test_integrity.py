"""Every DAG file parses in a fresh process: no error, no warning, no socket, no database, nothing heavy imported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.publishers.config import sound_publishers
from include.staging import PROJECT_ROOT

PARSE = """
import json, socket, sys, warnings
import airflow.sdk  # Airflow's own processes have paid for this
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
def refuse(*arguments, **named):
    raise AssertionError("a DAG file opened a socket")
socket.socket.connect = refuse
socket.create_connection = refuse
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    bag = DagBag(sys.argv[1])
print(json.dumps({
    "dags": sorted(bag.dags),
    "errors": bag.import_errors,
    "warnings": [str(w.message) for w in caught] + [text for texts in bag.captured_warnings.values() for text in texts],
    "imported": sorted(set(sys.modules) - before),
    "tags": {dag_id: sorted(dag.tags) for dag_id, dag in bag.dags.items()},
    "documented": sorted(dag_id for dag_id, dag in bag.dags.items() if dag.doc_md),
    "retries": sorted({t.retries for dag in bag.dags.values() for t in dag.tasks}),
    "alone": sorted(dag_id for dag_id, dag in bag.dags.items() if dag.max_active_runs == 1),
    "pools": {f"{d}.{t.task_id}": t.pool for d, dag in bag.dags.items() for t in dag.tasks},
}))
"""
WATCHED = """
luigisbox: {connection: watched_luigisbox}
audience: {kind: klaviyo, lists: [LIST01]}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
campaigns: {kind: klaviyo, connection: klaviyo_default}
interactions: {sources: [{name: views, type: view, files: "s3://shop/views.csv"}]}
"""
HEAVY = {"pandas", "pyarrow", "duckdb", "lxml", "httpx", "requests", "fastapi", "numpy", "sqlite3"}


def parse(home: Path, more: dict[str, str]) -> dict[str, Any]:
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(PROJECT_ROOT / "dags")],
        env={**os.environ, **settings, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(home.rglob("airflow.db"))
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parse(tmp_path_factory.mktemp("airflow"), {})


def dags_of_files() -> list[str]:
    """One DAG of each kind that a publisher's file has a section for, and those that serve all."""
    found = ["campaign", "settle_upload"]
    for each in sound_publishers():
        kinds = ["audience", "recommendations"]
        kinds += ["past_transactions"] if each.past_transactions else []
        kinds += ["pins"] if each.pins else []
        kinds += ["interactions"] if each.interactions else []
        kinds += ["campaign_watcher"] if each.campaigns else []
        found += [f"{kind}__{each.name}" for kind in kinds]
    return sorted(found)


def test_all_dags_are_there(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert parsed["dags"] == dags_of_files()
    assert {"audience__demo", "campaign", "past_transactions__demo", "recommendations__demo"} <= set(parsed["dags"])


def test_nothing_warns(parsed: dict[str, Any]) -> None:
    assert parsed["warnings"] == []


def test_nothing_heavy_is_imported(parsed: dict[str, Any]) -> None:
    assert HEAVY.isdisjoint(parsed["imported"])


def test_each_dag_is_documented_tagged_and_retried(parsed: dict[str, Any]) -> None:
    assert parsed["documented"] == parsed["dags"]
    assert all("luigisbox" in tags for tags in parsed["tags"].values())
    assert parsed["retries"] == [3]


def test_what_replaces_has_one_run_at_a_time(parsed: dict[str, Any]) -> None:
    replacing = ("audience__", "recommendations__", "pins__")
    assert {dag for dag in parsed["dags"] if dag.startswith(replacing)} <= set(parsed["alone"])


def test_uploads_share_a_pool(parsed: dict[str, Any]) -> None:
    uploads = {task: pool for task, pool in parsed["pools"].items() if task.endswith(".upload")}
    others = ("recommend", "campaign_", "settle_", "pins_", "interactions_")
    assert len(uploads) == len([dag for dag in dags_of_files() if not dag.startswith(others)])
    assert set(uploads.values()) == {"luigisbox"}
    sends = {pool for task, pool in parsed["pools"].items() if task.endswith((".source.send", ".transfer.send"))}
    assert sends <= {"advisable"}
    assert {pool for task, pool in parsed["pools"].items() if task.endswith(".pins.send")} <= {"luigisbox"}


def test_a_mistake_in_one_publisher_file_stops_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "publishers"
    shutil.copytree(
        PROJECT_ROOT / "include" / "publishers", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    (folder / "broken.yaml").write_text("audience: {conection: x}\n")
    (folder / "watched.yaml").write_text(WATCHED)
    result = parse(tmp_path / "home", {"PUBLISHERS_DIR": str(folder)})
    own = {f"{kind}__watched" for kind in ("audience", "recommendations", "campaign_watcher", "interactions")}
    assert set(result["dags"]) == {*dags_of_files(), *own}
    assert result["warnings"] == []
    assert HEAVY.isdisjoint(result["imported"])
    assert result["documented"] == result["dags"]
    assert result["retries"] == [3]
    [(path, error)] = result["errors"].items()
    assert path.endswith("publisher_files.py")
    assert "broken.yaml" in error
    assert "conection" in error
