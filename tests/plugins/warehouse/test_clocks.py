"""Windows are in UTC, shops are not: with the query and the file names of the documentation no purchase is lost."""

import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
import yaml

from include.publishers.config import load_publisher
from include.staging import PROJECT_ROOT
from include.transactions.build import build_transactions
from warehouse.operators import PullTransactionsOperator
from warehouse.queries import render
from warehouse.source import widened

DOCUMENTED = (PROJECT_ROOT / "docs" / "publishers.md").read_text("utf-8")
HOUR = timedelta(hours=1)


def send(context: dict[str, Any], run: Path, start: datetime, end: datetime) -> tuple[list[bytes], dict[str, int]]:
    """Pull and build one window: the keys of the sessions it sends, and its books."""
    window = {"start": start.isoformat(), "end": end.isoformat()}
    operator: Any = PullTransactionsOperator(task_id="t", publisher="shop", run_folder=run.as_uri(), window=window)
    operator.execute({**context, "task": operator})
    settings = load_publisher("shop").past_transactions
    assert settings
    manifest = build_transactions(run, settings, window, now=datetime(2027, 1, 1, tzinfo=UTC))
    tables = [pq.read_table(run / chunk["index"]) for chunk in manifest["chunks"]]
    return [key for table in tables for key in table["key"].to_pylist()], manifest["books"]


@pytest.mark.parametrize(
    ("zone", "shape"),
    [
        ("Europe/Bratislava", "%Y-%m-%d %H:%M:%S"),
        ("America/Los_Angeles", "%Y-%m-%d"),
        ("Pacific/Kiritimati", "%Y-%m-%dT%H:%M:%S"),
        ("UTC", "%Y-%m-%d"),
    ],
)
@pytest.mark.parametrize("change", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_local_times_lose_nothing_where_clocks_are_changed(
    shop: sqlite3.Connection,
    publisher: Callable[..., None],
    context: dict[str, Any],
    tmp_path: Path,
    change: datetime,
    zone: str,
    shape: str,
) -> None:
    """Every half hour around the change a session of one purchase, sent by windows of six hours."""
    (query,) = re.findall(r"`(WHERE bought_at [^`]*)`", DOCUMENTED)
    first = change - 3 * HOUR
    moments = [first + place * HOUR / 2 for place in range(36)]
    shop.execute("CREATE TABLE orders (session_id TEXT, identity TEXT, created_at TEXT, bought_at TEXT)")
    local = [(moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S"), moment) for moment in moments]
    rows = [(f"s{moment:%d%H%M}", came, datetime.fromisoformat(came).strftime(shape)) for came, moment in local]
    shop.executemany("INSERT INTO orders VALUES (?, 'p', ?, ?)", rows)
    sql = f"SELECT session_id, identity, created_at FROM orders {query}"
    publisher(past_transactions={"sql": sql, "time_zone": zone, "session_hours": 0, "max_age_weeks": None})
    sent: Counter[bytes] = Counter()
    for start in (first, first + 6 * HOUR, first + 12 * HOUR):
        keys, books = send(context, tmp_path / f"{start:%H}", start, start + 6 * HOUR)
        assert books["rejected"] == 0
        sent.update(keys)
    assert len(sent) == len(moments)
    assert set(sent.values()) == {1}


@pytest.mark.parametrize(
    ("start", "days"),
    [
        ("2026-02-28", 1),
        ("2026-03-01", 1),
        ("2026-03-15", 1),
        ("2026-12-31", 1),
        ("2027-01-01", 1),
        ("2025-06-01", 365),
    ],
)
def test_the_documented_glob_names_every_file_that_may_be_needed(
    context: dict[str, Any], start: str, days: int
) -> None:
    (example,) = re.findall(r"```yaml\n(  files: >-\n.*?)```", DOCUMENTED, re.DOTALL)
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    window = {"start": begin.isoformat(), "end": (begin + days * 24 * HOUR).isoformat()}
    wide = widened(window, 24, "Europe/Bratislava")
    files = yaml.safe_load(example)["files"]
    place = render(files, context, "shop", wide, run_window=window, what="files")  # type: ignore[arg-type]
    moment, end = (datetime.fromisoformat(wide[edge]) for edge in ("start", "end"))
    while moment < end:
        assert fnmatch(f"/export/orders-{moment:%Y-%m-%d}.csv.gz", place)
        moment += HOUR
    if start == "2026-03-15":
        assert place == "/export/orders-2026-03*.csv.gz"
    assert not fnmatch("/export/other-2026-03-15.csv.gz", place)
