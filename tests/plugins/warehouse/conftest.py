"""A small shop in SQLite, PostgreSQL and MariaDB, publishers that read them, and a stand-in for a running task."""

import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services import no_service

POSTGRES = {
    "host": os.environ.get("TEST_POSTGRES_HOST", "127.0.0.1"),
    "port": int(os.environ.get("TEST_POSTGRES_PORT", "5432")),
    "user": os.environ.get("TEST_POSTGRES_USER", "postgres"),
    "password": os.environ.get("TEST_POSTGRES_PASSWORD", ""),
    "dbname": os.environ.get("TEST_POSTGRES_DATABASE", "test"),
}
MARIADB = {
    "host": os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
    "port": int(os.environ.get("TEST_MARIADB_PORT", "3306")),
    "user": os.environ.get("TEST_MARIADB_USER", "root"),
    "password": os.environ.get("TEST_MARIADB_PASSWORD", ""),
}
Writer = Callable[..., None]


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def define(name: str, **form: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(form))

    return define


@pytest.fixture
def shop(tmp_path: Path, connection: Callable[..., None]) -> Iterator[sqlite3.Connection]:
    """The SQLite file behind the connection ``shop``."""
    path = tmp_path / "a shop.sqlite"
    connection("shop", conn_type="sqlite", host=str(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@pytest.fixture
def postgres(connection: Callable[..., None]) -> Iterator[Any]:
    """A PostgreSQL connection, and its own schema behind the connection ``pg``; skips where there is no server."""
    psycopg = pytest.importorskip("psycopg")
    try:
        admin = psycopg.connect(**POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        no_service(f"no PostgreSQL at {POSTGRES['host']}:{POSTGRES['port']}: {str(error).strip()[:100]}")
    schema = f"warehouse_{uuid.uuid4().hex[:12]}"
    with closing(admin):
        admin.execute(f"CREATE SCHEMA {schema}")
        admin.execute(f"SET search_path TO {schema}")
        connection(
            "pg",
            conn_type="postgres",
            host=POSTGRES["host"],
            port=POSTGRES["port"],
            login=POSTGRES["user"],
            password=POSTGRES["password"],
            schema=POSTGRES["dbname"],
            extra={"options": f"-c search_path={schema}"},
        )
        try:
            yield admin
        finally:
            admin.execute(f"DROP SCHEMA {schema} CASCADE")


class MariaDB:
    """A connection with the manners of the others."""

    def __init__(self, database: str | None = None) -> None:
        import mysql.connector

        self.connection = mysql.connector.connect(**MARIADB, database=database, autocommit=True, connection_timeout=3)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        cursor = self.connection.cursor(buffered=True)
        cursor.execute(sql, values)
        return cursor


@pytest.fixture
def maria(connection: Callable[..., None]) -> Iterator[MariaDB]:
    """A database of its own behind the connection ``maria``; skips where there is no server."""
    errors = pytest.importorskip("mysql.connector.errors")
    try:
        admin = MariaDB()
    except errors.Error as error:
        no_service(f"no MariaDB or MySQL at {MARIADB['host']}:{MARIADB['port']}: {str(error)[:100]}")
    database = f"warehouse_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE DATABASE {database} CHARACTER SET latin1")  # so that a table must say it holds any text
    connection(
        "maria",
        conn_type="mysql",
        host=MARIADB["host"],
        port=MARIADB["port"],
        login=MARIADB["user"],
        password=MARIADB["password"],
        schema=database,
        extra={"client": "mysql-connector-python"},
    )
    own = MariaDB(database)
    try:
        yield own
    finally:
        own.connection.close()
        admin.execute(f"DROP DATABASE {database}")
        admin.connection.close()


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Write the file of publisher ``shop``: ``publisher(sql=..., ...)`` sets keys of ``audience``."""
    folder = tmp_path / "publishers"
    folder.mkdir()
    monkeypatch.setenv("PUBLISHERS_DIR", str(folder))

    def write(past_transactions: dict[str, Any] | None = None, **audience: Any) -> None:
        content = {
            "audience": {"connection": "shop", "sql": "SELECT 1 AS auth_user_id", **audience},
            "batch": {"link": "file:///batch.xml"},
            "deliveries": [{"name": "feed", "kind": "feed"}],
        }
        if past_transactions:
            content["past_transactions"] = {"connection": "shop", **past_transactions}
        (folder / "shop.yaml").write_text(yaml.safe_dump(content))

    return write


@pytest.fixture
def context() -> dict[str, Any]:
    """What a template of a running task can see."""
    from airflow.sdk import BaseOperator

    return {"task": BaseOperator(task_id="any"), "params": {"campaign_id": 13}, "ds": "2026-05-01"}
