"""The audience: ids are pulled from a database cursor, become a user set, and are compared with the live one."""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, measure, workplace
from benchmarks.scale.curves import Point, point

TITLE = "Audience: from a cursor to a judged user set"
UNIT = "ids"
SIZES = (1_000_000, 2_000_000, 5_000_000, 10_000_000)
QUICK = (2_000, 4_000)
HERE = "benchmarks.scale.audience"
PULL = ["warehouse.pull", "airflow.providers.sqlite.hooks.sqlite", "include.extract", "pandas"]


def run(sizes: list[int], quick: bool) -> list[Point]:  # noqa: ARG001
    points = []
    with workplace("scale-audience") as folder:
        os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
        database = str(folder / "shop.sqlite")
        os.environ["AIRFLOW_CONN_SCALE"] = json.dumps({"conn_type": "sqlite", "host": database})
        measure({"data": Case(f"{HERE}:make", {"database": database, "ids": max(sizes)})}, 1)
        for size in sizes:
            place: dict[str, Any] = {"run": str(folder / str(size))}
            cases = {
                "pull": Case(f"{HERE}:pull", {**place, "ids": size}, imports=PULL),
                "build": Case("benchmarks.bench_audience:build", place, imports=["include.audience.build", "pandas"]),
                "guard": Case(f"{HERE}:guard", place, imports=["include.audience.guard"]),
            }
            found = measure(cases, 1)
            points += [point(stage, size, measured) for stage, measured in found.items()]
    return points


def make(database: str, ids: int) -> None:
    """A table of ids of 36 characters in no order, 0.25 % of them twice, 0.1 % unacceptable."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE customers (number INTEGER PRIMARY KEY, auth_user_id TEXT)")
        connection.execute(
            """
            WITH RECURSIVE counted(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < ?),
            random(number, digits) AS (SELECT number, lower(hex(randomblob(16))) FROM counted)
            INSERT INTO customers
            SELECT number, CASE
                WHEN number % 1000 = 7 THEN ' x'
                WHEN number % 200 = 0 THEN printf('twice-%030d', number / 400)
                ELSE substr(digits, 1, 8) || '-' || substr(digits, 9, 4) || '-' || substr(digits, 13, 4) || '-'
                    || substr(digits, 17, 4) || '-' || substr(digits, 21) END
            FROM random
            """,
            [ids],
        )
        connection.commit()


def pull(run: str, ids: int) -> int:
    from warehouse.pull import Columns, Query, pull_query

    sql = f"SELECT auth_user_id FROM customers WHERE number <= {ids}"
    return pull_query(Query("bench", "scale", sql, 50_000), Columns(["auth_user_id"], ["recipient"]), Path(run), 0)[
        "rows"
    ]


def guard(run: str) -> str:
    """Judge the list against one of the same ids that calls itself another."""
    from include.audience.build import ACCEPTED
    from include.audience.guard import judge
    from include.audience.user_sets import IDS, UserSet
    from include.publishers.models import Guard
    from include.staging import MANIFEST, read_json

    manifest, folder = read_json(Path(run) / MANIFEST), Path(run) / "before"
    folder.mkdir(exist_ok=True)
    (folder / IDS).unlink(missing_ok=True)
    (folder / IDS).hardlink_to(Path(run) / ACCEPTED)
    record = {**manifest, "sha256": "0" * 64, "segment": False}
    return judge(Path(run), UserSet(folder, "before", record), Guard()).verdict
