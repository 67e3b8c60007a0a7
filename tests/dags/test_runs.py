"""Each DAG through ``dag.test()``: a small shop in SQLite, the sandbox over a socket, a real Airflow database."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from include.ledger import FILE, FileNote, Ledger, sqlite_ledger
from include.sandbox.server import Running, running
from include.sandbox.smartemailing.fill import fill_smartemailing
from include.staging import PROJECT_ROOT
from include.transactions.index import INDEX

CUSTOMERS, SLEEPERS = 40, 5
"""Customers c00 … c39 buy every month; s0 … s4 never do."""

NOBODY = "SELECT customer AS auth_user_id FROM customers WHERE id < 0"
SEND_AT = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
"""Half an hour too soon for a run that takes 120 minutes and must be ready 30 minutes before."""
SOON = (datetime.now(UTC) + timedelta(minutes=20)).isoformat()
"""Sooner than the 30 minutes that the deliveries have."""
NO_WINDOW = {"window_start": None, "window_end": None}
"""Said, because ``dag.test()`` remembers the parameters of the runs before it in its process."""
UNKNOWN = "5e771e" + 58 * "0"
SETTLED = {"publisher": "shop", "file": UNKNOWN[:8], "outcome": "it arrived", "why": "import 4711"}
PUBLISHER = """
luigisbox: {connection: shop_luigisbox}
audience:
  connection: shop
  sql: SELECT id, customer AS auth_user_id, mail AS recipient FROM customers
  partitions: 3
  partition_key: id
guard: {refuse_reject_percent: 40, hold_reject_percent: 40}
past_transactions:
  max_age_weeks: null
  connection: shop
  sql: |
    SELECT basket AS session_id, product AS identity, customer AS user_id, bought_at AS created_at FROM purchases
    WHERE bought_at >= '{{ window_start.strftime('%Y-%m-%d') }}' AND bought_at < '{{ window_end.strftime('%Y-%m-%d') }}'
batch:
  link: /batches/1234-5678.xml
  connection: shop_batch
  poll_seconds: 0.5
  deadline_minutes: 2
  on_deadline: use_previous
  parts: 3
  recommendation_types: {mail-basket: 3}
deliveries:
  - {name: feed, kind: feed}
  - {name: table, kind: warehouse, connection: shop, table: recommendations}
  - {name: products, kind: python, callable: demo.deliveries.count_products}
  - {name: contacts, kind: smartemailing, connection: shop_contacts, on_absent: clear, fields: {mail-basket: 21}}
  - {name: ready, kind: asset}
schedule: {past_transactions: "@monthly", audience: "@daily"}
campaigns: {kind: smartemailing, connection: shop_newsletters, ready_minutes: 30, run_minutes: 120}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customers (id INTEGER, customer TEXT, mail TEXT)")
        connection.execute("CREATE TABLE purchases (basket TEXT, product TEXT, customer TEXT, bought_at TEXT)")
        names = [f"c{n:02}" for n in range(CUSTOMERS)] + [f"s{n}" for n in range(SLEEPERS)]
        dirt = [(None, "a@shop.example"), ("", "b@shop.example"), ("default", None), (" c01", None), ("c02", None)]
        rows = [(name, f"{name}@shop.example") for name in names] + dirt
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
        connection.executemany("INSERT INTO purchases VALUES (?, ?, ?, ?)", purchases())
    return path


def purchases() -> list[tuple[str, str, str, str]]:
    return [
        (
            f"b-{customer:02}-{month}",
            f"p{(customer + month + step) % 12}",
            f"c{customer:02}",
            f"2026-{month:02}-1{step} 10:00:00",
        )
        for month in range(1, 5)
        for customer in range(CUSTOMERS)
        for step in range(3)
    ]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"today": date(2026, 5, 1), "publish_after": 1.0, "types": {"mail-basket": 3}}
    state = tmp_path_factory.mktemp("sandbox")
    fill_smartemailing(state, 0)
    with running(state, **settings) as started:
        yield started


@pytest.fixture(scope="module")
def environment(
    shop: Path, sandbox: Running, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    home = tmp_path_factory.mktemp("airflow")
    shutil.copyfile(migrated_database, home / "airflow.db")
    (home / "publishers").mkdir()
    (home / "publishers" / "shop.yaml").write_text(PUBLISHER)
    history = [
        f"{basket},{product},{customer},{at}" for basket, product, customer, at in purchases() if "-3," in f"{basket},"
    ]
    for name, lines in (
        ("old", history),
        ("new", ["b-x,p1,c01,2026-04-30", "b-x,p2,c01,2026-04-30", "b-y,p1,c02,2026-04-30"]),
    ):
        (home / f"history-{name}.csv").write_text("\n".join(["session_id,identity,user_id,created_at", *lines]))
    forget_how_it_ended(sqlite_ledger(home / "staging" / FILE))
    port = int(sandbox.url.rpartition(":")[2])
    connections = {
        "shop": {"conn_type": "sqlite", "host": str(shop)},
        "shop_batch": {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port},
        "shop_contacts": {
            "conn_type": "smartemailing",
            "host": sandbox.url,
            "login": "sandbox",
            "password": "sandbox_key",
            "extra": {"pause_seconds": 0.001},
        },
        "shop_luigisbox": {
            "conn_type": "luigisbox",
            "host": sandbox.url,
            "login": sandbox.tracker,
            "password": sandbox.private_key,
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


def forget_how_it_ended(ledger: Ledger) -> None:
    """A file of an older run, of which nobody knows whether it arrived."""
    index = pa.table({"key": [16 * b"k"], "content": [1], "rows": [1], "bytes": [1], "day": [1]}, INDEX)
    ledger.claim("shop/transactions", FileNote(UNKNOWN, "file:///gone", 1, 1, 1, "an-older-one"), index, "a test")
    ledger.settle("shop/transactions", UNKNOWN, "unknown", "a test", "the line broke")


def ledger_of(environment: dict[str, str]) -> Ledger:
    return sqlite_ledger(Path(environment["STAGING_URI"].removeprefix("file://")) / FILE)


def run(environment: dict[str, str], *wishes: dict[str, Any]) -> list[dict[str, Any]]:
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
    for wish, result in zip(wishes, results, strict=True):
        result["log"] = done.stdout.replace(lines[0], "") + done.stderr
        assert result["tasks"], wish
    return results


@pytest.fixture(scope="module")
def runs(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    wishes = [
        {"dag": "past_transactions__shop", "logical_date": "2026-04-01T00:00:00+00:00"},
        {
            "dag": "past_transactions__shop",
            "conf": {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-03-01T00:00:00Z"},
        },
        {
            "dag": "past_transactions__shop",
            "conf": {"window_start": "2026-02-01T00:00:00Z", "window_end": "2026-04-01T00:00:00Z"},
        },
        {
            "dag": "past_transactions__shop",
            "conf": {**NO_WINDOW, "files": f"{environment['AIRFLOW_HOME']}/history-*.csv"},
        },
        {"dag": "settle_upload", "conf": SETTLED},
        {"dag": "settle_upload", "conf": {**SETTLED, "outcome": "it did not arrive: send it again"}},
        {"dag": "audience__shop", "logical_date": "2026-05-01T00:00:00+00:00"},
        {"dag": "recommendations__shop"},
        {"dag": "campaign", "conf": {"publisher": "shop", "recommendation_types": ["mail-basket"], "send_at": SEND_AT}},
        {"dag": "audience__shop", "logical_date": "2026-04-01T00:00:00+00:00"},
        {"dag": "campaign", "conf": {"publisher": "shop", "send_at": SOON}},
        {"dag": "campaign", "conf": {"publisher": "shop", "audience_sql": NOBODY}},
    ]
    names = (
        "march",
        "history",
        "overlap",
        "files",
        "settled",
        "unsettled",
        "audience",
        "recommendations",
        "campaign",
        "late",
        "soon",
        "empty",
    )
    return dict(zip(names, run(environment, *wishes), strict=True))


def failed(result: dict[str, Any]) -> str:
    return f"{result['tasks']}\n{result['log'][-6000:]}"


@pytest.mark.parametrize(
    "name", ["march", "history", "overlap", "files", "settled", "audience", "recommendations", "campaign", "soon"]
)
def test_the_run_succeeds(runs: dict[str, dict[str, Any]], name: str) -> None:
    assert runs[name]["state"] == "success", failed(runs[name])


def test_the_purchases_of_each_window_arrive_once(
    runs: dict[str, dict[str, Any]], sandbox: Running, environment: dict[str, str]
) -> None:
    march, history = (runs[name]["results"]["past_transactions.upload[-1]"] for name in ("march", "history"))
    assert march["sent"] == {"sessions": CUSTOMERS, "rows": 3 * CUSTOMERS}
    assert history["sent"] == {"sessions": 2 * CUSTOMERS, "rows": 6 * CUSTOMERS}
    state = requests.get(f"{sandbox.url}/_sandbox/state", timeout=10).json()
    assert (state["sessions"], state["transactions"]) == (3 * CUSTOMERS + 2, 9 * CUSTOMERS + 3)
    march_folder, history_folder = (
        Path(runs[name]["results"]["plan[-1]"]["run"]).name for name in ("march", "history")
    )
    states = {(entry.run, entry.state) for entry in ledger_of(environment).entries("shop/transactions")}
    assert {(march_folder, "confirmed"), (history_folder, "confirmed")} <= states


def test_what_was_sent_may_overlap_a_window_and_a_file(runs: dict[str, dict[str, Any]]) -> None:
    overlap, files = (runs[name]["results"]["past_transactions.upload[-1]"] for name in ("overlap", "files"))
    assert (overlap["files"], overlap["already_sent"]["sessions"]) == (0, 2 * CUSTOMERS)
    assert (files["files"], files["sent"]["sessions"], files["already_sent"]["sessions"]) == (1, 2, CUSTOMERS)
    assert runs["files"]["results"]["plan[-1]"]["window"] is None


def test_a_person_settles_a_file_of_unknown_fate(runs: dict[str, dict[str, Any]], environment: dict[str, str]) -> None:
    assert runs["settled"]["results"]["settle[-1]"] == {
        "unknown": 0,
        "file": UNKNOWN,
        "state": "confirmed",
        "run": "an-older-one",
    }
    last = ledger_of(environment).history("shop/transactions", UNKNOWN)[-1]
    assert (last.state, last.why) == ("confirmed", "import 4711")
    assert runs["settled"]["run_id"] in last.by
    assert runs["unsettled"]["tasks"]["settle[-1]"] == "failed"
    assert "there is no attempt to settle" in runs["unsettled"]["log"]


def test_the_audience_is_pulled_in_parts_and_its_books_balance(runs: dict[str, dict[str, Any]]) -> None:
    results = runs["audience"]["results"]
    pulled = [results[f"audience.pull[{part}]"]["rows"] for part in range(3)]
    built = results["audience.build[-1]"]
    assert sum(pulled) == built["extracted"] == CUSTOMERS + SLEEPERS + 5
    assert (built["uploaded"], built["rejected"], built["duplicates"]) == (CUSTOMERS + SLEEPERS, 4, 1)


def test_a_newer_campaign_replaces_the_list_and_delivers_its_own_batch(runs: dict[str, dict[str, Any]]) -> None:
    first = runs["recommendations"]["results"]["recommendations.report[-1]"]
    second = runs["campaign"]["results"]["recommendations.report[-1]"]
    assert first["user_set"] == runs["audience"]["results"]["audience.upload[-1]"]["user_set"]
    assert second["user_set"] == runs["campaign"]["results"]["audience.upload[-1]"]["user_set"] != first["user_set"]
    assert first["outcome"] == second["outcome"] == "fresh"
    assert second["uploaded"] == CUSTOMERS + SLEEPERS
    assert (second["personalised"], second["absent"]) == (CUSTOMERS, SLEEPERS)


def test_the_deliveries_hold_what_the_report_says(
    runs: dict[str, dict[str, Any]], environment: dict[str, str], shop: Path
) -> None:
    report = runs["campaign"]["results"]["recommendations.report[-1]"]
    assert report["deliveries"]["feed"]["recipients"] == CUSTOMERS + SLEEPERS
    assert report["deliveries"]["feed"]["default"] == SLEEPERS
    name = f"{report['batch'][:12]}-for-{report['user_set']}-only-mail-basket"
    folder = Path(environment["STAGING_URI"].removeprefix("file://")) / "shop" / "deliveries" / name / "feed"
    lines = [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.read_text().splitlines()]
    assert {line["recipient"] for line in lines} == {
        *(f"c{n:02}@shop.example" for n in range(CUSTOMERS)),
        *(f"s{n}@shop.example" for n in range(SLEEPERS)),
    }
    with closing(sqlite3.connect(shop)) as connection:
        found = connection.execute("SELECT count(*) FROM recommendations WHERE batch = ?", [name]).fetchone()[0]
    assert found == report["deliveries"]["table"]["rows"] == 3 * CUSTOMERS


def test_the_contacts_of_the_platform_hold_their_recommendations(
    runs: dict[str, dict[str, Any]], sandbox: Running
) -> None:
    first, second = (runs[name]["results"]["recommendations.report[-1]"] for name in ("recommendations", "campaign"))
    for figures in (first["deliveries"]["contacts"], second["deliveries"]["contacts"]):
        assert figures["recipients"] == CUSTOMERS + SLEEPERS
        assert figures["recipients"] == figures["sent"] + figures["unchanged"] + figures["kept"] + figures["set_aside"]
    query = """SELECT emailaddress, value FROM contacts c JOIN contact_customfields v ON v.contact_id = c.id
               WHERE customfield_id = 21 AND value <> ''"""
    with closing(sqlite3.connect(sandbox.state / "smartemailing.sqlite")) as connection:
        found = dict(connection.execute(query).fetchall())
    assert found.keys() == {f"c{n:02}@shop.example" for n in range(CUSTOMERS)}
    assert {len(json.loads(value)) for value in found.values()} == {3}


def test_a_campaign_that_will_hardly_be_ready_says_so_at_once(
    runs: dict[str, dict[str, Any]], environment: dict[str, str]
) -> None:
    plan = runs["campaign"]["results"]["plan[-1]"]
    figures = late_event(runs["campaign"], environment)
    assert datetime.fromisoformat(plan["send_at"]) - datetime.fromisoformat(plan["deadline"]) == timedelta(minutes=30)
    assert "publisher shop will hardly be ready" in runs["campaign"]["log"]
    assert (figures["needed_minutes"], figures["needed_from"]) == (120.0, "campaigns.run_minutes")
    assert figures["run"] == runs["campaign"]["run_id"]
    assert figures["send_at"] == plan["send_at"]


def test_a_newsletter_sent_sooner_than_deliveries_take_is_told_of_and_goes_on_with_what_is_there(
    runs: dict[str, dict[str, Any]], environment: dict[str, str]
) -> None:
    figures = late_event(runs["soon"], environment)
    assert figures["left_minutes"] <= 0
    assert figures["instead"].startswith("the batch before is delivered")
    outcome = runs["soon"]["results"]["recommendations.report[-1]"]["outcome"]
    assert outcome in ("previous", "fresh")  # fresh, if the sandbox publishes before the one look


def late_event(run: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    query = """SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id
               WHERE a.name = 'recommendations_late_shop' AND e.source_run_id = ?"""
    with closing(sqlite3.connect(Path(environment["AIRFLOW_HOME"]) / "airflow.db")) as connection:
        [(extra,)] = connection.execute(query, [run["run_id"]]).fetchall()
    figures: dict[str, Any] = json.loads(extra)
    return figures


def test_an_old_run_does_not_replace_a_newer_list(runs: dict[str, dict[str, Any]]) -> None:
    late = runs["late"]
    assert late["tasks"]["audience.build[-1]"] == "success"
    assert late["tasks"]["audience.judge[-1]"] == "failed"
    assert late["tasks"]["audience.upload[-1]"] == "upstream_failed"
    assert "older than the live list" in late["log"]


def test_an_empty_audience_is_refused(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["empty"]["tasks"]["audience.judge[-1]"] == "failed"
    assert runs["empty"]["tasks"]["recommendations.wait[-1]"] == "upstream_failed"


def test_a_refused_list_leaves_the_live_one_alone(runs: dict[str, dict[str, Any]], sandbox: Running) -> None:
    requested = requests.get(f"{sandbox.url}/_sandbox/requests", timeout=10).json()
    uploads = [entry for entry in requested if entry["path"].endswith("/users")]
    assert [entry["status"] for entry in uploads] == [200, 200, 200]  # of the audience run and of the two campaigns
    assert requests.get(f"{sandbox.url}/_sandbox/state", timeout=10).json()["users"] == CUSTOMERS + SLEEPERS
