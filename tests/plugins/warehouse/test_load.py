"""The warehouse delivery: the same table, however often and from however many tasks a part is delivered."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from include.errors import ConfigError
from include.publishers.deliveries import WarehouseDelivery
from warehouse import load
from warehouse.copy import copies, plain
from warehouse.cursor import warehouse_hook
from warehouse.load import COLUMNS, deliver_part

SCHEMA = pa.schema(
    {
        "recipient": pa.string(),
        "auth_user_id": pa.string(),
        "personalised": pa.bool_(),
        "recommendation_type": pa.string(),
        "rank": pa.int16(),
        "item_id": pa.string(),
        "url": pa.string(),
        "title": pa.string(),
        "image_link": pa.string(),
        "recommendation_id": pa.string(),
        "updated_at": pa.timestamp("us", "UTC"),
    }
)
MOMENT = datetime(2026, 5, 1, 12, 0, 0, 123456, UTC)


def part_table(rows: int, first: int = 0, title: str = "Bread") -> pa.Table:
    numbers = range(first, first + rows)
    columns = [
        [f"r{i}" for i in numbers],
        [f"u{i}" for i in numbers],
        [i % 2 == 0 for i in numbers],
        ["basket"] * rows,
        [i % 8 + 1 for i in numbers],
        [f"p{i}" for i in numbers],
        [f"https://x/?a=%25&i={i}" for i in numbers],
        [title] * rows,
        [None] * rows,
        [f"rec{i}" for i in numbers],
        [MOMENT if i % 3 else None for i in numbers],
    ]
    return pa.table(columns, schema=SCHEMA)


def delivery(connection: str, table: str = "newsletter", commit_rows: int = 100) -> WarehouseDelivery:
    return WarehouseDelivery(
        name="table", kind="warehouse", connection=connection, table=table, commit_rows=commit_rows
    )


@pytest.fixture(params=["shop", "pg", "maria"])
def database(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Name of a connection, and the database behind it."""
    return request.param, request.getfixturevalue({"pg": "postgres"}.get(request.param, request.param))


def content(db: Any, table: str = "newsletter") -> list[tuple[Any, ...]]:
    rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM {table}").fetchall()
    return sorted((tuple(row) for row in rows), key=repr)


def test_rows_arrive_as_they_are(database: tuple[str, Any]) -> None:
    name, db = database
    title, when = "Käse 😀 'n' \"Brot\"; --%s\n\\.\n\t\r\n\\N", "2026-05-01T12:00:00.123456+00:00"
    assert deliver_part(delivery(name), "shop", "b1", 3, part_table(2, title=title)) == 2
    unit, urls = ("shop", "b1", 3), ("https://x/?a=%25&i=0", "https://x/?a=%25&i=1")
    assert content(db) == [
        (*unit, "r0", "u0", 1, "basket", 1, "p0", urls[0], title, None, "rec0", None),
        (*unit, "r1", "u1", 0, "basket", 2, "p1", urls[1], title, None, "rec1", when),
    ]


def test_delivering_again_changes_nothing_and_others_stay(database: tuple[str, Any]) -> None:
    name, db = database
    units = [("shop", "b1", 0), ("shop", "b1", 1), ("shop", "b2", 0), ("other", "b1", 0)]
    for number, unit in enumerate(units):
        deliver_part(delivery(name), *unit, part_table(250, first=1000 * number))
    before = content(db)
    assert len(before) == 1000
    assert deliver_part(delivery(name, commit_rows=7), *units[0], part_table(250)) == 250
    assert content(db) == before
    assert deliver_part(delivery(name), *units[0], part_table(10, title="Milk")) == 10
    assert [row for row in content(db) if row[:3] != units[0]] == [row for row in before if row[:3] != units[0]]
    assert {row[10] for row in content(db) if row[:3] == units[0]} == {"Milk"}
    assert deliver_part(delivery(name), *units[0], part_table(0)) == 0
    assert len(content(db)) == 750


def test_a_failure_in_the_middle_leaves_the_table_as_it_was(
    database: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, db = database
    deliver_part(delivery(name), "shop", "b1", 0, part_table(250))
    before = content(db)

    real = load._batches

    def half(*arguments: Any) -> Iterator[Any]:
        batches = real(*arguments)
        yield next(batches)
        yield next(batches)
        raise OSError("the power went off")

    monkeypatch.setattr(load, "_batches", half)
    with pytest.raises(OSError, match="power") as caught:
        deliver_part(delivery(name), "shop", "b1", 0, part_table(300, title="Milk"))
    monkeypatch.setattr(load, "_batches", real)
    assert caught.value.__notes__ == ["delivery table, table newsletter, part 0: the table was left as it was"]
    assert content(db) == before
    assert deliver_part(delivery(name), "shop", "b1", 0, part_table(300, title="Milk")) == 300
    assert len(content(db)) == 300


def test_times_of_other_zones_are_written_in_utc() -> None:
    east = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert plain(east) == "2026-05-01T12:00:00+00:00"


def test_a_table_of_the_shops_own_keeps_its_types(postgres: Any) -> None:
    own = {"updated_at": "timestamptz", "recommendation_id": "varchar(20)", "item_rank": "smallint"}
    plain = {"number": "integer", "name": "text", "text": "text"}
    columns = ", ".join(f"{name} {own.get(name, plain[kind])}" for name, kind in COLUMNS.items())
    postgres.execute(f"CREATE TABLE own ({columns}, more text DEFAULT 'x')")
    assert deliver_part(delivery("pg", "own"), "shop", "b1", 0, part_table(2)) == 2
    assert postgres.execute("SELECT max(updated_at), max(more) FROM own").fetchone() == (MOMENT, "x")


def test_a_foreign_table_is_refused(database: tuple[str, Any]) -> None:
    name, db = database
    db.execute("CREATE TABLE newsletter (publisher text, batch text, part int, recipient text)")
    with pytest.raises(ConfigError, match=r"table newsletter is there without the columns auth_user_id, personalised"):
        deliver_part(delivery(name), "shop", "b1", 0, part_table(2))
    assert db.execute("SELECT count(*) FROM newsletter").fetchone()[0] == 0


def test_a_table_of_another_schema(postgres: Any, maria: Any) -> None:
    postgres.execute("CREATE TABLE newsletter (other int)")
    schema = f"{postgres.execute('SELECT current_schema()').fetchone()[0]}_b"
    postgres.execute(f"CREATE SCHEMA {schema}")
    place = maria.execute("SELECT database()").fetchone()[0]
    try:
        for name, db, table in (("pg", postgres, f"{schema}.newsletter"), ("maria", maria, f"{place}.newsletter")):
            for _ in range(2):
                assert deliver_part(delivery(name, table), "shop", "b1", 0, part_table(3)) == 3
            assert len(content(db, table)) == 3
    finally:
        postgres.execute(f"DROP SCHEMA {schema} CASCADE")


def test_a_schema_that_is_not_there_is_the_databases_error(postgres: Any) -> None:
    with pytest.raises(Exception, match="no_such_schema"):
        deliver_part(delivery("pg", "no_such_schema.newsletter"), "shop", "b1", 0, part_table(2))


def test_the_table_is_found_by_unit_through_an_index(database: tuple[str, Any]) -> None:
    name, db = database
    deliver_part(delivery(name), "shop", "b1", 0, part_table(1))
    if name == "shop":
        (plan,) = db.execute("EXPLAIN QUERY PLAN DELETE FROM newsletter WHERE publisher='a' AND batch='b' AND part=1")
        assert "newsletter_unit" in plan[3]
    elif name == "maria":
        assert len(db.execute("SHOW INDEX FROM newsletter WHERE Key_name = 'newsletter_unit'").fetchall()) == 3
    else:
        assert db.execute("SELECT count(*) FROM pg_indexes WHERE indexname = 'newsletter_unit'").fetchone()[0] == 1


KILLED = """
import os, signal
from tests.plugins.warehouse.test_load import delivery, part_table
from warehouse import load
real = load._batches
def half(*arguments):
    batches = real(*arguments)
    yield next(batches)
    yield next(batches)
    os.kill(os.getpid(), signal.SIGKILL)
load._batches = half
load.deliver_part(delivery("NAME"), "shop", "b1", 0, part_table(3000, title="Milk"))
"""


def test_a_task_that_is_killed_leaves_the_table_as_it_was(postgres: Any) -> None:
    name, db = "pg", postgres
    with closing(warehouse_hook(name).get_conn()) as opened:
        assert copies(opened)
    deliver_part(delivery(name), "shop", "b1", 0, part_table(250))
    before = content(db)
    done = subprocess.run([sys.executable, "-c", KILLED.replace("NAME", name)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert content(db) == before
    deliver_part(delivery(name), "shop", "b1", 0, part_table(300, title="Milk"))
    assert {row[10] for row in content(db)} == {"Milk"}
    assert len(content(db)) == 300


def test_the_same_part_by_two_tasks_at_once_is_there_once(database: tuple[str, Any]) -> None:
    """A task that was given up may still run when its next try begins."""
    name, db = database
    deliver_part(delivery(name), "shop", "b0", 0, part_table(1))
    together = threading.Barrier(3)

    def write(_: int) -> None:
        together.wait()
        for _ in range(4):
            deliver_part(delivery(name, commit_rows=50), "shop", "b1", 0, part_table(300))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert len(content(db)) == 301


@pytest.mark.parametrize(("psycopg_3", "isolation"), [(True, "repeatable read"), (False, "read committed")])
def test_it_is_there_once_whatever_the_roles_isolation_and_the_driver(
    psycopg_3: bool, isolation: str, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that must not see what was committed while it waited for its turn would not delete it."""
    monkeypatch.setattr("airflow.providers.postgres.hooks.postgres.USE_PSYCOPG3", psycopg_3)
    form = json.loads(os.environ["AIRFLOW_CONN_PG"])
    form["extra"]["options"] += f" -c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
    monkeypatch.setenv("AIRFLOW_CONN_PG", json.dumps(form))
    with closing(warehouse_hook("pg").get_conn()) as opened:
        assert type(opened).__module__.partition(".")[0] == ("psycopg" if psycopg_3 else "psycopg2")
    deliver_part(delivery("pg"), "shop", "b0", 0, part_table(1))
    real, meeting = load._batches, threading.Barrier(2)

    def together(*arguments: Any) -> Iterator[Any]:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)  # both have deleted: nobody may come here while another is about to insert
        return real(*arguments)

    monkeypatch.setattr(load, "_batches", together)
    with ThreadPoolExecutor(2) as pool:
        parts = [part_table(60), part_table(60)]
        assert list(pool.map(lambda part: deliver_part(delivery("pg"), "shop", "b1", 0, part), parts)) == [60, 60]
    assert len(content(postgres)) == 61


def test_tasks_that_deliver_at_the_same_time_wait_for_each_other(database: tuple[str, Any]) -> None:
    """They also find the table missing at the same time."""
    name, db = database
    together = threading.Barrier(4)

    def write(writer: int) -> int:
        together.wait()
        return sum(
            deliver_part(delivery(name, commit_rows=20), "shop", "b1", part, part_table(200, first=1000 * part))
            for part in range(writer, 24, 4)
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [6 * 200] * 4
    assert len(content(db)) == 24 * 200
