"""Reading a query row batch by row batch, whatever the database, without ever holding all of it.

Here lies what differs between database drivers when a large result is read: PostgreSQL drivers keep the result on
the server only for a cursor that has a name, MySQL drivers only for their ``SSCursor``; all others stream from their
plain cursor with ``fetchmany``. PostgreSQL can also give columns (``warehouse.adbc``). What the rows mean is not
known here.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from warehouse.adbc import can_read, columns_of

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

SQLITE_BUSY_MILLISECONDS = 120_000
MYSQL_DRIVERS = {"MySQLdb", "pymysql", "mysql"}
_MYSQL_SESSION = "SET SESSION time_zone = '+00:00', net_write_timeout = 600"
_MYSQL_TIMESTAMP = 7


@dataclass(frozen=True)
class Result:
    """An open query: the names of its columns, and its rows in batches, of tuples or by columns; to be read once."""

    columns: list[str]
    batches: Iterator[Any]


def warehouse_hook(conn_id: str) -> DbApiHook:
    """The hook of a connection that speaks SQL.

    Raises:
        ConfigError: no such connection, its provider is not installed, or its hook is not a DbApiHook.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowException

    try:
        hook = BaseHook.get_hook(conn_id)
    except AirflowException as error:
        raise ConfigError(
            f"connection {conn_id!r}: cannot be used as a warehouse: {error}. "
            "Create the connection, and install the provider of its type."
        ) from error
    if not isinstance(hook, DbApiHook):
        raise ConfigError(
            f"connection {conn_id!r}: {type(hook).__name__} does not speak SQL; "
            "a warehouse needs a connection whose hook is a DbApiHook (postgres, snowflake, sqlite, ...)"
        )
    return hook


def connect(hook: DbApiHook) -> Any:
    """A new database connection.

    On SQLite it waits up to two minutes for another writer instead of failing, and text that is not UTF-8 comes as
    bytes, so that one such row can be refused instead of ending the query. On MySQL and MariaDB the session's time zone
    is UTC, and the server waits ten minutes, not one, for who reads a result slowly.
    """
    connection = hook.get_conn()
    if driver(connection) == "sqlite3":
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MILLISECONDS}")
        connection.text_factory = _text_or_bytes
    elif driver(connection) in MYSQL_DRIVERS:
        with closing(connection.cursor()) as cursor:
            cursor.execute(_MYSQL_SESSION)
    return connection


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def driver(connection: Any) -> str:
    """The top-level package of the driver that made a connection, such as ``psycopg`` or ``sqlite3``."""
    return type(connection).__module__.partition(".")[0]


def open_cursor(connection: Any) -> Any:
    """The cursor of this driver that leaves the result on the server and yields plain tuples."""
    make = _STREAMING.get(driver(connection))
    return make(connection) if make else connection.cursor()


@contextmanager
def stream(hook: DbApiHook, sql: str, batch_rows: int, by_columns: bool = False) -> Iterator[Result]:
    """Run a query; its rows can be read while the block lasts. Memory: one batch of ``batch_rows`` rows.

    The text goes to the driver as it is, without parameters, so a ``%`` in it means itself. The connection is
    closed when the block ends, however it ends; what was not read is not fetched.

    Args:
        hook: of the connection.
        sql: the query.
        batch_rows: rows of a batch, at most.
        by_columns: where the database can, batches are :class:`warehouse.adbc.Columns` instead of lists of tuples.
    """
    connection = connect(hook)
    cursor = None
    try:
        cursor = open_cursor(connection)
        with suppress(AttributeError):
            cursor.arraysize = batch_rows
        cursor.execute(sql)
        if by_columns and driver(connection) == "psycopg":
            columns = [column.name for column in cursor.description or ()]
            types = [column.type_code for column in cursor.description or ()]
            if can_read(connection, columns, types):
                with columns_of(connection, sql, types, batch_rows) as read:
                    if read is not None:
                        cursor.close()  # the query was only declared, and is run by the other driver
                        connection.rollback()
                        yield Result(columns, read)
                        return
        first = cursor.fetchmany(batch_rows)  # some drivers know the columns only after the first fetch
        columns = [column[0] for column in cursor.description or ()]
        batches = _batches(cursor, first, batch_rows)
        if driver(connection) in MYSQL_DRIVERS:
            batches = _in_utc(batches, [column[1] == _MYSQL_TIMESTAMP for column in cursor.description or ()])
        yield Result(columns, batches)
    finally:
        connection.close()  # before the cursor: an SSCursor would first read the result to its end
        if cursor is not None:
            with suppress(Exception):
                cursor.close()


def _batches(cursor: Any, rows: list[tuple[Any, ...]], batch_rows: int) -> Iterator[list[tuple[Any, ...]]]:
    while rows:
        yield rows
        rows = cursor.fetchmany(batch_rows)


def _in_utc(batches: Iterator[Any], moments: list[bool]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows whose values of type TIMESTAMP say that they are in UTC; those of type DATETIME are of no known zone."""
    for rows in batches:
        yield (
            [
                tuple(
                    value.replace(tzinfo=UTC) if is_one and isinstance(value, datetime) else value
                    for value, is_one in zip(row, moments, strict=True)
                )
                for row in rows
            ]
            if any(moments)
            else rows
        )


def _cursor_name() -> str:
    return f"newsletter_{uuid.uuid4().hex}"


def _psycopg(connection: Any) -> Any:
    from psycopg.rows import tuple_row

    return connection.cursor(_cursor_name(), row_factory=tuple_row)


def _psycopg2(connection: Any) -> Any:
    plain = importlib.import_module("psycopg2.extensions").cursor
    return connection.cursor(_cursor_name(), cursor_factory=plain)


def _unbuffered(connection: Any) -> Any:
    return connection.cursor(importlib.import_module(f"{driver(connection)}.cursors").SSCursor)


_STREAMING: dict[str, Callable[[Any], Any]] = {
    "psycopg": _psycopg,
    "psycopg2": _psycopg2,
    "MySQLdb": _unbuffered,
    "pymysql": _unbuffered,
}
