"""What all tests share: an Airflow home of their own, and a staging store of their own.

Airflow reads its settings when it is first imported, so they are set here, before any test module. Tests marked
``airflow`` get a migrated SQLite metadata database, made once for all workers.
"""

import atexit
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "OPENLINEAGE_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(HOME / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__OPENLINEAGE__DISABLED="True",
)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata database that is migrated and empty, made once for all workers: to be copied."""
    folder = tmp_path_factory.getbasetemp()
    made = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "migrated-airflow.db"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            from airflow.utils.db import initdb

            initdb()
            half = made.with_suffix(".half")
            with closing(sqlite3.connect(HOME / "airflow.db")) as source, closing(sqlite3.connect(half)) as target:
                source.backup(target)
            half.rename(made)
    return made


@pytest.fixture(scope="session")
def airflow_database(migrated_database: Path) -> Path:
    """The migrated metadata database of this process; gives its file."""
    path = HOME / "airflow.db"
    if not path.exists():
        shutil.copyfile(migrated_database, path)
    return path


@pytest.fixture(autouse=True)
def _airflow_if_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("airflow"):
        request.getfixturevalue("airflow_database")


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty staging store; ``staging_root()`` gives it too."""
    folder = tmp_path / "staging"
    folder.mkdir()
    monkeypatch.setenv("STAGING_URI", folder.as_uri())
    return folder


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """The address of an S3 server with the bucket ``shop``, on a real socket."""
    from tests.object_store import s3_server

    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def faulty_s3(s3_address: str) -> Iterator[tuple[str, Any]]:
    """A way to that server on which things break: its address, and the ``Faults`` that say what."""
    from tests.object_faults import faulty

    with faulty(s3_address) as found:
        yield found


@pytest.fixture
def s3_staging(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty staging store in S3; ``staging_root()`` gives it too, and workers take turns by Postgres."""
    from include.staging import to_path
    from tests.object_store import BUCKET, CONNECTION, connection

    for name, value in connection(s3_address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", "postgres://postgres@127.0.0.1:5432/postgres")
    monkeypatch.setenv("LEDGER_CONNECTION", "ledger")
    uri = f"s3://{CONNECTION}@{BUCKET}/{uuid4().hex}"
    monkeypatch.setenv("STAGING_URI", uri)
    return to_path(uri)


@pytest.fixture
def s3_ledger(s3_staging: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the ledger beside it lies: in a schema of its own, where ``open_ledger()`` finds it too."""
    import psycopg

    schema = f"ledger_{uuid4().hex}"
    address = "postgresql://postgres@127.0.0.1:5432/postgres"
    with psycopg.connect(address, autocommit=True) as server:
        server.execute(f"CREATE SCHEMA {schema}")
        address += f"?options=-c%20search_path%3D{schema}"
        monkeypatch.setenv("AIRFLOW_CONN_LEDGER", address.replace("postgresql", "postgres", 1))
        yield address
        server.execute("SET client_min_messages = warning")
        server.execute(f"DROP SCHEMA {schema} CASCADE")
