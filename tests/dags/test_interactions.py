"""The DAG of interactions through ``dag.test()``: a small shop, the sandbox over a socket, a real Airflow database."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.server import Running, running
from include.staging import PROJECT_ROOT

PUBLISHER = """
audience: {connection: shop, sql: SELECT 1 AS auth_user_id}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
interactions:
  connection: shop_advisable
  requests_per_second: 500
  sources:
    - name: orders
      type: purchase
      connection: shop
      sql: |
        SELECT customer AS user_id, product AS item_id, at AS "timestamp", price FROM orders
        WHERE at >= '{{ window_start.strftime('%Y-%m-%d') }}' AND at < '{{ window_end.strftime('%Y-%m-%d') }}'
    - name: views
      type: view
      files: "SHOP/views-{{ window_start | ds }}.csv"
      columns: {user_id: visitor, item_id: page}
  transfers:
    connection: shop
    sql: SELECT guest AS from_user_id, customer AS to_user_id FROM guests
schedule: {interactions: "@daily"}
"""
# a run's parameters stay for the next one of the same process
DAY = {"dag": "interactions__shop", "logical_date": "2026-03-02T00:00:00+00:00"}
NO_WINDOW = {"window_start": None, "window_end": None}
WINDOW = {"window_start": "2026-03-01T00:00:00+00:00", "window_end": "2026-03-03T00:00:00+00:00"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten orders a day on two days; five views on the first day; one guest became a customer."""
    folder = tmp_path_factory.mktemp("shop")
    with closing(sqlite3.connect(folder / "shop.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE orders (customer TEXT, product TEXT, at TEXT, price REAL)")
        connection.execute("CREATE TABLE guests (guest TEXT, customer TEXT)")
        orders = [(f"c{n}", f"p{n}", f"2026-03-0{day} 10:00:0{n}", n / 4) for day in (1, 2) for n in range(10)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
        connection.execute("INSERT INTO guests VALUES ('g0', 'c0')")
    views = [f"g{n},p{n},2026-03-01 09:00:0{n}" for n in range(5)]
    (folder / "views-2026-03-01.csv").write_text("\n".join(["visitor,page,timestamp", *views, ""]))
    (folder / "more.csv").write_text("\n".join(["visitor,page,timestamp", *views, "g9,p9,1772355600000", ""]))
    return folder


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture(scope="module")
def environment(
    shop: Path, sandbox: Running, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    home = tmp_path_factory.mktemp("airflow")
    shutil.copyfile(migrated_database, home / "airflow.db")
    (home / "publishers").mkdir()
    (home / "publishers" / "shop.yaml").write_text(PUBLISHER.replace("SHOP", str(shop)))
    connections = {
        "shop": {"conn_type": "sqlite", "host": str(shop / "shop.sqlite")},
        "shop_advisable": {
            "conn_type": "advisable",
            "host": f"{sandbox.url}/advisable",
            "login": "sandbox",
            "password": "sandbox_secret",
        },
    }
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "PUBLISHERS_DIR": str(home / "publishers"),
        "STAGING_URI": (home / "staging").as_uri(),
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(form) for name, form in connections.items()},
    }


@pytest.fixture(scope="module")
def runs(environment: dict[str, str], shop: Path) -> list[dict[str, Any]]:
    wishes = [
        DAY,
        {"dag": DAY["dag"], "conf": {**WINDOW, "source": "orders"}},
        {"dag": DAY["dag"], "conf": {**NO_WINDOW, "source": "views", "files": f"{shop}/more.csv"}},
        {"dag": DAY["dag"], "conf": {"source": None, "files": f"{shop}/more.csv"}},
        {"dag": DAY["dag"], "conf": {**WINDOW, "source": "views", "files": f"{shop}/more.csv"}},
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_dags.py"))],
        env=environment,
        input=json.dumps(wishes),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, (done.stdout + done.stderr)[-6000:]
    results: list[dict[str, Any]] = json.loads(lines[0].removeprefix("RESULT "))
    results[0]["log"] = done.stdout.replace(lines[0], "") + done.stderr
    return results


def figures(run: dict[str, Any]) -> dict[str, tuple[int, int | None]]:
    """How many were sent now and before; transfers have no before."""
    return {
        task: (result["sent"], result.get("already_sent"))
        for task, result in run["results"].items()
        if ".send[" in task and result
    }


def test_a_day_is_sent_source_by_source(runs: list[dict[str, Any]]) -> None:
    assert runs[0]["state"] == "success", runs[0]["log"][-5000:]
    assert figures(runs[0]) == {"source.send[0]": (10, 0), "source.send[1]": (5, 0), "transfer.send[0]": (1, None)}


def test_a_window_that_overlaps_sends_what_is_new(runs: list[dict[str, Any]]) -> None:
    assert runs[1]["state"] == "success"
    assert figures(runs[1]) == {"source.send[0]": (10, 10)}


def test_files_of_one_source_send_what_is_new(runs: list[dict[str, Any]]) -> None:
    assert runs[2]["state"] == "success"
    assert figures(runs[2]) == {"source.send[0]": (1, 5)}


def test_files_of_nobody_knows_which_source_are_refused(runs: list[dict[str, Any]]) -> None:
    assert runs[3]["state"] == "failed"
    assert not figures(runs[3])


def test_files_and_a_window_are_refused(runs: list[dict[str, Any]]) -> None:
    assert runs[4]["state"] == "failed"
    assert not figures(runs[4])
    assert "give files or a window, not both" in runs[0]["log"]


def test_all_is_there_once(runs: list[dict[str, Any]], sandbox: Running) -> None:
    stored = requests.get(f"{sandbox.url}/_sandbox/interactions", timeout=10).json()
    assert Counter(row["type"] for row in stored) == {"purchase": 20, "view": 6}
    assert len({(row["type"], row["user_id"], row["item_id"], row["timestamp"]) for row in stored}) == 26
    assert "g0" not in {row["user_id"] for row in stored}
