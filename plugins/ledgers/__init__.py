"""The ledger of what was sent, as Airflow knows it: where it lives, and how a person settles what is unknown."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.objects import ObjectPath
from include.staging import LEDGER_CONNECTION, staging_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.ledger import Ledger

_HOW = (
    f"{LEDGER_CONNECTION} of the environment names the Airflow connection, of type postgres, of the ledger of what was "
    "sent; without it the ledger is a SQLite file in the staging store. Nothing was sent."
)


def open_ledger() -> "Ledger":
    """The ledger: in the Postgres of ``LEDGER_CONNECTION``, else one SQLite file in the staging store.

    Raises:
        ConfigError: the connection is missing or not Postgres, or its provider is not installed.
    """
    from include.ledger import FILE, postgres_ledger, sqlite_ledger

    if name := os.environ.get(LEDGER_CONNECTION):
        return postgres_ledger(connect(name), marks=staging_root())
    if isinstance(staging_root(), ObjectPath):
        raise ConfigError(f"STAGING_URI names an object store, where no SQLite file can lie. {_HOW}")
    return sqlite_ledger(staging_root() / FILE, marks=staging_root())


def connect(name: str) -> "Callable[[], Any]":
    """What opens a connection of its own at each call, or raises ``Unreachable``.

    Raises:
        ConfigError: as of :func:`open_ledger`.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"there is no Airflow connection {name!r}, or its JSON in the environment is not whole. {_HOW}"
        ) from error
    if connection.conn_type != "postgres":
        raise ConfigError(f"the Airflow connection {name!r} is of type {connection.conn_type!r}. {_HOW}")
    if "cursor" in connection.extra_dejson:
        raise ConfigError(f"the Airflow connection {name!r} sets a cursor in its extra fields: leave that out. {_HOW}")
    try:
        from airflow.providers.postgres.hooks.postgres import PostgresHook
    except ImportError as error:
        raise ConfigError(
            f"the ledger's connection {name!r} needs apache-airflow-providers-postgres ({error}): install it on all "
            "workers. Nothing was sent."
        ) from error
    return partial(_reach, name, PostgresHook(postgres_conn_id=name).get_conn)


def _reach(name: str, get_conn: "Callable[[], Any]") -> Any:
    """A connection; that there is none is no fault of a person's, and Airflow's retries may mend it."""
    from include.ledger.entries import Unreachable

    try:
        return get_conn()
    except Exception as error:
        if type(error).__name__ != "OperationalError":  # of psycopg2 or psycopg, as the provider chooses
            raise
        raise Unreachable(
            f"the Postgres of the ledger of what was sent (Airflow connection {name!r}) cannot be reached: "
            f"{str(error).strip()}. Without it nothing is sent. Airflow tries this task again; if its retries are used "
            "up, clear it when the database is back."
        ) from error
