"""Scopes to be sent, and which of them an answer seems to name."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(r"\b(?:line|row)s?\s*#?\s*(\d{1,6})\b(?!,?\s*col)", re.IGNORECASE)
"""Not "line 1 column 17": that is a place within the JSON of some line."""
_QUOTED = re.compile(r"""["'`]([^"'`]{1,255})["'`]""")


@dataclass(frozen=True)
class Item:
    """A scope to be sent: its number in the run, which scope it is, and its line."""

    number: int
    key: bytes
    line: bytes

    @property
    def scope(self) -> dict[str, Any]:
        """What the line says."""
        found: dict[str, Any] = json.loads(self.line)
        return found


def named(items: Sequence[Item], details: Mapping[str, Any]) -> list[Item]:
    """The lines of a call that an answer's details seem to name: by number, from 1, or by a target's identity."""
    numbers = {int(found) for found in _LINE.findall(json.dumps(details, ensure_ascii=False))}
    said = list(_of_identities(details))
    quoted = {found for each in said for found in _QUOTED.findall(each)} | set(said)
    if not numbers and not quoted:
        return []
    return [
        item
        for place, item in enumerate(items, 1)
        if place in numbers or item.scope.get("target_identity", "") in quoted
    ]


def _of_identities(said: Any) -> Iterator[str]:
    """Texts that stand under ``target_identity``; elsewhere they may be of anything, such as a pinned product."""
    if isinstance(said, list):
        for each in said:
            yield from _of_identities(each)
    elif isinstance(said, Mapping):
        for name, each in said.items():
            yield from _texts(each) if str(name).endswith("target_identity") else _of_identities(each)


def _texts(said: Any) -> Iterator[str]:
    """Every text, keys too."""
    if isinstance(said, Mapping):
        yield from map(str, said)
        said = list(said.values())
    for each in said if isinstance(said, list) else []:
        yield from _texts(each)
    if isinstance(said, str):
        yield said
