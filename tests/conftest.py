"""What all tests share: an Airflow home of their own, and a staging store of their own.

Airflow reads its settings when it is first imported, so they are set here, before any test module. Tests marked
``airflow`` get a migrated SQLite metadata database, made once a session.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

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
def airflow_database() -> Path:
    """A migrated metadata database; gives its file."""
    from airflow.utils.db import initdb

    initdb()
    return HOME / "airflow.db"


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
