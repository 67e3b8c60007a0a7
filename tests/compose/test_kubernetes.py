"""The Helm values: the settings they make are this Airflow's, and the same as the compose file's."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.compose import LOCAL, read_compose, read_env
from include.staging import PROJECT_ROOT
from tests.compose.test_airflow import known, parser

SECRET_KEYS = {
    "fernetKeySecretName": "fernet-key",
    "apiSecretKeySecretName": "api-secret-key",
    "jwtSecretName": "jwt-secret",
}
"""The keys that the chart looks for in these secrets."""


def values() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT_ROOT / "kubernetes" / "values.yaml").read_text("utf-8")))


def settings() -> dict[str, str]:
    """The values' settings, as variables of the environment."""
    config = values()["config"]
    return {
        f"AIRFLOW__{section}__{option}".upper(): value
        for section, body in config.items()
        for option, value in body.items()
    }


def secrets() -> list[tuple[str, str]]:
    """Name and key of every secret the values ask for."""
    found = values()
    own = [(one["secretName"], one["secretKey"]) for one in found["secret"]]
    admin = [one["valueFrom"]["secretKeyRef"] for one in found["apiServer"]["env"]]
    return [
        *((name, "connection") for name in found["data"].values()),
        *((found[option], key) for option, key in SECRET_KEYS.items()),
        *own,
        *((one["name"], one["key"]) for one in admin),
    ]


def test_each_setting_exists_in_this_airflow() -> None:
    for section, body in values()["config"].items():
        for option in body:
            assert (section, option) in known(), f"[{section}] {option}"


def test_services_are_set_as_in_the_compose_file() -> None:
    services = read_compose(read_env(LOCAL))
    environment = {
        key: value
        for name in ("api-server", "scheduler", "worker")
        for key, value in services[name].environment.items()
    }
    found = settings()
    default = {"AIRFLOW__CORE__AUTH_MANAGER"}  # the compose file leaves it alone
    assert found.keys() - default <= environment.keys()
    theirs = default | {"AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"}  # a bucket of their own
    assert {name: environment[name] for name in found.keys() - theirs} == {
        name: found[name] for name in found.keys() - theirs
    }
    named = (*values()["env"], *values()["apiServer"]["env"])
    plain = {one["name"] for one in named} | {one["envName"] for one in values()["secret"]}
    assert plain == {name for name in environment if not name.startswith("AIRFLOW__")}


def test_the_auth_manager_is_airflows_own() -> None:
    from airflow.configuration import conf

    assert settings()["AIRFLOW__CORE__AUTH_MANAGER"] == conf.get_default_value("core", "auth_manager")


@pytest.mark.parametrize(("name", "key"), secrets())
def test_the_page_names_each_secret_and_its_key(name: str, key: str) -> None:
    page = (PROJECT_ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert [f"`{key}`" in row[2] for row in rows] == [True]


def test_version_is_the_pinned_one() -> None:
    pinned = (PROJECT_ROOT / "requirements-cluster.txt").read_text("utf-8")
    assert f"\napache-airflow=={values()['airflowVersion']}\n" in pinned


@pytest.mark.parametrize(
    ("part", "probe", "job"),
    [
        ("scheduler", "startupProbe", "SchedulerJob"),
        ("scheduler", "livenessProbe", "SchedulerJob"),
        ("dagProcessor", "livenessProbe", "DagProcessorJob"),
        ("triggerer", "livenessProbe", "TriggererJob"),
    ],
)
def test_probes_ask_this_airflow_for_the_parts_job(part: str, probe: str, job: str) -> None:
    program, *words = values()[part][probe]["command"]
    assert program == "airflow"
    asked = parser().parse_args(words)
    assert (asked.job_type, asked.local) == (job, True)


def test_the_workers_probe_is_the_compose_files() -> None:
    check = read_compose(read_env(LOCAL))["worker"].healthcheck
    assert values()["workers"]["celery"]["livenessProbe"]["command"] == ["sh", "-c", *check[1:]]


def test_the_password_is_on_file_before_the_api_server_starts(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords.json"
    airflow = tmp_path / "airflow"
    airflow.write_text('#!/bin/sh\necho "$@"; cat ' + str(passwords))
    airflow.chmod(0o755)
    *shell, script = values()["apiServer"]["args"]
    place = settings()["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    ran = subprocess.run(
        [*shell, script.replace(place, str(passwords))],
        env={"PATH": path, "ADMIN_PASSWORD": 'a"b'},
        capture_output=True,
        text=True,
        check=True,
    )
    command, content = ran.stdout.splitlines()
    assert command == "api-server"
    assert json.loads(content) == {"admin": 'a"b'}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
