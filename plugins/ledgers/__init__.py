"""The ledger of what was sent, as Airflow knows it: where it lives, and how a person settles what is unknown."""

import os
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.staging import staging_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.ledger import Ledger

LEDGER_CONNECTION = "LEDGER_CONNECTION"
"""The variable of the environment that names the connection."""
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
        return postgres_ledger(_connect(name), marks=staging_root())
    return sqlite_ledger(staging_root() / FILE, marks=staging_root())


def _connect(name: str) -> "Callable[[], Any]":
    """What opens a connection of its own at each call."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException as error:
        raise ConfigError(f"there is no Airflow connection {name!r}. {_HOW}") from error
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
    return PostgresHook(postgres_conn_id=name).get_conn
