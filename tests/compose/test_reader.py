"""How the compose file is read: as Docker Compose reads it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.compose import FILE, LOCAL, filled, interpolate, read_compose, read_env
from demo.processes import DemoError
from include.staging import PROJECT_ROOT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${A}${B}", "1"),
        ("$$A ${A}$$", "$A 1$"),
        ("${A:-x}-${B:-x}-${C:-x}-${C}", "1-x-x-"),
        ("${C:-redis://:${A}@host/${C:-0}}", "redis://:1@host/0"),
        ("${A:?never said}", "1"),
        ('{"json": "${A}"}', '{"json": "1"}'),
    ],
)
def test_variables_are_filled_in(text: str, found: str) -> None:
    assert interpolate(text, {"A": "1", "B": ""}) == found


@pytest.mark.parametrize("text", ["${C:?say it}", "${B:?say it}", "x${C:-${B:?say it}}"])
def test_a_demanded_variable_names_itself_and_the_message(text: str) -> None:
    with pytest.raises(DemoError, match=r"^[BC] is not set: say it$"):
        interpolate(text, {"B": ""})


@pytest.mark.parametrize(
    ("text", "said"),
    [("${A:-{", "not closed"), ("50$ {A}", "dollar"), ("$A", "dollar"), ("${A:+x}", "dollar"), ("${A-x}", "dollar")],
)
def test_what_the_file_does_not_use_is_refused(text: str, said: str) -> None:
    with pytest.raises(DemoError, match=said):
        interpolate(text, {"A": "1"})


def test_all_texts_of_a_structure_are_filled_and_nothing_else() -> None:
    assert filled({"${A}": ["${A}", 1, None, {"a": True}]}, {"A": "1"}) == {"${A}": ["1", 1, None, {"a": True}]}


def test_single_quotes_around_a_value_are_not_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("""# A='no'\n\nA='x$y'\nB=x'y'\nC={"json": "it's"}\nD=''\nE='\n F = 'a b' \n""")
    assert read_env(file) == {"A": "x$y", "B": "x'y'", "C": '{"json": "it\'s"}', "D": "", "E": "'", "F": "a b"}


def compose() -> str | None:
    """Docker Compose, from the environment or the machine, if it is there."""
    return shutil.which("docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(compose() is None, reason="docker-compose (2.24 or newer) is not installed")
def test_docker_compose_accepts_the_file_and_reads_it_so() -> None:
    every = [word for name in ("sandbox", "s3", "flower") for word in ("--profile", name)]
    found = subprocess.run(
        [str(compose()), "--file", str(FILE), "--env-file", str(LOCAL), *every, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert found.stdout, found.stderr
    theirs = json.loads(found.stdout.replace("$$", "$"))["services"]  # it writes dollars as the file must
    ours = read_compose(read_env(LOCAL))
    given = read_env(PROJECT_ROOT / read_env(LOCAL)["CONNECTIONS_FILE"])
    assert theirs.keys() == ours.keys()
    for name, service in ours.items():
        body = theirs[name]
        assert list(service.command) == [*(body.get("entrypoint") or []), *(body.get("command") or [])], name
        connections = {} if name in ("postgres", "redis", "sandbox", "s3") else given
        assert {**connections, **service.environment} == body.get("environment", {}), name
        assert list(service.healthcheck) == body.get("healthcheck", {}).get("test", []), name
        assert set(service.mounts) == {each["target"] for each in body.get("volumes", []) if each["type"] == "bind"}
        ports = {int(port["target"]) for port in body.get("ports", [])} | {int(port) for port in body.get("expose", [])}
        assert set(service.ports) == ports, name
