"""What was received, for people and tests to look at: methods, paths, statuses, sizes and times; never ids."""

import re
from collections import deque
from typing import TypedDict

from include.sandbox.advisable.interactions import TYPES

KEPT = 1_000
_TYPES = "|".join(TYPES)
KNOWN_PATHS = re.compile(
    r"/v1/recommender/batching/[\w-]+/users"
    r"|/v1/interactions/[\w-]+/files"
    r"|/v1/recommender/pin/[\w-]+/(scope|scopes|scopes/_bulk|scopes/export)"
    rf"|/advisable/v1/(({_TYPES})|purchases/batch)"
    r"|/batches/[\w-]+\.(xml|json)"
    r"|/api/v3/(ping|check-credentials|contacts|contactlists|contact-customfields|customfields|import"
    r"|newsletter-stats-summary|contactlists/\d{1,9}/contacts(/confirmed)?)"
)
PATHS_WITH_IDS = (
    re.compile(r"(/v1/recommender/pin/[\w-]+/scope/).+()", re.DOTALL),
    re.compile(r"(/advisable/v1/users/).+(/interactions/transfer/).+()", re.DOTALL),
    re.compile(rf"(/advisable/v1/(?:users|items)/).+(/(?:{_TYPES}))", re.DOTALL),
    re.compile(r"(/advisable/v1/users/).+()", re.DOTALL),
)
"""The groups are what may be shown; what lies between them are ids."""


class Entry(TypedDict):
    """One request. ``status`` is null when the connection was reset instead of answered."""

    method: str
    path: str
    status: int | None
    bytes: int
    bytes_sent: int
    seconds: float
    started_at: str
    fault: str | None


class Journal:
    """The newest requests to the vendor's paths."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def note(self, entry: Entry) -> None:
        """Keep a request; the oldest one is forgotten when there are too many."""
        self._entries.append(entry)

    def entries(self) -> list[Entry]:
        """All that is kept, oldest first."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()


def path_without_ids(path: str) -> str:
    """The path if it is one of the vendor's; what follows the first part of any other could be an id."""
    if KNOWN_PATHS.fullmatch(path):
        return path
    for known in PATHS_WITH_IDS:
        if match := known.fullmatch(path):
            return "…".join(match.groups())
    return f"/{path.split('/')[1]}/…"
