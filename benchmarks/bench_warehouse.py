"""PostgreSQL as the warehouse, against psql's own copying of the same rows, and against a plain cursor.

Needs a server (``BENCH_POSTGRES``, a connection URI; by default 127.0.0.1:5432, user postgres) that may make databases,
and ``psql``.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from benchmarks.harness import Case, Row, at_most, faster, measure, memory, workplace

HERE = "benchmarks.bench_warehouse"
SERVER = os.environ.get("BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
DATABASE, NAME = "newsletter_bench", "bench_warehouse"
BENCH = urlsplit(SERVER)._replace(path=f"/{DATABASE}").geturl()
IDS = "SELECT auth_user_id FROM ids"
PURCHASES = "SELECT session_id, identity, user_id, created_at, quantity FROM purchases"
COLUMNS = {IDS: ["auth_user_id"], PURCHASES: ["session_id", "identity", "user_id", "created_at", "quantity"]}
MAKE = """
CREATE UNLOGGED TABLE ids AS SELECT md5(i::text)::uuid::text AS auth_user_id FROM generate_series(1, {ids}) i;
CREATE UNLOGGED TABLE purchases AS SELECT 'o' || i / 5 AS session_id, '/product/' || i * 7919 % 90000 AS identity,
    CASE WHEN i % 10 > 0 THEN 'customer-' || i % 400000 END AS user_id,
    '2025-01-01 00:00+00'::timestamptz + i % 31000000 * interval '1 s' + i % 1000 * interval '1 ms' AS created_at,
    (i % 7 + 1)::numeric(9, 2) AS quantity
    FROM generate_series(1::bigint, {purchases}) i;
VACUUM ANALYZE;
"""
if f"AIRFLOW_CONN_{NAME.upper()}" in os.environ:  # in a measured process: finding Airflow's providers takes seconds
    from warehouse.cursor import warehouse_hook

    warehouse_hook(NAME)


def run(quick: bool) -> list[Row]:
    ids, purchases, rows = (100_000, 50_000, 20_000) if quick else (10_000_000, 5_000_000, 1_000_000)
    form = {"conn_type": "postgres", **_parts(), "schema": DATABASE}
    psql(SERVER, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    psql(SERVER, f"CREATE DATABASE {DATABASE}")
    try:
        with (
            workplace("warehouse") as folder,
            patch.dict(os.environ, {f"AIRFLOW_CONN_{NAME.upper()}": json.dumps(form), "AIRFLOW_HOME": str(folder)}),
        ):
            psql(BENCH, *MAKE.format(ids=ids, purchases=purchases).split(";\n")[:-1])
            return [
                *_pulled(folder, f"{ids:,} ids pulled", IDS, ids, quick),
                *_pulled(folder, f"{purchases:,} purchases pulled", PURCHASES, purchases, quick),
                *_delivered(folder, rows, quick),
            ]
    finally:
        psql(SERVER, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def _parts() -> dict[str, Any]:
    parts = urlsplit(SERVER)
    return {"host": parts.hostname, "port": parts.port, "login": parts.username, "password": parts.password}


def _pulled(folder: Path, what: str, sql: str, rows: int, quick: bool) -> list[Row]:
    heavy = ["warehouse.pull", "include.extract", "pandas", "psycopg", "adbc_driver_postgresql.dbapi"]
    arguments = {"folder": str(folder), "sql": sql}
    cases = {
        "pull": Case(f"{HERE}:pull", arguments, imports=heavy),
        "psql": Case(f"{HERE}:copy_out", arguments),
        "rows": Case(f"{HERE}:pull", arguments | {"by_columns": False}, imports=heavy),
    }
    found = measure(cases, 1 if quick else 3)
    assert {each.result for each in found.values()} == {rows}
    both, psql_too = measure({"compare": Case(f"{HERE}:same", {"folder": str(folder)})}, 1)["compare"].result
    assert both, "the two ways do not give the same text"
    assert psql_too or sql != IDS, "psql gives other ids"
    part = measure({"a tenth": Case(f"{HERE}:pull", arguments | {"limit": rows // 10}, imports=heavy)}, 1)["a tenth"]
    return [
        at_most(what, found["pull"], "psql \\copy to a file", found["psql"], 1.5),
        faster(what, found["pull"], "the server-side cursor, row by row", found["rows"], 3),
        memory(f"{what}: memory", found["pull"], part.memory_mb + 100, f"a tenth of them: {part.memory_mb:,.0f} MB"),
    ]


def _delivered(folder: Path, rows: int, quick: bool) -> list[Row]:
    measure({"make": Case(f"{HERE}:make_part", {"folder": str(folder), "rows": rows})}, 1)
    heavy = ["warehouse.load", "pyarrow.parquet", "pandas", "psycopg"]
    cases = {
        "deliver": Case(f"{HERE}:deliver", {"folder": str(folder)}, imports=heavy),
        "psql": Case(f"{HERE}:copy_in", {"folder": str(folder)}),
    }
    found = measure(cases, 1 if quick else 3)
    assert found["deliver"].result == found["psql"].result == rows
    return [at_most(f"{rows:,} rows delivered", found["deliver"], "psql \\copy from a file", found["psql"], 1.5)]


def pull(folder: str, sql: str, by_columns: bool = True, limit: int | None = None) -> int:
    from warehouse import cursor
    from warehouse.pull import Columns, Query, pull_query

    if not by_columns:
        cursor.can_read = lambda *_: False
    query = Query("bench", NAME, sql + (f" LIMIT {limit}" if limit else ""), 50_000)
    return pull_query(query, Columns(COLUMNS[sql]), Path(folder) / f"by_columns_{by_columns}", 0)["rows"]


def same(folder: str) -> list[bool]:
    """Whether both ways staged the same text, and whether psql's is the same as well."""
    import pyarrow.parquet as pq

    digests = []
    for way in (True, False):
        digest = hashlib.sha256()
        file = pq.ParquetFile(Path(folder) / f"by_columns_{way}" / "raw" / "part-00000.parquet")
        for batch in file.iter_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                digest.update("\t".join("\\N" if value is None else value for value in row).encode() + b"\n")
        digests.append(digest.hexdigest())
    with (Path(folder) / "copy.txt").open("rb") as handle:
        digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    return [digests[0] == digests[1], digests[0] == digests[2]]


def copy_out(folder: str, sql: str) -> int:
    return psql(BENCH, f"\\copy ({sql}) TO '{folder}/copy.txt'")


def make_part(folder: str, rows: int) -> None:
    """A part of recommendations, a table for them, and a file for the peer, which has them in a table of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    moment = pa.scalar(1_770_000_000_000_000, pa.timestamp("us", "UTC"))
    users = [f"customer-{number // 8:08d}" for number in range(rows)]
    table = pa.table(
        {
            "recipient": users,
            "auth_user_id": users,
            "personalised": [True] * rows,
            "recommendation_type": ["basket"] * rows,
            "rank": pa.array([number % 8 + 1 for number in range(rows)], pa.int16()),
            "item_id": [f"/product/{number % 90_000}" for number in range(rows)],
            "url": [
                f"https://shop.example/product/{number % 90_000}?recommendation={number}" for number in range(rows)
            ],
            "title": [f"Product {number % 90_000} of the shop" for number in range(rows)],
            "image_link": [f"https://shop.example/image/{number % 90_000}.jpg" for number in range(rows)],
            "recommendation_id": [str(number) for number in range(rows)],
            "updated_at": pa.repeat(moment, rows),
        }
    )
    pq.write_table(table, Path(folder) / "part.parquet")
    deliver(folder)
    psql(BENCH, f"\\copy newsletter TO '{folder}/newsletter.txt'", "CREATE TABLE peer (LIKE newsletter INCLUDING ALL)")


def deliver(folder: str) -> int:
    import pyarrow.parquet as pq

    from include.publishers.deliveries import WarehouseDelivery
    from warehouse.load import deliver_part

    to = WarehouseDelivery(name="table", kind="warehouse", connection=NAME, table="newsletter")
    return deliver_part(to, "bench", "batch", 0, pq.read_table(Path(folder) / "part.parquet"))


def copy_in(folder: str) -> int:
    """In one transaction with the deletion of what is there, as ours."""
    return psql(
        BENCH, "BEGIN", "DELETE FROM peer WHERE part = 0", f"\\copy peer FROM '{folder}/newsletter.txt'", "COMMIT"
    )


def psql(server: str, *commands: str) -> int:
    """Run commands in one session.

    Returns:
        rows that the copy among them counted.
    """
    arguments = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(
        ["psql", server, "-X", "-v", "ON_ERROR_STOP=1", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    counted = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("COPY ")]
    return int(counted[0]) if counted else 0
