"""The DAG of pins through ``dag.test()``: rows of a table, then files, against a sandbox over a socket."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from include.sandbox.server import Running, running
from include.staging import PROJECT_ROOT, read_json, to_path

PUBLISHER = """
luigisbox: {connection: shop_luigisbox}
audience: {connection: shop, sql: "SELECT 1 AS auth_user_id"}
pins:
  connection: shop
  sql: |
    SELECT 'mail' AS model, 'item' AS target_type, product AS target_identity, 'item' AS pin_type,
           companion AS pin_identity, place AS position, since AS active_from, 'ignored' AS nobody_asked
    FROM companions ORDER BY product, place
  delete: true
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
schedule: {pins: "@daily"}
"""
ROWS = [
    ("tea", "milk", 1, "2026-01-01 06:00:00"),
    ("tea", "biscuits", 2, None),
    ("bread", "butter", 1.0, None),
    ("salt", "pepper", 1, None),
    ("soap", "towel", 1, None),
    ("rice", "curry", -1, None),
    ("wine", "cheese", -2, None),
]


def line(product: str, companion: str, **more: Any) -> str:
    pin = {"pin_type": "item", "pin_identity": companion, "position": 1}
    head = {"model": "mail", "target_type": "item", "target_identity": product}
    return json.dumps({**head, "pin_definitions": [pin], **more}) + "\n"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture(scope="module")
def runs(
    sandbox: Running, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    home = tmp_path_factory.mktemp("airflow")
    shutil.copyfile(migrated_database, home / "airflow.db")
    (home / "publishers").mkdir()
    (home / "publishers/shop.yaml").write_text(PUBLISHER)
    (home / "wanted.ndjson").write_text(line("tea", "lemon") + line("bread", "butter") + line("jam", "bread"))
    with closing(sqlite3.connect(home / "shop.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE companions (product TEXT, companion TEXT, place REAL, since TEXT)")
        connection.executemany("INSERT INTO companions VALUES (?, ?, ?, ?)", ROWS)
    login = {"login": sandbox.tracker, "password": sandbox.private_key}
    connections = {
        "shop": {"conn_type": "sqlite", "host": str(home / "shop.sqlite")},
        "shop_luigisbox": {"conn_type": "luigisbox", "host": sandbox.url, **login},
    }
    files = {"files": str(home / "wanted.ndjson"), "mode": "sync"}
    usual = {"files": None, "mode": None, "conflict_strategy": None, "dry_run": False}
    wishes = {  # all parameters each time: within one process, ``dag.test()`` keeps those of the run before
        "rows": {"logical_date": "2026-04-01T00:00:00+00:00"},
        "shown": {"conf": {**usual, **files, "dry_run": True}},
        "synced": {"conf": {**usual, **files}},
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_dags.py"))],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags/pins.py"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
            "PUBLISHERS_DIR": str(home / "publishers"),
            "STAGING_URI": (home / "staging").as_uri(),
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(form) for name, form in connections.items()},
        },
        input=json.dumps([{"dag": "pins__shop", **wish} for wish in wishes.values()]),
        capture_output=True,
        text=True,
        check=False,
    )
    result = next((each for each in done.stdout.splitlines() if each.startswith("RESULT ")), None)
    assert result, done.stdout[-3000:] + done.stderr[-3000:]
    found = dict(zip(wishes, json.loads(result.removeprefix("RESULT ")), strict=True))
    found["rows"]["log"] = done.stdout + done.stderr
    return found


def sent(run: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = run["results"]["pins.send[-1]"]
    return figures


def test_rows_become_scopes_and_what_is_wrong_stays_behind(runs: dict[str, dict[str, Any]]) -> None:
    run = runs["rows"]
    assert run["state"] == "success", run["log"][-3000:]
    built = run["results"]["pins.build[-1]"]
    assert (built["extracted"], built["rejected"], built["scopes"]) == (7, 1, 5)
    assert (sent(run)["applied"], sent(run)["rejected"]) == (5, 1)
    folder = to_path(run["results"]["plan[-1]"]["run"])
    assert folder.parent.name == "pins"
    [rejected] = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert (rejected["line"], rejected["reason"]) == ("7", "bad_position")
    assert pq.read_table(folder / "results.parquet")["outcome"].to_pylist() == ["applied"] * 5


def test_the_moment_of_the_newest_run_is_kept(runs: dict[str, dict[str, Any]]) -> None:
    folder = to_path(runs["synced"]["results"]["plan[-1]"]["run"])
    newest = read_json(folder.parent / "newest.json")
    assert newest["run"] == folder.name
    assert datetime.fromisoformat(newest["as_of"]) == datetime.fromisoformat(
        runs["synced"]["results"]["plan[-1]"]["as_of"]
    )


def test_a_dry_run_shows_what_a_sync_then_does(runs: dict[str, dict[str, Any]], sandbox: Running) -> None:
    shown, synced = sent(runs["shown"]), sent(runs["synced"])
    figures = {"create": 1, "replace": 1, "unchanged": 1, "delete": 3}
    assert {name: shown[name] for name in figures} == figures
    assert (synced["applied"], synced["unchanged"], synced["deleted"]) == (2, 1, 3)
    assert "a dry run: nothing was changed" in runs["rows"]["log"]
    there = {each["target_identity"] for each in requests.get(f"{sandbox.url}/_sandbox/pins").json()}
    assert there == {"tea", "bread", "jam"}
