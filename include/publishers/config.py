"""Reading publisher files: from YAML to models, with errors that name file and key; a JSON schema for editors.

``python -m include.publishers.config`` prints the JSON schema. The meaning of each key is its description in the
models beside this module; ``docs/publishers.md`` explains them at length.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from include.errors import ConfigError
from include.publishers.audiences import WarehouseAudience
from include.publishers.models import Publisher
from include.publishers.senders import Transactions


def warehouse_audience(publisher: Publisher) -> WarehouseAudience:
    """The query of a publisher.

    Raises:
        ConfigError: its customers come from elsewhere.
    """
    if publisher.audience.kind != "warehouse":
        raise ConfigError(
            f"publisher {publisher.name}: audience.kind is {publisher.audience.kind}, so there is no connection for a "
            "query; give a list in a file instead of SQL"
        )
    return publisher.audience


def past_transactions(publisher: Publisher) -> Transactions:
    """The purchases that a publisher sends.

    Raises:
        ConfigError: it sends none.
    """
    if publisher.past_transactions is None:
        raise ConfigError(f"publisher {publisher.name}: past_transactions is missing in its file")
    return publisher.past_transactions


def publishers_folder() -> Path:
    """Where publisher files lie: ``PUBLISHERS_DIR``, by default this folder."""
    return Path(os.environ.get("PUBLISHERS_DIR") or Path(__file__).parent)


def publisher_names() -> list[str]:
    """Names of all publisher files, sorted; cheap, nothing is parsed."""
    return sorted(path.stem for path in publishers_folder().glob("*.yaml"))


def load_publisher(name: str) -> Publisher:
    """Read and check one publisher file.

    Raises:
        ConfigError: no such file, or a mistake in it; the sentence names file, key, what came, what is allowed.
    """
    path = publishers_folder() / f"{name}.yaml"
    if name not in publisher_names():
        known = ", ".join(publisher_names()) or "none"
        raise ConfigError(f"{path}: no such publisher file; known publishers: {known}")
    return _read(path, path.stat().st_mtime_ns)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML itself would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """One mapping of the file."""
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.constructor.ConstructorError(
                "while reading a mapping", node.start_mark, f"the key {twice[0]} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def sound_publishers() -> list[Publisher]:
    """All publishers whose files have no mistake: one shop's typing error must not stop the others' DAGs.

    The mistakes are raised by :func:`check_publishers`.
    """
    sound = []
    for name in publisher_names():
        with suppress(ConfigError):
            sound.append(load_publisher(name))
    return sound


def check_publishers() -> None:
    """Look for mistakes in all files, and for two publishers of one tracker.

    Raises:
        ConfigError: naming all that were found.
    """
    mistakes = []
    for name in publisher_names():
        try:
            check_alone(load_publisher(name))
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def check_alone(publisher: Publisher) -> None:
    """Each upload replaces the tracker's whole list, so no two publishers may share a connection.

    Raises:
        ConfigError: another one has the same.
    """
    connection = publisher.luigisbox.connection
    others = [each.name for each in sound_publishers() if each.luigisbox.connection == connection]
    if len(others) > 1:
        raise ConfigError(
            f"publishers {', '.join(others)}: all have luigisbox.connection {connection}; an upload would replace the "
            "list of the others. Give each a tracker and a connection of its own."
        )


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Publisher:
    try:
        content = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a mapping of keys, came {type(content).__name__}")
    given = content.get("name", path.stem)
    if given != path.stem:
        raise ConfigError(f"{path}: name: came {given!r}, must be {path.stem!r} as the file (or left out)")
    try:
        return Publisher.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from error


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path}: {error.error_count()} mistake(s)"]
    for problem in error.errors(include_url=False):
        key = ".".join(_without_kind(problem["loc"])) or "(the whole file)"
        lines.append(f"  {key}: {_sentence(problem)}")
    return "\n".join(lines)


def _without_kind(place: tuple[str | int, ...]) -> list[str]:
    """The keys that lead to a mistake, without the kind that pydantic puts behind ``audience`` and ``batch``."""
    keys = [str(part) for part in place]
    return [keys[0], *keys[2:]] if keys[0:1] in (["audience"], ["batch"]) else keys


def _sentence(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "missing":
        return "is missing"
    came = re.sub(r"\s+", " ", repr(problem["input"]))
    came = came if len(came) <= 80 else came[:77] + "..."
    if problem["type"] == "extra_forbidden":
        return f"came {came}; no such key here (check the spelling, or see docs/publishers.md)"
    return f"came {came}; {problem['msg']}"


def json_schema() -> dict[str, Any]:
    """The JSON schema of a publisher file, for editors; ``name`` is optional there (the file's name)."""
    schema = Publisher.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201
