"""Any SQL connection is read in batches, from the server where the driver can, and closed however it ends."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import psycopg
import pytest

from include.errors import ConfigError
from warehouse.cursor import connect, open_cursor, stream, warehouse_hook

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i, 'x' || i AS t FROM n"


def read(hook: Any, sql: str, batch_rows: int) -> tuple[list[str], list[list[tuple[Any, ...]]]]:
    with stream(hook, sql, batch_rows) as result:
        return result.columns, [list(batch) for batch in result.batches]


class Watched:
    """A hook whose last connection can be looked at."""

    def __init__(self, hook: Any) -> None:
        self.hook, self.opened = hook, []

    def get_conn(self) -> Any:
        self.opened.append(self.hook.get_conn())
        return self.opened[-1]


def is_closed(connection: Any) -> bool:
    try:
        connection.execute("SELECT 1")
    except (sqlite3.ProgrammingError, psycopg.OperationalError) as error:
        return "closed" in str(error)
    return False


@pytest.mark.parametrize("batch_rows", [1, 7, 1000, 5000])
def test_sqlite_comes_in_batches(shop: sqlite3.Connection, batch_rows: int) -> None:
    columns, batches = read(warehouse_hook("shop"), COUNT, batch_rows)
    assert columns == ["i", "t"]
    assert [row for batch in batches for row in batch] == [(i, f"x{i}") for i in range(1, 1001)]
    assert {len(batch) for batch in batches[:-1]} <= {batch_rows}
    assert all(batches)


def test_an_empty_result_has_columns_and_no_batches(shop: sqlite3.Connection) -> None:
    assert read(warehouse_hook("shop"), "SELECT 1 AS a, 2 AS b WHERE 1 = 0", 10) == (["a", "b"], [])


def test_text_that_is_not_utf8_comes_as_bytes_and_its_neighbours_as_text(shop: sqlite3.Connection) -> None:
    sql = "SELECT CAST(x'ff61' AS TEXT) AS v UNION ALL SELECT 'ž' UNION ALL SELECT char(0)"
    assert read(warehouse_hook("shop"), sql, 10)[1] == [[(b"\xffa",), ("ž",), ("\0",)]]


def test_a_percent_sign_means_itself(shop: sqlite3.Connection, postgres: Any) -> None:
    for name in ("shop", "pg"):
        assert read(warehouse_hook(name), "SELECT 'a%s' AS v WHERE 'abc' LIKE 'a%'", 10)[1] == [[("a%s",)]]


@pytest.mark.parametrize("name", ["shop", "pg"])
def test_the_connection_is_closed_however_it_ends(shop: sqlite3.Connection, postgres: Any, name: str) -> None:
    hook = Watched(warehouse_hook(name))
    read(hook, "SELECT 1 AS a", 10)
    with suppress(KeyError), stream(hook, COUNT, 10) as result:
        next(result.batches)
        raise KeyError
    with pytest.raises(Exception, match="nowhere"), stream(hook, "SELECT * FROM nowhere", 10):
        pass
    assert len(hook.opened) == 3
    assert all(is_closed(connection) for connection in hook.opened)


def test_a_writer_in_sqlite_is_waited_for(shop: sqlite3.Connection) -> None:
    with closing(connect(warehouse_hook("shop"))) as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] >= 60_000


def test_unusable_connections_are_named(connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    connection("files", conn_type="fs")
    connection("odd", conn_type="no_such_thing")
    with pytest.raises(ConfigError, match=r"'files': FSHook does not speak SQL.*DbApiHook"):
        warehouse_hook("files")
    with pytest.raises(ConfigError, match=r"'odd': cannot be used.*no_such_thing.*provider"):
        warehouse_hook("odd")


def test_postgres_comes_in_batches_of_tuples(postgres: Any, connection: Callable[..., None]) -> None:
    columns, batches = read(warehouse_hook("pg"), "SELECT i, i::text AS t FROM generate_series(1, 10) i", 4)
    assert columns == ["i", "t"]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert batches[0][0] == (1, "1")
    assert read(warehouse_hook("pg"), "SELECT 1 AS a WHERE false", 4) == (["a"], [])


def test_postgres_rows_are_tuples_even_if_the_connection_asks_for_dictionaries(
    postgres: Any, connection: Callable[..., None]
) -> None:
    info = postgres.info
    form = {"host": info.host, "port": info.port, "login": info.user, "password": info.password, "schema": info.dbname}
    connection("pg_dicts", conn_type="postgres", **form, extra={"cursor": "dictcursor"})
    assert read(warehouse_hook("pg_dicts"), "SELECT 1 AS a", 4) == (["a"], [[(1,)]])


def test_mariadb_comes_in_batches_and_its_moments_in_utc(maria: Any) -> None:
    maria.execute("SET time_zone = '+02:00'")
    maria.execute("CREATE TABLE t (moment TIMESTAMP(3) NULL, shop_time DATETIME, name TEXT CHARACTER SET utf8mb4)")
    maria.execute("INSERT INTO t VALUES ('2026-05-01 12:00:00.5', '2026-05-01 12:00', 'ž😀 %s'), (NULL, NULL, NULL)")
    columns, batches = read(warehouse_hook("maria"), "SELECT * FROM t ORDER BY name DESC -- 10 %", 1)
    assert columns == ["moment", "shop_time", "name"]
    moment = datetime(2026, 5, 1, 10, 0, 0, 500_000, UTC)
    assert batches == [[(moment, datetime(2026, 5, 1, 12), "ž😀 %s")], [(None, None, None)]]
    assert read(warehouse_hook("maria"), "SELECT 1 AS a FROM t WHERE 1 = 0", 4) == (["a"], [])


def test_a_large_result_of_mariadb_is_given_up_at_once(maria: Any) -> None:
    started = time.monotonic()
    with stream(warehouse_hook("maria"), "SELECT seq FROM seq_1_to_100000000", 5) as result:
        assert next(result.batches)[0] == (1,)
    with suppress(KeyError), stream(warehouse_hook("maria"), "SELECT seq FROM seq_1_to_100000000", 5):
        raise KeyError
    assert time.monotonic() - started < 20  # to its end it would take many minutes


def test_both_postgres_drivers_use_a_named_cursor(postgres: Any) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    info = postgres.info
    old = psycopg2.connect(host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.dbname)
    for opened in (old, warehouse_hook("pg").get_conn()):
        with closing(opened):
            cursor = open_cursor(opened)
            assert cursor.name
            cursor.execute("SELECT i FROM generate_series(1, 5) i")
            assert cursor.fetchmany(2) == [(1,), (2,)]
            with closing(opened.cursor()) as other:
                other.execute("SELECT count(*) FROM pg_cursors WHERE name = %s", [cursor.name])
                assert other.fetchone() == (1,)
            cursor.close()


MEMORY = """
import resource, sys
from warehouse.cursor import stream, warehouse_hook
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def read(rows):
    with stream(warehouse_hook("pg"), f"SELECT i, repeat('x', 200) AS t FROM generate_series(1, {rows}) i", 5000) as r:
        return sum(map(len, r.batches))
read(10)
before = peak()
rows = read(500_000)
print(rows, peak() - before)
"""


def test_memory_stays_flat_over_a_large_result(postgres: Any) -> None:
    answer = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, env=os.environ)
    rows, megabytes = map(int, answer.stdout.split()[-2:])
    assert rows == 500_000
    assert megabytes < 40  # the result is 100 MB on the wire


def test_mysql_drivers_get_their_unbuffered_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    class SSCursor:
        pass

    class Connection:
        def cursor(self, kind: type) -> type:
            return kind

    for name in ("MySQLdb", "pymysql"):
        cursors = ModuleType(f"{name}.cursors")
        cursors.SSCursor = SSCursor  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, cursors.__name__, cursors)
        monkeypatch.setattr(Connection, "__module__", f"{name}.connections")
        assert open_cursor(Connection()) is SSCursor
