"""A shop that writes into Klaviyo's profiles."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.sandbox.klaviyo.fill import fill_klaviyo
from include.sandbox.server import Running, running
from tests.plugins.pipeline.profiles import Shop


@pytest.fixture(scope="session")
def klaviyo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("sandbox")
    fill_klaviyo(state, 0, 7)
    with running(state, klaviyo_job_seconds=0.05, klaviyo_burst=10_000, klaviyo_steady=100_000) as started:
        yield started


@pytest.fixture
def place() -> str:
    """The fixture that gives the staging store."""
    return "staging"


@pytest.fixture
def shop(
    place: str, tmp_path: Path, klaviyo: Running, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Shop]:
    """An account without profiles, and a publisher."""
    publishers = tmp_path / "publishers"
    publishers.mkdir()
    monkeypatch.setenv("PUBLISHERS_DIR", str(publishers))
    form = {"conn_type": "klaviyo", "host": klaviyo.url, "password": "pk_sandbox"}
    monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(form))
    shop = Shop(request.getfixturevalue(place), tmp_path / "made", publishers, klaviyo)
    for table in ("profiles", "jobs", "import_errors"):
        shop.query(f"DELETE FROM {table}")
    shop.forget()
    shop.configure()
    yield shop
    shop.forget()
