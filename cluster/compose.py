"""Reading ``docker-compose.yaml``: services with everything the file says of them, variables filled in.

What is read is what this project's file uses of the Compose specification: anchors and merges (YAML's), interpolation,
commands as lists, environments as mappings, health checks, inline configs, bind mounts in their long form.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.processes import DemoError
from include.staging import PROJECT_ROOT

FILE = PROJECT_ROOT / "docker-compose.yaml"
LOCAL = PROJECT_ROOT / ".env.local"
"""The settings for trying the cluster out."""
_QUOTED = re.compile("^'([^']*)'$")
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(:-|:\?|(?=\})))?")


@dataclass(frozen=True)
class Service:
    """One service of the file.

    ``configs`` are the texts of its inline configs by the path where they stand; ``mounts`` the host's folders by the
    path in the container; ``ports`` what it listens on, inside.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    healthcheck: tuple[str, ...]
    ports: tuple[int, ...]
    configs: dict[str, str]
    mounts: dict[str, Path]


def read_compose(environment: Mapping[str, str], path: Path = FILE) -> dict[str, Service]:
    """The services of a compose file by name, those of all profiles.

    Args:
        environment: the variables that the file asks for; the process's own are not looked at.
        path: the file.

    Raises:
        DemoError: a variable that the file demands is missing, or a reference cannot be read.
    """
    content = filled(yaml.safe_load(path.read_text("utf-8")), environment)
    configs = {name: config["content"] for name, config in content.get("configs", {}).items()}
    return {name: _service(name, body, configs, path.parent) for name, body in content["services"].items()}


def read_env(path: Path) -> dict[str, str]:
    """A file of ``NAME=value`` or ``NAME='value'`` lines; empty ones and those that begin with ``#`` say nothing."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name.strip(): _QUOTED.sub(r"\1", value.strip()) for name, value in pairs}


def filled(content: Any, environment: Mapping[str, str]) -> Any:
    """The same structure with every variable in its texts replaced.

    Raises:
        DemoError: as of :func:`interpolate`.
    """
    if isinstance(content, dict):
        return {key: filled(value, environment) for key, value in content.items()}
    if isinstance(content, list):
        return [filled(value, environment) for value in content]
    return interpolate(content, environment) if isinstance(content, str) else content


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``${A}``, ``${A:-default}``, ``${A:?message}`` and ``$$``.

    Raises:
        DemoError: a demanded variable is missing or empty (the sentence has the file's message), or a dollar stands
            for something else.
    """
    done, at = "", 0
    while found := _VARIABLE.search(text, at):
        done += text[at : found.start()]
        dollar, name, operator = found.groups()
        at = found.end()
        if dollar:
            done += "$"
        elif name:
            end = _closing(text, at)
            done += environment.get(name) or _missing(name, operator, text[at:end], environment)
            at = end + 1
        else:
            raise DemoError(f"a dollar of {text!r} is not understood; one that is meant as such is written twice")
    return done + text[at:]


def _closing(text: str, at: int) -> int:
    """Where the brace is closed that was opened before ``at``."""
    depth = 1
    for place in range(at, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return place
    raise DemoError(f"a brace is not closed in {text!r}")


def _missing(name: str, operator: str, rest: str, environment: Mapping[str, str]) -> str:
    if operator == ":?":
        raise DemoError(f"{name} is not set: {rest}")
    return interpolate(rest, environment)


def _service(name: str, body: dict[str, Any], configs: dict[str, str], folder: Path) -> Service:
    mounts = (volume for volume in body.get("volumes", []) if isinstance(volume, dict))
    ports = (str(port).rpartition(":")[2] for port in (*body.get("ports", []), *body.get("expose", [])))
    environment = {key: "" if value is None else str(value) for key, value in body.get("environment", {}).items()}
    return Service(
        name=name,
        command=tuple(str(word) for word in (*body.get("entrypoint", []), *body.get("command", []))),
        environment=environment,
        healthcheck=tuple(body.get("healthcheck", {}).get("test", [])),
        ports=tuple(int(port) for port in ports),
        configs={config["target"]: configs[config["source"]] for config in body.get("configs", [])},
        mounts={mount["target"]: folder / mount["source"] for mount in mounts},
    )
