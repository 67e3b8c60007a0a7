"""The demo's warehouse, its queries and its catalogue, held against the data package itself."""

import csv
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from airflow.sdk import BaseOperator

from demo import warehouse
from demo.deliveries import count_products
from demo.titles import title
from include.audience.build import build_audience
from include.publishers.config import load_publisher
from include.transactions.build import build_transactions
from warehouse.operators import PullAudienceOperator, PullTransactionsOperator
from warehouse.partitions import plan_partitions
from warehouse.queries import render, sql_text

MONTHS = [f"2017-{month:02d}-01T00:00:00+00:00" for month in range(1, 13)]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return warehouse.build(tmp_path_factory.mktemp("demo") / "warehouse.sqlite")


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """The same figures, counted without the code under test."""
    purchases, campaigns = (f"'{warehouse.data_file(table)}'" for table in ("transactions", "campaigns"))
    (row,) = duckdb.sql(
        f"SELECT count(*), count(DISTINCT basket_id), count(DISTINCT household_id), "
        f"(SELECT count(DISTINCT household_id) FROM {campaigns} WHERE campaign_id = 13) FROM {purchases}"
    ).fetchall()
    return dict(zip(("purchases", "baskets", "households", "campaign_audience"), row, strict=True))


@pytest.fixture
def db(figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_DEMO", json.dumps({"conn_type": "sqlite", "host": figures["path"]}))
    with closing(sqlite3.connect(figures["path"])) as opened:
        yield opened


def query(name: str, start: str = MONTHS[0], end: str = MONTHS[1], **params: Any) -> str:
    context: Any = {"task": BaseOperator(task_id="any"), "params": params}
    return render(sql_text(name), context, "demo", {"start": start, "end": end})


def test_figures_are_those_of_the_package(figures: dict[str, Any], facts: dict[str, Any]) -> None:
    assert {key: figures[key] for key in facts} == facts
    assert facts == {"purchases": 1_469_307, "baskets": 155_848, "households": 2_469, "campaign_audience": 1_077}
    assert (figures["products"], figures["campaigns"], figures["campaign_households"]) == (92_331, 27, 6_589)
    assert figures["reused"] is False


def test_values_are_those_of_the_package(db: sqlite3.Connection) -> None:
    purchases = f"'{warehouse.data_file('transactions')}'"
    sums = "sum(household_id), sum(basket_id), sum(product_id), sum(quantity), round(sum(sales_value), 2)"
    assert (
        db.execute(f"SELECT {sums} FROM transactions").fetchone()
        == duckdb.sql(f"SELECT {sums} FROM {purchases}").fetchall()[0]
    )
    ends = duckdb.sql(
        f"SELECT strftime(min(transaction_timestamp), '%Y-%m-%d %H:%M:%S'), "
        f"strftime(max(transaction_timestamp), '%Y-%m-%d %H:%M:%S') FROM {purchases}"
    ).fetchall()[0]
    assert (
        db.execute("SELECT min(transaction_timestamp), max(transaction_timestamp) FROM transactions").fetchone() == ends
    )
    assert db.execute("SELECT DISTINCT length(transaction_timestamp) FROM transactions").fetchall() == [(19,)]


def test_months_hold_every_basket_once_and_whole(db: sqlite3.Connection, facts: dict[str, Any]) -> None:
    rows, baskets = 0, Counter[int]()
    for start, end in zip(MONTHS, [*MONTHS[1:], "2018-02-01T00:00:00Z"], strict=True):
        sql = query("demo_transactions.sql", start, end)
        count, *_ = db.execute(f"SELECT count(*) FROM ({sql})").fetchone()
        rows += count
        baskets.update(basket for (basket,) in db.execute(f"SELECT DISTINCT session_id FROM ({sql})"))
    assert rows == facts["purchases"]
    assert len(baskets) == facts["baskets"]
    assert set(baskets.values()) == {1}


def test_a_month_is_pulled_and_what_began_in_another_is_left_to_that_one(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    window = {"start": MONTHS[1], "end": MONTHS[2]}
    operator = PullTransactionsOperator(task_id="pull", publisher="demo", run_folder=tmp_path.as_uri(), window=window)
    pulled = operator.execute({"task": operator, "params": {}})  # type: ignore[arg-type]
    settings = load_publisher("demo").past_transactions
    assert settings
    books = build_transactions(tmp_path, settings, window)["books"]
    (expected,) = db.execute(
        "SELECT count(*) FROM transactions WHERE transaction_timestamp LIKE '2017-02-%'"
    ).fetchone()
    assert pulled["rows"] == books["extracted"] > expected
    assert (books["uploaded"], books["elsewhere"]) == (expected, pulled["rows"] - expected)


@pytest.mark.parametrize("campaign", [False, True])
def test_the_books_of_the_audiences(
    campaign: bool, db: sqlite3.Connection, figures: dict[str, Any], facts: dict[str, Any], tmp_path: Path
) -> None:
    """Every dirty sign-up is rejected for the reason it was made for, every repeated one is a duplicate."""
    context: Any = {"task": BaseOperator(task_id="any"), "params": {}}
    partitions = [None] if campaign else plan_partitions("demo", None, context)
    for partition in partitions:
        operator = PullAudienceOperator(
            task_id="pull",
            publisher="demo",
            run_folder=tmp_path.as_uri(),
            partition=partition,
            sql="demo_campaign_audience.sql" if campaign else None,
        )
        operator.execute({**context, "task": operator})
    settings, as_of = load_publisher("demo").audience, datetime(2018, 1, 1, tzinfo=UTC)
    manifest = build_audience(tmp_path, settings, as_of, len(partitions))
    users = facts["campaign_audience" if campaign else "households"]
    signups = figures["signups"]
    assert manifest["books"] == {
        "extracted": users + signups["rows"],
        "rejected": signups["rejected"],
        "duplicates": signups["duplicates"],
        "uploaded": users,
    }
    assert manifest["reasons"] == {**signups["reasons"], "duplicate": signups["duplicates"]}
    assert len(partitions) == (1 if campaign else 2)


def test_another_campaign_can_be_asked_for(db: sqlite3.Connection, figures: dict[str, Any]) -> None:
    for campaign in (13, 18):
        (count,) = db.execute(
            f"SELECT count(*) FROM ({query('demo_campaign_audience.sql', campaign_id=campaign)})"
        ).fetchone()
        (sent,) = db.execute("SELECT count(*) FROM campaigns WHERE campaign_id = ?", [campaign]).fetchone()
        assert count == sent + figures["signups"]["rows"]


def test_the_catalogue_names_every_product(figures: dict[str, Any]) -> None:
    with Path(figures["catalogue"]).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["id", "title", "category"]
    assert len({row["id"] for row in rows}) == len(rows) == figures["products"]
    assert all(row["title"] and row["category"] for row in rows)
    assert rows[0] == {"id": "25671", "title": "Ice — crushed/cubed, 22 lb (National)", "category": "Frzn ice"}


@pytest.mark.parametrize(
    ("kind", "category", "size", "readable"),
    [
        ("ICE - CRUSHED/CUBED", "FRZN ICE", "22 LB", "Ice — crushed/cubed, 22 lb (Private)"),
        ("BREAD:ITALIAN/FRENCH", "BREAD", None, "Bread — italian/french (Private)"),
        ("LEAN", "BEEF", None, "Beef — lean (Private)"),
        ("SUGAR", "SUGARS/SWEETNERS", "4 LB", "Sugar, 4 lb (Private)"),
        ("CANDY BARS (SINGLES)(INCLUDING", "CANDY", "1 CT", "Candy bars (singles), 1 ct (Private)"),
        (None, None, None, "Miscellaneous (Private)"),
    ],
)
def test_titles_are_readable(kind: str | None, category: str | None, size: str | None, readable: str) -> None:
    product = {"product_type": kind, "product_category": category, "package_size": size, "brand": "Private"}
    assert title({**product, "department": "MISCELLANEOUS"}) == readable


def test_a_whole_warehouse_is_reused_without_former_deliveries(figures: dict[str, Any], db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE newsletter_recommendations (publisher TEXT)")
    again = warehouse.build(Path(figures["path"]))
    assert again["reused"] is True
    same = set(figures) - {"reused", "seconds"}
    assert {key: again[key] for key in same} == {key: figures[key] for key in same}
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert "newsletter_recommendations" not in tables
    assert {"transactions", "households", "newsletter_signups"} <= tables


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, None])
def test_what_is_not_whole_is_not_reused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.sqlite"
    if content is None:
        with closing(sqlite3.connect(path)) as old:
            old.execute("CREATE TABLE about (version INTEGER, figures TEXT)")
            old.execute("INSERT INTO about VALUES (0, '{}')")
            old.commit()
    else:
        path.write_bytes(content)
    assert warehouse._figures(path) is None
    assert warehouse._figures(tmp_path / "nowhere.sqlite") is None


def test_a_build_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(table: str) -> Any:
        yield (1,) * len(warehouse.TABLES[table])
        raise OSError("the disk is full")

    monkeypatch.setattr(warehouse, "_rows", broken)
    with pytest.raises(OSError, match="disk is full"):
        warehouse.build(tmp_path / "warehouse.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.csv"]


def test_the_own_delivery_counts_recipients(tmp_path: Path) -> None:
    rows = [("a", "p1", "Bread"), ("a", "p2", "Milk"), ("b", "p2", "Milk"), ("b", "p2", "Milk"), ("c", "p0", None)]
    frame = pd.DataFrame(rows, columns=["recipient", "item_id", "title"])
    assert count_products(frame, {"out": str(tmp_path / "out"), "part": 3}) == 3
    written = (tmp_path / "out" / "most-recommended-003.csv").read_text("utf-8")
    assert written == "item_id,title,recipients\np2,Milk,2\np0,,1\np1,Bread,1\n"
    assert count_products(frame.head(0), {"out": str(tmp_path / "out"), "part": 4}) == 0
