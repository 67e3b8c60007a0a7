"""PostgreSQL's columns by ADBC: the same text as by the plain cursor, all of it or an error, in flat memory."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.errors import BadInput
from include.extract import write_rows
from warehouse import cursor
from warehouse.adbc import Columns
from warehouse.cursor import stream, warehouse_hook

VALUES = {
    "text": ["'a'", "''", "'\\N'", "E'a\\tb\\nc\\rd\\\\'", "'\"x\",'", "U&'\\FEFFa'", "'ž 😀'", "E'\\b\\f\\v'", "NULL"],
    "varchar(9)": ["'a '", "''", "NULL"],
    "int2": ["-32768", "0", "NULL"],
    "int8": ["9223372036854775807", "-1", "0"],
    "oid": ["4294967295"],
    "uuid": ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "NULL"],
    "bool": ["true", "false", "NULL"],
    "numeric": ["1.50", "2.00", "-0.0", "'NaN'", "'Infinity'", "1e-1200", "1e1200", "12345678901234567890.10", "NULL"],
    "numeric(9,2)": ["3", "3.14", "NULL"],
    "float8": ["17850", "1e20", "1e-7", "'NaN'", "'-Infinity'", "0.1", "-0.0", "123456789012345680"],
    "float4": ["1.1", "16777217"],
    "date": ["'2026-05-01'", "'0001-01-01'", "'9999-12-31'", "NULL"],
    "time": ["'12:00'", "'23:59:59.123456'", "NULL"],
    "timetz": ["'12:00+05:30'"],
    "timestamp": ["'2026-05-01 12:00'", "'2026-05-01 12:00:00.5'", "'2026-05-01 12:00:00.123456'", "NULL"],
    "timestamptz": [
        "'2026-05-01 12:00+00'",
        "'2026-10-25 00:30:00.120+00'",
        "'2026-10-25 01:30:00+00'",
        "'1850-01-01 00:00+00'",
        "'0001-01-02 00:00+00'",
        "NULL",
    ],
}


@contextmanager
def only_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(cursor, "can_read", lambda *_: False)
        yield


def staged(sql: str, folder: Path, rows: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]], set[type]]:
    kinds: set[type] = set()
    with stream(warehouse_hook("pg"), sql, rows, by_columns=True) as result:

        def seen() -> Iterator[Any]:
            for batch in result.batches:
                assert len(batch) <= rows
                kinds.add(type(batch))
                yield batch

        write_rows(seen(), result.columns, result.columns, [], folder, 0)
    read = [pq.read_table(folder / f"{name}-00000.parquet").to_pylist() for name in ("part", "refused")]
    return read[0], read[1], kinds


@pytest.mark.parametrize(
    ("kind", "zone"),
    [
        *((kind, "UTC") for kind in VALUES),
        *(("timestamptz", zone) for zone in ("Europe/Prague", "Asia/Kolkata", "+03")),
    ],
)
def test_values_are_those_of_the_plain_cursor(
    kind: str, zone: str, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", zone)
    rows = ", ".join(f"({number}, ({value})::{kind})" for number, value in enumerate(VALUES[kind]))
    sql = f'SELECT n, v AS "V v" FROM (VALUES {rows}) q (n, v) ORDER BY n -- a remark'
    found = staged(sql, tmp_path)
    assert found[2] == {Columns}
    with only_rows(monkeypatch):
        expected = staged(sql, tmp_path)
    assert expected[2] == {list}
    assert found[:2] == expected[:2]
    assert len(found[0]) == len(VALUES[kind])


def test_types_that_are_none_of_these_come_by_rows(
    postgres: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.execute("CREATE TYPE colour AS ENUM ('red')")
    sql = "SELECT 'a'::char(3) AS c, 'red'::colour AS e, '\\x61'::bytea AS b"
    with caplog.at_level("INFO"):
        rows, _, kinds = staged(sql, tmp_path)
    assert kinds == {list}
    assert rows == [{"c": "a  ", "e": "red", "b": "a"}]
    assert "because of the type of c, e, b; cast to text is faster" in caplog.text
    with pytest.raises(BadInput, match="column a: came a value of type list"):
        staged("SELECT ARRAY[1] AS a", tmp_path)


@pytest.mark.parametrize("end", ["; -- the end", ";\n/* the end */"])
def test_a_query_that_cannot_stand_within_another_comes_by_rows(
    end: str, postgres: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.execute("CREATE SEQUENCE runs")
    with caplog.at_level("INFO"):
        rows, _, kinds = staged(f"SELECT nextval('runs') AS run{end}", tmp_path)
    assert (rows, kinds) == ([{"run": "1"}], {list})
    assert "read row by row, because a second connection did not take the query" in caplog.text
    assert staged("SELECT nextval('runs') AS run", tmp_path)[::2] == ([{"run": "2"}], {Columns})


def test_a_role_of_one_connection_is_enough(
    postgres: Any, tmp_path: Path, connection: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    role, info = f"alone_{uuid.uuid4().hex[:12]}", postgres.info
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 1")
    try:
        place = {"host": info.host, "port": info.port, "schema": info.dbname}
        connection("pg", conn_type="postgres", **place, login=role, password="secret")
        with caplog.at_level("INFO"):
            rows, _, kinds = staged("SELECT current_user::text AS a", tmp_path)
    finally:
        postgres.execute(f"DROP ROLE {role}")
    assert (rows, kinds) == ([{"a": role}], {list})
    assert "too many connections" in caplog.text
    assert "secret" not in caplog.text


def test_the_second_connection_has_the_settings_of_the_first(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = json.loads(os.environ["AIRFLOW_CONN_PG"])
    settings = {"role": "pg_monitor", "default_transaction_read_only": "on", "statement_timeout": "77s"}
    asked = ", ".join(f"current_setting('{name}') AS {name}" for name in (*settings, "search_path"))
    form["extra"]["options"] += "".join(f" -c {name}={value}" for name, value in settings.items())
    monkeypatch.setenv("AIRFLOW_CONN_PG", json.dumps(form))
    rows, _, kinds = staged(f"SELECT {asked}", tmp_path)
    schema = postgres.execute("SELECT current_schema()").fetchone()[0]
    assert (rows, kinds) == ([{**settings, "search_path": schema}], {Columns})


def test_values_that_are_too_long_are_refused(postgres: Any, tmp_path: Path) -> None:
    good, bad, kinds = staged("SELECT repeat('ž', n) AS t FROM (VALUES (1), (40000), (2)) q (n)", tmp_path, 100)
    assert kinds == {Columns}
    assert good == [{"t": "ž"}, {"t": "žž"}]
    assert bad == [{"t": "ž" * 1000, "reason": "too_long"}]


def test_an_empty_result_has_columns(postgres: Any) -> None:
    with stream(warehouse_hook("pg"), "SELECT 1 AS a, 2 AS a WHERE false", 5, by_columns=True) as result:
        assert (result.columns, list(result.batches)) == (["a", "a"], [])


def test_the_servers_errors_come_out(postgres: Any, tmp_path: Path) -> None:
    with pytest.raises(psycopg.Error, match="nowhere"):
        staged("SELECT * FROM nowhere", tmp_path)
    with pytest.raises(Exception, match="division by zero"):
        staged("SELECT 1 / (100000 - i) AS a FROM generate_series(1, 200000) i", tmp_path, 50_000)
    assert not (tmp_path / "part-00000.parquet").exists()


def test_a_connection_that_breaks_is_an_error_not_an_end(postgres: Any) -> None:
    sql = "SELECT i, repeat('x', 200) AS t FROM generate_series(1, 1000000) i"
    killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE %s AND pid <> %s"
    with stream(warehouse_hook("pg"), sql, 5_000, by_columns=True) as result:
        next(result.batches)
        mark = "COPY%generate_series(1, 1000000)%"
        assert postgres.execute(killed, [mark, postgres.info.backend_pid]).fetchone() == (1,)
        with pytest.raises(Exception, match=r"(?i)terminat|closed|connection"):
            list(result.batches)


def test_giving_up_ends_the_query_on_the_server(postgres: Any) -> None:
    def running() -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND pid <> %s AND state = 'active'"
        return int(postgres.execute(sql, ["COPY%pg_sleep(31)%", postgres.info.backend_pid]).fetchone()[0])

    started = time.monotonic()
    with stream(warehouse_hook("pg"), "SELECT pg_sleep(31)::text AS a", 5, by_columns=True):
        while not running():
            time.sleep(0.02)
    assert time.monotonic() - started < 15
    assert not running()
    assert "warehouse" not in {thread.name for thread in threading.enumerate()}


MEMORY = """
import resource
from pathlib import Path
from warehouse.pull import Columns, Query, pull_query
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def pull(rows):
    sql = f"SELECT i AS auth_user_id, repeat('x', 300) AS recipient FROM generate_series(1, {rows}) i"
    return pull_query(Query("x", "pg", sql, 50_000), Columns(["auth_user_id"], ["recipient"]), Path("FOLDER"), 0)
pull(100_000)
before = peak()
print(pull(500_000)["rows"], peak() - before)
"""


def test_memory_stays_flat(postgres: Any, tmp_path: Path) -> None:
    script = MEMORY.replace("FOLDER", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    rows, megabytes = map(int, done.stdout.split()[-2:])
    assert rows == 500_000
    assert megabytes < 60  # the result is 150 MB
