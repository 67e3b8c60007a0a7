"""The image: not root, of pinned parts, with the folders that are mounted into it, from files that Docker is given."""

import re
import tomllib

import yaml

from cluster.compose import FILE
from include.staging import PROJECT_ROOT

LINES = (PROJECT_ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def test_it_does_not_run_as_root() -> None:
    *_, user = instructions("USER")
    (made,) = [line for line in instructions("RUN") if line.startswith("useradd ")]
    assert made.split("&&")[0].split()[-1] == user
    assert "--uid 50000 --gid 0" in made


def test_its_base_is_pinned_and_is_a_python_that_the_project_takes() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(\d+\.\d+)\.\d+-slim-\w+$", "\n".join(LINES), re.MULTILINE)
    assert {base.split()[0] for base in instructions("FROM")} == {"python:${PYTHON}"}
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    assert int(low) <= int(version.partition(".")[2]) < int(high)


def test_what_is_copied_exists_and_is_given_to_docker() -> None:
    given = {line[1:] for line in (PROJECT_ROOT / ".dockerignore").read_text("utf-8").split() if line.startswith("!")}
    words = (re.sub(r"--chown=\S+ ", "", line).split()[:-1] for line in instructions("COPY") if "--from" not in line)
    copied = {source for sources in words for source in sources}
    assert copied == given
    assert all((PROJECT_ROOT / source).exists() for source in copied)


def test_requirements_and_project_are_installed_without_choosing_versions() -> None:
    text = "\n".join(LINES)
    assert "pip install --no-deps --only-binary :all: --requirement /project/requirements-cluster.txt" in text
    assert "pip install --no-deps /project && pip check" in text


def test_it_has_the_folders_that_are_mounted_into_it() -> None:
    made = " ".join(line for line in instructions("RUN") if "install --directory --owner airflow" in line).split()
    for name, body in yaml.safe_load(FILE.read_text("utf-8"))["services"].items():
        for volume in body.get("volumes", []) if body["image"].startswith("${AIRFLOW_IMAGE") else []:
            target = volume["target"] if isinstance(volume, dict) else volume.split(":")[1]
            assert target in made, f"{name}: {target}"
