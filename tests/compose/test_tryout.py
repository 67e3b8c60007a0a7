"""The shop of the try-out: its file is sound, its connections are those it names, and its queries run on Postgres."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import BaseOperator
from airflow.sdk.definitions.connection import Connection

from cluster.compose import FILE, LOCAL, read_compose, read_env
from include.audience.build import build_audience
from include.publishers.config import check_publishers, load_publisher, past_transactions, warehouse_audience
from include.sandbox.settings import DEFAULT_PRIVATE_KEY, DEFAULT_TRACKER, DEFAULT_TYPES
from include.staging import PROJECT_ROOT
from include.transactions.build import build_transactions
from warehouse.operators import PullAudienceOperator, PullTransactionsOperator

SETTINGS = read_env(LOCAL)
CONNECTIONS = read_env(PROJECT_ROOT / SETTINGS["CONNECTIONS_FILE"])
OCTOBER = {"start": "2026-10-01T00:00:00+00:00", "end": "2026-11-01T00:00:00+00:00"}
AUTUMN = {"start": "2026-09-15T00:00:00+00:00", "end": "2026-11-01T00:00:00+00:00"}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> str:
    """The publisher's name; its warehouse is the machine's Postgres."""
    monkeypatch.setenv("PUBLISHERS_DIR", str(PROJECT_ROOT / SETTINGS["PUBLISHERS_FOLDER"]))
    for name, value in CONNECTIONS.items():
        monkeypatch.setenv(name, value)
    form = json.loads(CONNECTIONS["AIRFLOW_CONN_SHOP_WAREHOUSE"])
    here = {**form, "host": "127.0.0.1", "login": "postgres", "schema": "postgres"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_WAREHOUSE", json.dumps(here))
    return "shop"


@pytest.fixture
def context() -> dict[str, Any]:
    return {"task": BaseOperator(task_id="any"), "params": {}, "ds": "2026-11-01"}


def named(content: Any) -> Iterator[str]:
    """Every connection that a publisher file names."""
    if isinstance(content, dict):
        yield from (value for key, value in content.items() if key == "connection")
    for each in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from named(each)


def test_the_file_is_sound_and_all_its_connections_are_given(shop: str) -> None:
    check_publishers()
    content = yaml.safe_load((PROJECT_ROOT / SETTINGS["PUBLISHERS_FOLDER"] / f"{shop}.yaml").read_text("utf-8"))
    assert {f"AIRFLOW_CONN_{name.upper()}" for name in named(content)} == CONNECTIONS.keys()
    assert load_publisher(shop).batch.recommendation_types == DEFAULT_TYPES  # what the sandbox publishes


def test_connections_lead_to_services_of_the_compose_file(shop: str) -> None:
    found = {name: Connection.from_json(value) for name, value in CONNECTIONS.items()}
    services = read_compose(SETTINGS)
    box, batch, warehouse = (found[f"AIRFLOW_CONN_SHOP_{name}"] for name in ("LUIGISBOX", "BATCH", "WAREHOUSE"))
    (port,) = services["sandbox"].ports
    assert (box.host, batch.host, batch.port) == (f"http://sandbox:{port}", "sandbox", port)
    assert (box.login, box.password) == (DEFAULT_TRACKER, DEFAULT_PRIVATE_KEY)
    assert str(load_publisher(shop).batch.link) == f"/batches/{DEFAULT_TRACKER}.xml"  # type: ignore[union-attr]
    ledger = f"postgresql://{warehouse.login}:{warehouse.password}@{warehouse.host}:{warehouse.port}/{warehouse.schema}"
    assert services["worker"].environment["AIRFLOW_CONN_LEDGER"] == ledger


def test_the_parts_of_airflow_are_given_the_file_of_connections() -> None:
    for name, body in yaml.safe_load(FILE.read_text("utf-8"))["services"].items():
        asked = [each["path"] for each in body.get("env_file", [])]
        others = name in ("postgres", "redis", "flower", "sandbox", "s3")
        assert asked == ([] if others else ["${CONNECTIONS_FILE:-connections.env}"]), name


def test_its_audience_is_built_from_postgres(shop: str, context: dict[str, Any], tmp_path: Path) -> None:
    operator = PullAudienceOperator(task_id="pull", publisher=shop, run_folder=tmp_path.as_uri())
    operator.execute({**context, "task": operator})
    settings = warehouse_audience(load_publisher(shop))
    manifest = build_audience(tmp_path, settings, datetime(2026, 11, 1, tzinfo=UTC), 1)
    assert manifest["books"] == {"extracted": 200, "rejected": 0, "duplicates": 0, "uploaded": 200}


def purchases(run: Path, context: dict[str, Any], window: dict[str, str]) -> tuple[dict[str, Any], set[str]]:
    """The manifest of a window, and the lines of its files."""
    operator = PullTransactionsOperator(task_id="pull", publisher="shop", run_folder=run.as_uri(), window=window)
    operator.execute({**context, "task": operator})
    manifest = build_transactions(run, past_transactions(load_publisher("shop")), window=window)
    return manifest, {line for chunk in manifest["chunks"] for line in (run / chunk["name"]).read_text().splitlines()}


def test_its_purchases_are_built_from_postgres_and_are_the_same_each_time(
    shop: str, context: dict[str, Any], tmp_path: Path
) -> None:
    manifest, lines = purchases(tmp_path / "october", context, OCTOBER)
    assert (manifest["sessions"], manifest["books"]["uploaded"], manifest["books"]["rejected"]) == (620, 1860, 0)
    assert manifest["books"]["duplicates"] == 0
    assert lines < purchases(tmp_path / "autumn", context, AUTUMN)[1]
    assert {json.loads(line)["user_id"] for line in lines} == {f"customer-{n}" for n in range(1, 201)}


def test_the_cluster_without_containers_runs_the_demos_publishers() -> None:
    from cluster.__main__ import settings

    folder = read_compose(settings())["worker"].mounts["/opt/airflow/publishers"]
    assert {path.name for path in folder.glob("*.yaml")} == {"demo.yaml", "demo_klaviyo.yaml"}
