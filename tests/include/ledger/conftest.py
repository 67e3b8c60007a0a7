"""The ledger's tests run on SQLite and on Postgres with both of its drivers; where no server answers, on SQLite."""

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from include.ledger import Ledger
from tests.include.ledger.workers import Place, open_ledger
from tests.services import no_service

SERVER = "host=127.0.0.1 port=5432 user=postgres connect_timeout=3"
DRIVERS = ("psycopg", "psycopg2")


@pytest.fixture(scope="module")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database of this module's own."""
    psycopg = pytest.importorskip("psycopg")
    name = f"ledger_{request.module.__name__.rsplit('.', 1)[-1]}_{os.getpid()}"
    try:
        connection = psycopg.connect(f"{SERVER} dbname=postgres", autocommit=True)
    except psycopg.OperationalError as error:
        no_service(f"no Postgres at 127.0.0.1:5432 for user postgres: {error}")
    with connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{SERVER} dbname={name}"
    with psycopg.connect(f"{SERVER} dbname=postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", *DRIVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty ledger will be."""
    return place_of(request, tmp_path)


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return "sqlite", str(tmp_path / "new" / "ledger.sqlite")
    pytest.importorskip(request.param)
    address = request.getfixturevalue("postgres")
    empty(address)
    return request.param, address


def empty(address: str) -> None:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


@pytest.fixture
def ledger(place: Place) -> Ledger:
    return open_ledger(place)


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts processes fast: the modules, and what runs the tests, are imported once, in a server that forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.include.ledger.workers", "psycopg", "psycopg2"])
    return context
