"""Reading a query row batch by row batch, whatever the database, without ever holding all of it.

Here lies what differs between database drivers when a large result is read: PostgreSQL drivers keep the result on
the server only for a cursor that has a name, MySQL drivers only for their ``SSCursor``; all others stream from their
plain cursor with ``fetchmany``. What the rows mean is not known here.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

SQLITE_BUSY_MILLISECONDS = 120_000


@dataclass(frozen=True)
class Result:
    """An open query: the names of its columns, and its rows in batches of tuples; to be read once."""

    columns: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


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
    bytes, so that one such row can be refused instead of ending the query.
    """
    connection = hook.get_conn()
    if driver(connection) == "sqlite3":
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MILLISECONDS}")
        connection.text_factory = _text_or_bytes
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
def stream(hook: DbApiHook, sql: str, batch_rows: int) -> Iterator[Result]:
    """Run a query; its rows can be read while the block lasts. Memory: one batch of ``batch_rows`` rows.

    The text goes to the driver as it is, without parameters, so a ``%`` in it means itself. The connection is
    closed when the block ends, however it ends; what was not read is not fetched.
    """
    connection = connect(hook)
    cursor = None
    try:
        cursor = open_cursor(connection)
        with suppress(AttributeError):
            cursor.arraysize = batch_rows
        cursor.execute(sql)
        first = cursor.fetchmany(batch_rows)  # some drivers know the columns only after the first fetch
        columns = [column[0] for column in cursor.description or ()]
        yield Result(columns, _batches(cursor, first, batch_rows))
    finally:
        connection.close()  # before the cursor: an SSCursor would first read the result to its end
        if cursor is not None:
            with suppress(Exception):
                cursor.close()


def _batches(cursor: Any, rows: list[tuple[Any, ...]], batch_rows: int) -> Iterator[list[tuple[Any, ...]]]:
    while rows:
        yield rows
        rows = cursor.fetchmany(batch_rows)


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
