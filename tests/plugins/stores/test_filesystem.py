"""Whose credentials open an object store: those of the connection that is named, or nobody's."""

from pathlib import Path

import pytest

from include.errors import ConfigError
from include.staging import to_path
from tests.object_store import BUCKET, connection


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, s3_address: str) -> None:
    """An identity of the machine, with which the bucket could be used."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "of-the-machine",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("machine")
def test_a_misspelt_connection_is_never_the_machine_instead(
    monkeypatch: pytest.MonkeyPatch, s3_staging: Path, s3_address: str
) -> None:
    name = s3_staging.name
    misspelt = to_path(f"s3://stroe@{BUCKET}/{name}")
    with pytest.raises(
        ConfigError, match=r"STAGING_URI .*names the Airflow connection 'stroe', and Airflow finds none"
    ):
        (misspelt / "ids").write_text("u1")
    assert not (s3_staging / "ids").exists()
    for variable, value in connection(s3_address, "stroe").items():
        monkeypatch.setenv(variable, value)
    (misspelt / "ids").write_text("u1")  # it is looked for again
    assert (s3_staging / "ids").read_text() == "u1"


@pytest.mark.usefixtures("machine")
def test_the_machine_is_used_where_no_connection_is_named(s3_staging: Path) -> None:
    path = to_path(f"s3://{BUCKET}/{s3_staging.name}/ids")
    path.write_text("u1")
    assert (s3_staging / "ids").read_text() == "u1"
    nowhere = to_path("s3://nosuchbucket/ids")
    with pytest.raises(
        ConfigError, match=r"s3://nosuchbucket/ids \(its URI names no connection: .*Is there such a buck"
    ):
        nowhere.write_text("u1")
