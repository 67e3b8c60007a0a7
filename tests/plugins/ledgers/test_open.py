"""Where the ledger lives: a file of the staging store, or the Postgres of a connection; and what is said if neither."""

import builtins
import json
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from include.errors import ConfigError, PipelineError
from include.ledger import FILE, FileNote, Unusable
from include.ledger.entries import Unreachable
from include.transactions.index import INDEX
from ledgers import open_ledger
from tests.services import no_service

POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
INDEX_OF_ONE = pa.table({"key": [16 * b"k"], "content": [1], "rows": [2], "bytes": [9], "day": [None]}, INDEX)


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch: pytest.MonkeyPatch, staging: Path) -> None:
    monkeypatch.delenv("LEDGER_CONNECTION", raising=False)


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("LEDGER_CONNECTION", "the_ledger")
    monkeypatch.setenv("AIRFLOW_CONN_THE_LEDGER", json.dumps(fields))


def claim() -> None:
    open_ledger().claim("shop/transactions", FileNote(64 * "a", "file:///x", 1, 2, 9, "run"), INDEX_OF_ONE, "a test")


@pytest.fixture
def database() -> Iterator[dict[str, Any]]:
    try:
        server = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        no_service(f"no Postgres to test on at TEST_POSTGRES: {error}")
    name = f"open_{random.SystemRandom().randrange(10**9)}"
    with closing(server):
        server.execute(f"CREATE DATABASE {name}")
        info = server.info
        yield {"host": info.host, "port": info.port, "login": info.user, "schema": name}
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_by_default_it_is_a_file_of_the_staging_store(staging: Path) -> None:
    claim()
    assert (staging / FILE).is_file()
    assert open_ledger().entry("shop/transactions", "aaaa").state == "sending"


def test_a_connection_puts_it_into_postgres(
    monkeypatch: pytest.MonkeyPatch, staging: Path, database: dict[str, Any]
) -> None:
    connect(monkeypatch, conn_type="postgres", **database)
    claim()
    with open_ledger().one_sender("shop/transactions", "a test"):
        assert [entry.state for entry in open_ledger().recover("shop/transactions", "a test")] == ["unknown"]
    marks = [path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()]
    assert marks == ["shop/transactions/ledger.json"]


def test_a_worker_without_the_connection_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]
) -> None:
    connect(monkeypatch, conn_type="postgres", **database)
    claim()
    monkeypatch.delenv("LEDGER_CONNECTION")
    with (
        pytest.raises(Unusable, match=r"not the ledger by which it was sent: .* LEDGER_CONNECTION missing on this"),
        open_ledger().one_sender("shop/transactions", "a test"),
    ):
        raise AssertionError


def test_a_connection_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_CONNECTION", "not_there")
    with pytest.raises(ConfigError, match=r"no Airflow connection 'not_there'.*LEDGER_CONNECTION of the environment"):
        open_ledger()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"conn_type": "mysql", "host": "x"}, "is of type 'mysql'"),
        ({"conn_type": "postgres", "host": "x", "extra": {"cursor": "dictcursor"}}, "sets a cursor"),
    ],
)
def test_a_connection_that_does_not_fit(monkeypatch: pytest.MonkeyPatch, fields: Any, sentence: str) -> None:
    connect(monkeypatch, **fields)
    with pytest.raises(ConfigError, match=sentence):
        open_ledger()


def test_a_server_that_is_down_is_tried_again_by_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="postgres", host="127.0.0.1", port=1, login="someone", password="pass-of-someone")
    ledger = open_ledger()
    with pytest.raises(Unreachable) as caught, ledger.one_sender("shop/transactions", "a test"):
        raise AssertionError
    said = str(caught.value)
    assert "(Airflow connection 'the_ledger') cannot be reached: " in said
    assert "Connection refused" in said
    assert "Without it nothing is sent. Airflow tries this task again" in said
    assert "pass-of-someone" not in said
    assert not isinstance(caught.value, PipelineError), "which is not tried again"


def test_a_provider_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="postgres", host="127.0.0.1")
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("airflow.providers.postgres"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="apache-airflow-providers-postgres"):
        open_ledger()
