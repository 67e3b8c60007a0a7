"""The ``warehouse`` delivery: one part of a batch as rows of a table, through any SQL connection.

The rows of a publisher, batch and part are one unit: a transaction deletes the unit and inserts it anew, so doing it
twice, or once more after a failure in the middle, gives the same table (a database without transactions, such as
BigQuery, may show a part of the rows until the task is tried again). PostgreSQL gets the rows by COPY, others by
``executemany``. Where the table is missing it is made, with plain types that every database has; times are text in
ISO-8601 (UTC), ``personalised`` is 1 or 0. Whoever wants other types or an index makes the table beforehand: only the
names of the columns matter.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from warehouse.copy import copies, copy_in, is_postgres, plain
from warehouse.cursor import MYSQL_DRIVERS, connect, driver, warehouse_hook

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    from include.publishers.deliveries import WarehouseDelivery

log = logging.getLogger(__name__)

_NAME, _TEXT, _NUMBER = "name", "text", "number"
COLUMNS = {
    "publisher": _NAME,
    "batch": _NAME,
    "part": _NUMBER,
    "recipient": _TEXT,
    "auth_user_id": _TEXT,
    "personalised": _NUMBER,
    "recommendation_type": _TEXT,
    "item_rank": _NUMBER,
    "item_id": _TEXT,
    "url": _TEXT,
    "title": _TEXT,
    "image_link": _TEXT,
    "recommendation_id": _TEXT,
    "updated_at": _TEXT,
}
"""Columns of the table. ``item_rank`` is the place in its block, 1 first: ``rank`` is a reserved word in MySQL."""

_TYPES = {_NAME: "VARCHAR(200)", _TEXT: "TEXT", _NUMBER: "INTEGER"}
_STRINGS = {_NAME: "STRING", _TEXT: "STRING", _NUMBER: "BIGINT"}
_LONG = {_NAME: "VARCHAR(200)", _TEXT: "VARCHAR(4000)", _NUMBER: "INTEGER"}
_TYPES_OF = {"bigquery": _STRINGS, "databricks": _STRINGS, "oracle": _LONG, "mssql": _LONG, "redshift": _LONG}
_TURN_SECONDS = 600
_INDEXED = {"postgresql", "sqlite", "mysql", "mssql"}


def deliver_part(delivery: WarehouseDelivery, publisher: str, batch: str, part: int, table: pa.Table) -> int:
    """Make the table hold exactly these rows for this publisher, batch and part.

    Args:
        delivery: connection, table, rows sent at a time.
        publisher: its name.
        batch: name of the batch, at most 200 characters.
        part: number of the part.
        table: columns as ``include.deliveries.rows.part_table`` gives them.

    Returns:
        rows the table holds of this part.

    Raises:
        ConfigError: the connection cannot be used, or the table is there with other columns.
        TimeoutError: another task has been delivering the same part for ten minutes.
        Exception: what the driver raises; the table is then as it was before.
    """
    hook = warehouse_hook(delivery.connection)
    with closing(connect(hook)) as connection:
        _transactional(hook, connection)
        _ensure_table(hook, connection, delivery)
        try:
            _wait_for_turn(connection, delivery, (publisher, batch, part))
            _replace(hook, connection, delivery, (publisher, batch, part), table)
            connection.commit()
        except BaseException as error:
            _roll_back(connection)
            error.add_note(
                f"delivery {delivery.name}, table {delivery.table}, part {part}: the table was left as it was"
            )
            raise
    log.info("%s: %s rows of part %d in %s", delivery.name, f"{table.num_rows:,}", part, delivery.table)
    return int(table.num_rows)


def _transactional(hook: DbApiHook, connection: Any) -> None:
    """Make statements of this connection one transaction until it is committed."""
    if hook.supports_autocommit:
        hook.set_autocommit(connection, False)
    if driver(connection) in MYSQL_DRIVERS:
        with closing(connection.cursor()) as cursor:  # by default parts side by side lock each other's gaps: deadlocks
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _wait_for_turn(connection: Any, delivery: WarehouseDelivery, unit: tuple[str, str, int]) -> None:
    """Until no other task replaces the same unit: two at once would each delete the old rows, and both insert.

    Raises:
        TimeoutError: another one still does so after ten minutes.
    """
    digest = hashlib.sha256("\0".join(map(str, (delivery.table, *unit))).encode()).digest()
    with closing(connection.cursor()) as cursor:
        if is_postgres(connection, "psycopg", "psycopg2"):
            # What the one before has written must be seen, though the transaction begins before the waiting.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(f"SET LOCAL lock_timeout = '{_TURN_SECONDS}s'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (int.from_bytes(digest[:8], signed=True),))
        elif driver(connection) in MYSQL_DRIVERS:
            cursor.execute("SELECT GET_LOCK(%s, %s)", (digest[:16].hex(), _TURN_SECONDS))  # until it is closed
            if cursor.fetchone()[0] != 1:
                raise TimeoutError(f"another task has been delivering this part for {_TURN_SECONDS} s")


def _replace(
    hook: DbApiHook, connection: Any, delivery: WarehouseDelivery, unit: tuple[str, str, int], table: pa.Table
) -> None:
    mark = hook.placeholder
    delete = f"DELETE FROM {delivery.table} WHERE publisher = {mark} AND batch = {mark} AND part = {mark}"
    with closing(connection.cursor()) as cursor:
        cursor.execute(delete, unit)
        if copies(connection):
            copy_in(cursor, delivery.table, list(COLUMNS), _batches(table, unit, delivery.commit_rows))
            return
        insert = f"INSERT INTO {delivery.table} ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
        for rows in _rows(table, unit, delivery.commit_rows):
            cursor.executemany(insert, rows)


def _batches(table: pa.Table, unit: tuple[str, str, int], size: int) -> Iterator[list[pa.Array]]:
    """The columns as the table wants them, ``size`` rows at a time; constant ones as scalars."""
    import pyarrow as pa

    source = [{"item_rank": "rank"}.get(name, name) for name in list(COLUMNS)[len(unit) :]]
    for batch in table.select(source).to_batches(max_chunksize=size):
        yield [*map(pa.scalar, unit), *batch.columns]


def _rows(table: pa.Table, unit: tuple[str, str, int], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as the table wants them, ``size`` at a time."""
    for columns in _batches(table, unit, size):
        values = (map(plain, column.to_pylist()) for column in columns[len(unit) :])
        yield [(*unit, *row) for row in zip(*values, strict=True)]


def _ensure_table(hook: DbApiHook, connection: Any, delivery: WarehouseDelivery) -> None:
    """Make the table if it is not there; several tasks may do so at once.

    Raises:
        ConfigError: it is there, and lacks columns.
    """
    if _is_there(connection, delivery):
        return
    dialect = hook.dialect_name
    kinds = _TYPES_OF.get(dialect, _TYPES)
    columns = ", ".join(f"{name} {kinds[kind]}" for name, kind in COLUMNS.items())
    try:
        with closing(connection.cursor()) as cursor:
            characters = " DEFAULT CHARACTER SET utf8mb4" if dialect == "mysql" else ""
            cursor.execute(f"CREATE TABLE {delivery.table} ({columns}){characters}")
            if dialect in _INDEXED:
                index = f"{delivery.table.rpartition('.')[2]}_unit"[-60:]
                cursor.execute(f"CREATE INDEX {index} ON {delivery.table} (publisher, batch, part)")
        connection.commit()
        log.info("%s: made table %s", delivery.name, delivery.table)
    except Exception:
        _roll_back(connection)
        if not _is_there(connection, delivery):  # or another task was faster
            raise


def _roll_back(connection: Any) -> None:
    with suppress(Exception):  # a lost connection, or a database without transactions
        connection.rollback()


def _is_there(connection: Any, delivery: WarehouseDelivery) -> bool:
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT * FROM {delivery.table} WHERE 1 = 0")
            found = {column[0].casefold() for column in cursor.description}
            cursor.fetchall()  # of no rows: some drivers want a result to be read
    except Exception:  # noqa: BLE001  # every driver has its own error for a missing table
        _roll_back(connection)
        return False
    _roll_back(connection)
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise ConfigError(
            f"delivery {delivery.name}: table {delivery.table} is there without the columns {', '.join(missing)}. "
            "Nothing was delivered. Add them, or give another table."
        )
    return True
