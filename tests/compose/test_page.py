"""docs/cluster.md: what it gives to be copied does what it says."""

import re
from pathlib import Path

import yaml

from cluster.compose import FILE, LOCAL, read_compose, read_env
from include.staging import PROJECT_ROOT
from tests.compose.test_file import schema_check

PAGE = (PROJECT_ROOT / "docs" / "cluster.md").read_text("utf-8")
AS_ON_THE_FIRST = {"API_SECRET_KEY", "STAGING_URI", "LOGS_URI", "STORE_CONNECTION", "PUBLISHERS_FOLDER"}


def block(mark: str) -> str:
    """The one block of the page that has the mark."""
    (found,) = [text for text in re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if mark in text]
    return str(found)


def test_a_worker_elsewhere_starts_with_its_own_env_and_uses_nothing_that_is_unused(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(block("FERNET_KEY="), "utf-8")
    own, first = read_env(tmp_path / "env"), read_env(LOCAL)
    assert all(f"`{name}`" in PAGE for name in AS_ON_THE_FIRST)
    worker = read_compose({**{name: first[name] for name in AS_ON_THE_FIRST}, **own})["worker"]
    assert {name for name, value in own.items() if value == "unused"} == {
        *("POSTGRES_PASSWORD", "LEDGER_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD", "JWT_SECRET", "FERNET_KEY")
    }
    assert "unused" not in repr(worker)
    found = set(re.findall(r"[/@]([\w.-]+:\d+)/", repr(worker.environment)))
    assert {"10.0.0.5:5432", "10.0.0.5:6379", "10.0.0.5:8080"} <= found
    assert not found & {"postgres:5432", "redis:6379", "api-server:8080"}


def test_the_override_publishes_what_such_a_worker_reaches(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.override.yaml").write_text(block("ports:"), "utf-8")
    checked = schema_check(tmp_path / "docker-compose.override.yaml")
    assert checked.returncode == 0, checked.stdout
    services = yaml.safe_load(block("ports:"))["services"]
    assert services == {
        "postgres": {"ports": ["10.0.0.5:5432:5432"]},
        "redis": {"ports": ["10.0.0.5:6379:6379"]},
    }
    assert services.keys() <= yaml.safe_load(FILE.read_text("utf-8"))["services"].keys()


def test_the_tryout_names_its_dags_and_table() -> None:
    settings = read_env(LOCAL)
    (shop,) = (PROJECT_ROOT / settings["PUBLISHERS_FOLDER"]).glob("*.yaml")
    tables = [each["table"] for each in yaml.safe_load(shop.read_text("utf-8"))["deliveries"] if "table" in each]
    for name in (*(f"{dag}__shop" for dag in ("past_transactions", "recommendations", "audience")), *tables):
        assert name in PAGE
    assert settings["CONNECTIONS_FILE"] in PAGE
    assert f"password `{settings['ADMIN_PASSWORD']}`" in PAGE
