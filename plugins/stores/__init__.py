"""Object stores as Airflow knows them: what opens one, and the turns that workers on many machines take.

The entry points of the group ``newsletters.store`` name both functions; ``include.objects`` calls them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError, StoreRefused
from include.object_files import BLOCK_BYTES

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TURN_SECONDS = 3600.0
"""How long to wait for one's turn: longer than any upload may take with its retries."""


def filesystem(scheme: str, connection: str | None) -> "AbstractFileSystem":
    """The file system of an object store, with the credentials of an Airflow connection.

    What it lists is always asked anew: another worker may have written meanwhile.

    Raises:
        StoreRefused: Airflow knows no such store or connection, or the provider's library is missing.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.io import get_fs
    from fsspec.dircache import DirCache

    if connection:  # a provider may take the machine's own identity for one that is missing
        try:
            BaseHook.get_connection(connection)
        except AirflowNotFoundException as error:
            raise StoreRefused(
                f"{scheme}://{connection}@…: STAGING_URI (or the URI of a file) names the Airflow connection "
                f"{connection!r}, and Airflow finds none of that name, or cannot read it. Nothing was read or written "
                "there. Create the connection, correct the name before the @, or, if the connection is JSON in the "
                "environment, see whether that is whole."
            ) from error
    try:
        store = get_fs(scheme, connection)
    except (ImportError, ValueError) as error:
        raise StoreRefused(
            f"{scheme}://: the object store cannot be used ({error}). Install, on all workers, the Airflow provider "
            f"that knows {scheme}://, with its file system."
        ) from error
    store.default_block_size = BLOCK_BYTES  # what DuckDB reads and holds at a time, for each of its threads
    if hasattr(store, "dircache"):
        store.dircache = DirCache(use_listings_cache=False)
    return store


def turns_database() -> "Callable[[], Any]":
    """What connects to the database in which workers take turns.

    Raises:
        ConfigError: ``LEDGER_CONNECTION`` is not set: without a database nothing holds off another machine; or it names
            no connection of type postgres.
    """
    from include.staging import LEDGER_CONNECTION
    from ledgers import connect

    connection = os.environ.get(LEDGER_CONNECTION)
    if not connection:
        raise ConfigError(
            f"STAGING_URI names an object store, so {LEDGER_CONNECTION} must name an Airflow connection of type "
            "postgres: workers on several machines take turns by it, and the ledger lies there. Nothing was sent."
        )
    return connect(connection)


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait until no other worker has this turn; it ends with the process, whatever becomes of it.

    Raises:
        ConfigError: as of :func:`turns_database`.
        Busy: another worker did not end in an hour.
    """
    from include.ledger.postgres import PostgresDatabase

    with PostgresDatabase(turns_database(), TURN_SECONDS).one_sender(name, f"process {os.getpid()}", TURN_SECONDS):
        yield
