"""One entrance for queries and files: templates, windows, names of columns, places of files."""

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.errors import BadInput, ConfigError
from include.publishers.base import Source
from include.staging import to_path
from warehouse.operators import PullTransactionsOperator
from warehouse.places import local_files
from warehouse.pull import Columns
from warehouse.source import pull_source, widened

WINDOW = {"start": "2017-03-01T00:00:00+00:00", "end": "2017-04-01T00:00:00+00:00"}
COLUMNS = Columns(["session_id", "identity"], ["user_id"])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object store in memory, known to Airflow by the scheme ``memory``."""
    from airflow.sdk.io import store
    from fsspec.implementations.memory import MemoryFileSystem

    files = MemoryFileSystem()
    monkeypatch.setitem(store._STORE_CACHE, "memory", store.ObjectStore("memory", None, files))
    yield files
    files.store.clear()


def staged(run: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(run / "raw" / "part-00000.parquet").to_pylist()]


def pull(run: Path, context: dict[str, Any], source: Source, window: Any = None, **options: Any) -> Any:
    return pull_source(source, COLUMNS, run, context, "shop", window, **options)  # type: ignore[arg-type]


@pytest.fixture
def orders(shop: sqlite3.Connection) -> sqlite3.Connection:
    shop.execute("CREATE TABLE orders (OrderNo TEXT, sku INTEGER, status TEXT, at TEXT, identity TEXT)")
    rows = [("o1", 1, "paid", "2017-03-01"), ("o2", 2, "new", "2017-03-02"), ("o3", 3, "paid", "2017-05-02")]
    shop.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, 'not ours')", rows)
    return shop


def test_a_query_with_names_of_its_own(orders: Any, context: dict[str, Any], tmp_path: Path) -> None:
    source = Source(connection="shop", sql="SELECT *, 1 AS x, 2 AS x FROM orders WHERE at < '{{ window_end | ds }}'")
    names = {"session_id": "orderno", "identity": "sku"}
    record = pull(tmp_path, context, source, WINDOW, names=names)
    assert (record["rows"], record["refused"]) == (2, 0)
    assert staged(tmp_path) == [("o1", "1", None), ("o2", "2", None)]


def test_what_is_missing_is_named(orders: Any, context: dict[str, Any], tmp_path: Path) -> None:
    source = Source(connection="shop", sql="SELECT sku, status FROM orders")
    with pytest.raises(BadInput, match=r"connection shop: columns: found sku, status; missing: OrderNo, identity\."):
        pull(tmp_path, context, source, names={"session_id": "OrderNo"})
    with pytest.raises(BadInput, match=r"missing: session_id, identity, who"):
        pull(tmp_path, context, source, names={"user_id": "who"})
    twice = Source(connection="shop", sql="SELECT sku, SKU, OrderNo AS session_id FROM orders")
    with pytest.raises(BadInput, match=r"twice: sku"):
        pull(tmp_path, context, twice, names={"identity": "sku"})


def test_a_window_is_widened_for_the_query(
    orders: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    sql = (
        "SELECT '{{ window_start.isoformat() }} {{ window_end.isoformat() }}' AS session_id, "
        "'{{ run_start.isoformat() }} {{ run_end.isoformat() }}' AS identity"
    )
    wide = "2017-02-27T22:30:00+00:00 2017-04-02T01:30:00+00:00"
    own = f"{WINDOW['start']} {WINDOW['end']}"
    for settings, expected in (({}, (wide, own)), ({"sessions": "as_extracted"}, (own, own))):
        publisher(past_transactions={"sql": sql, "session_hours": 1.5, **settings})
        operator: Any = PullTransactionsOperator(
            task_id="t", publisher="shop", run_folder=tmp_path.as_uri(), window=WINDOW
        )
        operator.execute({**context, "task": operator})
        assert staged(tmp_path)[0][:2] == expected


def test_a_window_that_cannot_be_widened() -> None:
    assert widened({"start": "2017-03-01T00:00:00+01:00", "end": "2017-03-02"}, 24, "UTC") == {
        "start": "2017-02-27T00:00:00+01:00",
        "end": "2017-03-04T00:00:00",
    }
    assert widened(WINDOW, 0, "Europe/Prague") == {
        "start": "2017-02-27T10:00:00+00:00",
        "end": "2017-04-02T14:00:00+00:00",
    }
    with pytest.raises(ConfigError, match="cannot be widened by 2 days, 14:00:00"):
        widened({"start": "0001-01-01T00:00:00+00:00", "end": "2017-03-02"}, 24, "Europe/Prague")


def test_a_run_without_a_window(orders: Any, publisher: Any, context: dict[str, Any], tmp_path: Path) -> None:
    publisher(past_transactions={"sql": "SELECT OrderNo AS session_id, sku AS identity FROM orders"})
    operator: Any = PullTransactionsOperator(task_id="t", publisher="shop", run_folder=tmp_path.as_uri())
    assert operator.execute({**context, "task": operator})["rows"] == 3
    publisher(past_transactions={"sql": "SELECT 1 AS session_id, '{{ window_start }}' AS identity"})
    with pytest.raises(ConfigError, match="this run has no window"):
        operator.execute({**context, "task": operator})


def test_columns_that_rules_look_at_are_staged(
    orders: Any, publisher: Callable[..., None], context: dict[str, Any], tmp_path: Path
) -> None:
    rules = {"columns": {"session_id": "OrderNo"}, "keep": {"STATUS": ["paid"]}, "drop": {"orderno": ["C*"]}}
    publisher(past_transactions={"sql": "SELECT OrderNo, sku AS identity, status FROM orders", **rules})
    operator: Any = PullTransactionsOperator(task_id="t", publisher="shop", run_folder=tmp_path.as_uri())
    operator.execute({**context, "task": operator})
    assert pq.read_schema(tmp_path / "raw" / "part-00000.parquet").names == [
        *("session_id", "identity", "STATUS"),
        *("user_id", "created_at", "quantity"),
    ]
    assert staged(tmp_path)[1][:3] == ("o2", "2", "new")


def test_files_instead_of_a_query(publisher: Any, context: dict[str, Any], tmp_path: Path) -> None:
    """A run's own files take the place of the publisher's query; without a header the documented order holds."""
    publisher(past_transactions={"sql": "SELECT broken", "header": False, "delimiter": ";"})
    for name, content in (("b", "o2;p2;u2;2017-03-02"), ("a", "o1;p1;u1;2017-03-01")):
        (tmp_path / f"history {name}[1].csv.gz").write_bytes(gzip.compress(content.encode()))
    run = tmp_path / "run"
    operator: Any = PullTransactionsOperator(
        task_id="t",
        publisher="shop",
        run_folder=run.as_uri(),
        files=f"{tmp_path}/history ?[1].csv{{{{ '.gz' if params.campaign_id }}}}",
    )
    pulled = operator.execute({**context, "task": operator})
    assert pulled == {"uri": run.as_uri(), "part": 0, "rows": 2, "refused": 0}
    assert [row[:4] for row in staged(run)] == [("o1", "p1", "u1", "2017-03-01"), ("o2", "p2", "u2", "2017-03-02")]
    assert json.loads((run / "raw" / "part-00000.json").read_text())["complete"] is True


def test_templates_of_a_run_know_little(context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "2017-03.csv").write_text("session_id,identity\no1,p1\n")
    source = Source(files=f"{tmp_path}/{{{{ window_start.strftime('%Y-%m') }}}}.csv")
    assert pull(tmp_path, {**context, "secret": "no"}, source, WINDOW)["rows"] == 1
    for template in ("/{{ secret }}.csv", "/{{ ds }}.csv"):
        with pytest.raises(ConfigError, match="publisher shop: files: the template cannot be rendered"):
            pull(tmp_path, {**context, "secret": "no"}, source, WINDOW, files=template)
    with pytest.raises(ConfigError, match=r"files: the template cannot be rendered: .* this run has no window"):
        pull(tmp_path, context, source)


def test_no_file_is_an_error(context: dict[str, Any], tmp_path: Path, bucket: Any) -> None:
    (tmp_path / "folder.csv").mkdir()
    for place in (f"{tmp_path}/orders-*.csv", f"file://{tmp_path}/folder.csv", "memory://b/no.csv", "memory://b/?.csv"):
        with pytest.raises(BadInput, match=r"publisher shop: files: .*: there is no such file.* Nothing was staged"):
            pull(tmp_path, context, Source(files=place))
    assert not (tmp_path / "raw").exists()


def test_places_that_cannot_be_used(context: dict[str, Any], tmp_path: Path) -> None:
    for place, message in (
        ("orders.csv", "give an absolute path"),
        ("gs://bucket/orders.csv", "the object store cannot be used .*Install the Airflow provider that knows gs://"),
        ("nosuch://bucket/orders.csv", "the object store cannot be used"),
    ):
        with pytest.raises(ConfigError, match=f"publisher shop: files: {place}: {message}"):
            pull(tmp_path, context, Source(files=place))


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://user:SECRET@host/x-*.csv?sig=SECRET", "https://host/x-*.csv: a password must not"),
        ("https://host/orders.csv?SECRET", "https://host/orders.csv: the object store cannot be used"),
        ("https:/user:SECRET@host/x.csv", "https:/host/x.csv: give an absolute path"),
        ("nosuch://SECRET@b/day=?/no.csv?v=SECRET/x", "nosuch://b/day=?/no.csv: the object store cannot be used"),
        ("memory://b/no-?.csv?sig=SECRET", "memory://b/no-?.csv: there is no such file"),
    ],
)
def test_secrets_in_a_place_are_not_shown(
    place: str, shown: str, context: dict[str, Any], tmp_path: Path, bucket: Any
) -> None:
    with pytest.raises((BadInput, ConfigError)) as caught:
        pull(tmp_path, context, Source(files=place))
    assert str(caught.value).startswith(f"publisher shop: files: {shown}")
    assert "SECRET" not in str(caught.value)


def test_objects_of_a_store(context: dict[str, Any], tmp_path: Path, bucket: Any) -> None:
    for number in (3, 1, 2):
        bucket.pipe(f"/bucket/in/orders-{number}.csv", f"session_id,identity\no{number},p\n".encode())
    bucket.pipe("/bucket/in/deeper/orders-4.csv", b"broken")
    assert pull(tmp_path, context, Source(files="memory://bucket/in/orders-*.csv"))["rows"] == 3
    assert [row[0] for row in staged(tmp_path)] == ["o1", "o2", "o3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
    with local_files("memory://bucket/in/orders-?.csv", tmp_path / "copies") as files:
        seen = [(name, len(list((tmp_path / "copies").glob("*/*")))) for name, _ in files]
    assert seen == [(f"memory://bucket/in/orders-{number}.csv", 1) for number in (1, 2, 3)]
    assert not list((tmp_path / "copies").iterdir())


def test_an_object_that_changes_while_it_is_copied(
    context: dict[str, Any], tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/bucket/orders.csv", b"session_id,identity\no1,p\n")
    known = {**bucket.info("/bucket/orders.csv"), "size": 99}
    monkeypatch.setattr(type(bucket), "info", lambda *_: known)
    with pytest.raises(BadInput, match=r"memory://bucket/orders.csv: 25 bytes came of 99; it is being written"):
        pull(tmp_path, context, Source(files="memory://bucket/orders.csv"))
    assert not list((tmp_path / "raw").iterdir())


def test_the_warehouse_is_not_blamed_for_the_store(
    orders: Any, context: dict[str, Any], tmp_path: Path, s3_staging: Path
) -> None:
    run = to_path(f"s3://store@nosuchbucket/{s3_staging.name}")
    file = tmp_path / "orders.csv"
    file.write_text("session_id,identity\no1,p1\n")
    query = Source(connection="shop", sql="SELECT OrderNo AS session_id, sku AS identity FROM orders")
    for source in (query, Source(files=file.as_uri())):
        with pytest.raises(ConfigError, match=r"Is there such a bucket") as caught:
            pull(run, context, source, names={})
        assert "publisher" not in str(caught.value)
        assert not getattr(caught.value, "__notes__", [])


def test_a_half_file_leaves_nothing_of_a_former_try(context: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "orders.csv.gz"
    whole = gzip.compress(b"session_id,identity\n" + b"o1,p1\n" * 10_000)
    file.write_bytes(whole)
    assert pull(tmp_path, context, Source(files=file.as_uri()))["rows"] == 10_000
    file.write_bytes(whole[:-9])
    with pytest.raises(BadInput, match=r"publisher shop: files: .*orders.csv.gz: not a whole gzip file"):
        pull(tmp_path, context, Source(files=str(file)))
    assert not (tmp_path / "raw" / "part-00000.json").exists()
