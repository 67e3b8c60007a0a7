"""The operators, with real databases: rows become a staged part, each try replaces it, mistakes are explained."""

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.errors import BadInput, ConfigError
from include.raw import read_raw
from warehouse import pull
from warehouse.operators import PullAudienceOperator, PullTransactionsOperator
from warehouse.partitions import plan_partitions

WINDOW = {"start": "2017-03-01T00:00:00+00:00", "end": "2017-04-01T00:00:00+00:00"}


@pytest.fixture
def people(shop: sqlite3.Connection) -> sqlite3.Connection:
    shop.execute("CREATE TABLE people (id INTEGER, name TEXT, mail TEXT)")
    rows = [(i, f"u{i}", None if i % 2 else f"u{i}@example.org") for i in range(1, 101)]
    shop.executemany("INSERT INTO people VALUES (?, ?, ?)", [*rows, (None, "nobody", None)])
    return shop


def audience(run: Path, context: dict[str, Any], **arguments: Any) -> Any:
    operator = PullAudienceOperator(task_id="pull", publisher="shop", run_folder=run.as_uri(), **arguments)
    return operator, operator.execute({**context, "task": operator})


def staged(run: Path, part: int = 0) -> list[dict[str, Any]]:
    return pq.read_table(run / "raw" / f"part-{part:05d}.parquet").to_pylist()


def test_an_audience_is_staged(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT name AS AUTH_USER_ID, mail AS recipient FROM people;", batch_rows=7)
    run = tmp_path / "run 1"
    _, pulled = audience(run, context)
    assert pulled == {"uri": run.as_uri(), "part": 0, "rows": 101, "refused": 0}
    assert {row["auth_user_id"]: row["recipient"] for row in staged(run)} == dict(
        people.execute("SELECT name, mail FROM people")
    )
    assert json.loads((run / "raw" / "part-00000.json").read_text())["complete"] is True


def test_partitions_together_are_the_whole(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT id, name AS auth_user_id FROM people -- all", partitions=3, partition_key="id")
    partitions = plan_partitions("shop", None, context)
    people.execute("INSERT INTO people VALUES (5000, 'late', NULL)")
    pulled = [audience(tmp_path, context, partition=partition)[1] for partition in partitions]
    assert [one["part"] for one in pulled] == [0, 1, 2]
    names = [row["auth_user_id"] for part in range(3) for row in staged(tmp_path, part)]
    assert sorted(names) == sorted(["nobody", "late", *(f"u{i}" for i in range(1, 101))])
    assert all(set(row) == {"auth_user_id", "recipient"} for row in staged(tmp_path, 1))


def test_a_query_that_splits_itself(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT name AS auth_user_id FROM people WHERE id % {{ partitions }} = {{ partition }}", partitions=2)
    for partition in plan_partitions("shop", None, context):
        audience(tmp_path, context, partition=partition)
    assert [len(staged(tmp_path, part)) for part in (0, 1)] == [50, 50]


def test_of_a_later_try_that_is_cut_into_fewer_parts_only_those_count(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT id, name AS auth_user_id FROM people", partitions=3, partition_key="id")
    for partition in plan_partitions("shop", None, context):
        audience(tmp_path, context, partition=partition)
    people.execute("DELETE FROM people WHERE id > 2")
    publisher(sql="SELECT id, name AS auth_user_id FROM people", partition_key="id")
    _, pulled = audience(tmp_path, context)
    assert pulled["rows"] == read_raw(tmp_path / "raw", 1).rows == 3


def test_a_try_that_fails_leaves_no_record(
    postgres: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(connection="pg", sql="SELECT 'u' || i AS auth_user_id FROM generate_series(1, 9) i", batch_rows=2)
    audience(tmp_path, context)
    publisher(connection="pg", sql="SELECT 1 / (5 - i) AS auth_user_id FROM generate_series(1, 9) i", batch_rows=2)
    with pytest.raises(Exception, match="division by zero") as caught:
        audience(tmp_path, context)
    assert "publisher shop, connection pg: while reading the query for part 0" in caught.value.__notes__[0]
    assert not (tmp_path / "raw" / "part-00000.json").exists()


def test_the_runs_own_sql_takes_the_place_of_the_publishers(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT id, name AS auth_user_id FROM people", partitions=4, partition_key="id")
    sql = "SELECT name AS auth_user_id FROM people WHERE id <= {{ params.campaign_id }} AND {{ window_start.year }}"
    assert audience(tmp_path, context, sql=sql, window=WINDOW)[1]["rows"] == 13
    assert audience(tmp_path, context, sql="", file="")[1]["rows"] == 101


def test_parameters_are_rendered_by_airflow_first(publisher: Callable[..., None], context: dict[str, Any]) -> None:
    operator = PullAudienceOperator(
        task_id="pull",
        publisher="{{ params.publisher }}",
        run_folder="file:///staging/{{ ds }}",
        window={"start": "{{ params.start }}", "end": ""},
        partition={"index": 0, "of": 1, "low": None, "high": None},
        sql="{{ params.sql }}",
    )
    operator.render_template_fields(
        {"params": {"publisher": "shop", "sql": "SELECT '{{ window_start }}'", "start": "2017"}, "ds": "2026-05-01"}
    )
    assert (operator.publisher, operator.run_folder) == ("shop", "file:///staging/2026-05-01")
    assert operator.sql == "SELECT '{{ window_start }}'"
    assert operator.window == {"start": "2017", "end": ""}
    assert set(PullTransactionsOperator.template_fields) == {"publisher", "run_folder", "window", "files"}


def test_rows_that_cannot_be_text_are_set_aside(
    shop: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT CAST(x'ff75' AS TEXT) AS auth_user_id UNION ALL SELECT 'u1'")
    _, pulled = audience(tmp_path, context)
    assert (pulled["rows"], pulled["refused"]) == (1, 1)


def test_wrong_columns_are_named(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(sql="SELECT id, mail FROM people")
    with pytest.raises(BadInput, match=r"publisher shop, connection shop: columns: found id, mail; wanted"):
        audience(tmp_path, context)
    publisher(past_transactions={"sql": "SELECT id AS session_id, 2 AS price FROM people"})
    operator = PullTransactionsOperator(task_id="t", publisher="shop", run_folder=tmp_path.as_uri(), window=WINDOW)
    with pytest.raises(BadInput, match="found session_id, price; missing: identity"):
        operator.execute({**context, "task": operator})


def test_all_rows_in_every_partition_are_refused(
    people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "publishers" / "all.sql").write_text("SELECT name AS auth_user_id FROM people")
    publisher(sql="all.sql", partitions=2)
    with pytest.raises(ConfigError, match="every partition would give all rows"):
        audience(tmp_path, context, partition={"index": 1, "of": 2, "low": None, "high": None})


def test_a_list_in_a_file_instead_of_a_query(
    publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    publisher(connection="not_there", partitions=4, partition_key="id")
    names = tmp_path / "my list.csv"
    names.write_text("auth_user_id,recipient\nu1,u1@example.org\nu2,\n")
    _, pulled = audience(tmp_path, context, file=names.as_uri())
    assert (pulled["rows"], pulled["part"]) == (2, 0)
    assert staged(tmp_path)[0] == {"auth_user_id": "u1", "recipient": "u1@example.org"}
    with pytest.raises(BadInput, match=r"nothing\.csv"):
        audience(tmp_path, context, file=(tmp_path / "nothing.csv").as_uri())
    for more in ({"sql": "SELECT 1"}, {"partition": {"index": 1, "of": 2, "low": 1, "high": 2}}):
        with pytest.raises(ConfigError, match="a file is one partition and goes without SQL"):
            audience(tmp_path, context, file=names.as_uri(), **more)


def test_purchases_of_a_window(
    shop: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    shop.execute("CREATE TABLE bought (basket INTEGER, product INTEGER, who REAL, at TEXT)")
    days = [f"2017-{month:02d}-15 10:00:00" for month in range(1, 13)]
    shop.executemany("INSERT INTO bought VALUES (?, 7, 900, ?)", enumerate(days))
    sql = (
        "SELECT basket AS session_id, product AS identity, who AS user_id, at AS created_at FROM bought "
        "WHERE at >= '{{ window_start }}' AND at < '{{ window_end }}'"
    )
    publisher(past_transactions={"sql": sql})
    operator = PullTransactionsOperator(task_id="t", publisher="shop", run_folder=tmp_path.as_uri(), window=WINDOW)
    assert operator.execute({**context, "task": operator})["rows"] == 1
    assert staged(tmp_path) == [
        {
            "session_id": "2",
            "identity": "7",
            "user_id": "900.0",
            "created_at": "2017-03-15 10:00:00",
            "quantity": None,
        }
    ]
    publisher()
    with pytest.raises(ConfigError, match="publisher shop: its file has no past_transactions"):
        operator.execute({**context, "task": operator})


def test_progress_is_told_without_data(
    people: Any,
    publisher: Callable[..., None],
    context: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pull, "PROGRESS_SECONDS", 0.0)
    publisher(sql="SELECT 'secret-' || name AS auth_user_id FROM people", batch_rows=50)
    with caplog.at_level(logging.DEBUG):
        audience(tmp_path, context)
    lines = [record.getMessage() for record in caplog.records if record.name == "warehouse.pull"]
    assert len(lines) == 4
    assert lines[0].startswith("part 0: 50 rows so far, ")
    assert lines[-1].startswith("part 0: 101 rows in ")
    assert "secret-" not in caplog.text


def test_lineage_names_tables_part_and_rows(
    postgres: Any, people: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    postgres.execute("CREATE TABLE customers AS SELECT 'u' || i AS id FROM generate_series(1, 5) i")
    publisher(connection="pg", sql="SELECT id AS auth_user_id FROM customers")
    operator, _ = audience(tmp_path, context)
    lineage = operator.get_openlineage_facets_on_complete(None)
    (schema,) = postgres.execute("SELECT current_schema()").fetchone()
    info = postgres.info
    assert [dataset.name for dataset in lineage.inputs] == [f"{info.dbname}.{schema}.customers"]
    assert lineage.inputs[0].namespace == f"postgres://{info.host}:{info.port}"
    part = tmp_path / "raw" / "part-00000.parquet"
    assert (lineage.outputs[0].namespace, lineage.outputs[0].name) == ("file", str(part))
    statistics = lineage.outputs[0].outputFacets["outputStatistics"]
    assert (statistics.rowCount, statistics.size) == (5, part.stat().st_size)
    publisher(sql="SELECT name AS auth_user_id FROM people")
    operator, _ = audience(tmp_path, context)
    assert operator.get_openlineage_facets_on_complete(None).inputs == []


def test_dag_files_can_import_the_operators_cheaply() -> None:
    code = (
        "import sys, airflow.sdk, warehouse.operators, warehouse.partitions, warehouse.load\n"
        "print(sorted({'pandas', 'pyarrow', 'duckdb', 'numpy', 'lxml'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().endswith("[]")


@pytest.fixture(params=["shop", "pg", "maria"])
def database(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Name of a connection, and the database behind it."""
    return request.param, request.getfixturevalue({"pg": "postgres"}.get(request.param, request.param))


def test_every_database_gives_the_same_audience_and_purchases(
    database: tuple[str, Any], publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    name, db = database
    many = "CHARACTER SET utf8mb4" if name == "maria" else ""
    moment = {"shop": "TEXT", "pg": "TIMESTAMPTZ", "maria": "TIMESTAMP(3)"}[name]
    db.execute(f"CREATE TABLE people (id INTEGER, name VARCHAR(20) {many})")
    db.execute("INSERT INTO people VALUES (1, 'a'), (7, 'ž😀'), (8, 'b%s\t'), (40, NULL), (NULL, '')")
    db.execute(f"CREATE TABLE bought (s INTEGER, p VARCHAR(9), at {moment}, n DECIMAL(9,2))")
    zone = "" if name == "maria" else "+00:00"
    if name == "maria":
        db.execute("SET time_zone = '+00:00'")
    times = [f"'2017-{day}.500{zone}'" for day in ("02-28 23:59:59", "03-01 00:00:00", "03-31 23:59:59")]
    rows = [f"({number}, 'x{number}', {time}, {number}.50)" for number, time in enumerate(times)]
    db.execute(f"INSERT INTO bought VALUES {', '.join(rows)}")
    purchases = {
        "connection": name,
        "sql": "SELECT s AS session_id, p AS identity, at AS created_at, n AS quantity FROM bought "
        "WHERE at >= '{{ window_start }}' AND at < '{{ window_end }}' ORDER BY s",
        "sessions": "as_extracted",
    }
    publisher(
        connection=name,
        sql="SELECT id, name AS auth_user_id FROM people",
        partitions=3,
        partition_key="id",
        past_transactions=purchases,
    )
    partitions = plan_partitions("shop", None, context)
    assert len(partitions) == 3
    pulled = [audience(tmp_path / "a", context, partition=each)[1] for each in partitions]
    found = [row["auth_user_id"] for part in pulled for row in staged(tmp_path / "a", part["part"])]
    assert sorted(found, key=repr) == sorted(["a", "ž😀", "b%s\t", None, ""], key=repr)
    run = tmp_path / "t"
    operator = PullTransactionsOperator(task_id="pull", publisher="shop", run_folder=run.as_uri(), window=WINDOW)
    assert operator.execute({**context, "task": operator})["rows"] == 2
    came = [[row[key] for key in ("session_id", "identity", "created_at", "quantity")] for row in staged(run)]
    middle = {"shop": " "}.get(name, "T")
    fraction = "500" if name == "shop" else "500000"
    assert came == [
        ["1", "x1", f"2017-03-01{middle}00:00:00.{fraction}+00:00", "1.50" if name != "shop" else "1.5"],
        ["2", "x2", f"2017-03-31{middle}23:59:59.{fraction}+00:00", "2.50" if name != "shop" else "2.5"],
    ]
