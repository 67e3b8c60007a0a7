"""The compose file against this Airflow: its settings exist, its commands parse, its health checks can run."""

import importlib
import re
import shutil
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache

import pytest

from cluster.compose import LOCAL, Service, read_compose, read_env

VARIABLE = re.compile(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+)")
OTHERS = {"STAGING_URI", "LEDGER_CONNECTION", "PUBLISHERS_DIR", "ADMIN_PASSWORD"}
"""Variables of the project and of the file's own commands."""
PROGRAMS_OF_IMAGES = {"pg_isready", "docker-entrypoint.sh", "redis-cli"}


def services() -> dict[str, Service]:
    return read_compose(read_env(LOCAL))


def airflows() -> dict[str, Service]:
    return {name: service for name, service in services().items() if name not in ("postgres", "redis", "s3", "sandbox")}


@cache
def known() -> frozenset[tuple[str, str]]:
    """Every setting of Airflow and of the installed providers, as section and option."""
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    sections = dict(conf.configuration_description)
    for _, found in ProvidersManager().provider_configs:
        sections.update(found)
    return frozenset((section, option) for section, body in sections.items() for option in body["options"])


def unknown(service: Service) -> Iterator[str]:
    """Variables of a service that nobody reads."""
    for name in service.environment:
        setting = VARIABLE.fullmatch(name)
        if setting:
            if (setting[1].lower(), setting[2].lower()) not in known():
                yield name
        elif name not in OTHERS and not name.startswith("AIRFLOW_CONN_"):
            yield name


@pytest.mark.parametrize("name", sorted(airflows()))
def test_each_setting_exists_in_this_airflow(name: str) -> None:
    assert list(unknown(airflows()[name])) == []


@pytest.mark.parametrize("bad", ["AIRFLOW__WEBSERVER__SECRET_KEY", "AIRFLOW__CELERY__BROKER", "STAGING_URL"])
def test_a_setting_of_another_airflow_is_found(bad: str) -> None:
    service = airflows()["worker"]
    service.environment[bad] = "x"
    assert list(unknown(service)) == [bad]


@cache
def parser() -> ArgumentParser:
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def airflow_commands(service: Service) -> list[list[str]]:
    """The words after ``airflow`` of each of its calls in a command or health check."""
    words = [" ".join(service.command), " ".join(service.healthcheck[1:])]
    calls = [call for text in words for call in re.findall(r"(?:^|exec |&& |\s)airflow ([a-z][^&\n']*)", text)]
    return [re.sub(r"[\"']", "", call).split() for call in calls if not call.startswith("providers")]


@pytest.mark.parametrize("name", sorted(airflows()))
def test_each_command_is_one_of_this_airflow(name: str) -> None:
    commands = airflow_commands(airflows()[name])
    assert commands
    for command in commands:
        parser().parse_args(command)


@pytest.mark.parametrize("bad", ["webserver", "celery worker --hostname x", "jobs check --job Scheduler --port 1"])
def test_a_command_of_another_airflow_is_found(bad: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(bad.split())


@pytest.mark.parametrize("name", sorted(services()))
def test_each_program_is_in_the_image(name: str) -> None:
    service = services()[name]
    for command in (service.command, service.healthcheck[1:]):
        shell = len(command) > 2 and command[1] == "-c" and command[0] in ("bash", "sh")
        text = command[2] if shell else command[0] if command else ""
        program = re.sub(r"^((exec|set -e|umask \d+)\s+)*", "", text.strip()).split()
        if program:
            assert program[0] in PROGRAMS_OF_IMAGES or shutil.which(program[0], path=_path()), program[0]


def _path() -> str:
    import os
    import sys
    from pathlib import Path

    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_python_in_commands_compiles_and_its_modules_are_there() -> None:
    for service in services().values():
        for command in (service.command, service.healthcheck[1:]):
            if "python" in command and "-c" in command:
                source = command[command.index("-c") + 1]
                compile(source, service.name, "exec")
                for module in re.findall(r"(?:^|; ?)(?:from|import) ([a-z_.]+)", source):
                    importlib.import_module(module)
            if "-m" in command:
                importlib.import_module(command[command.index("-m") + 1])


def test_the_sandbox_takes_its_command() -> None:
    from include.sandbox.__main__ import _parser

    command = services()["sandbox"].command
    assert _parser().parse_args(command[command.index("include.sandbox") + 1 :]).port == 8090


def test_jobs_whose_health_is_asked_for_exist() -> None:
    from airflow.jobs.job import JobState  # noqa: F401  the module of jobs is there

    asked = [re.search(r"--job-type (\w+)", " ".join(service.healthcheck)) for service in services().values()]
    types = {found[1] for found in asked if found}
    assert types == {"DagProcessorJob", "TriggererJob"}
    for kind, module in (("DagProcessorJob", "dag_processor"), ("TriggererJob", "triggerer")):
        runner = importlib.import_module(f"airflow.jobs.{module}_job_runner")
        assert any(getattr(each, "job_type", None) == kind for each in vars(runner).values())
