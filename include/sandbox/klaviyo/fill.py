"""Profiles for an account, deterministic, with the dirt that real accounts have.

List LIST01 has all profiles, LIST02 every third, segment SEGM01 every second, SEGM02 nobody. The customer id stands in
``external_id`` and in the property ``shop.customer_id``.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from include.sandbox.klaviyo.database import AccountDatabase

SOURCES = {
    "list:LIST01": ("Newsletter", 1),
    "list:LIST02": ("Every third", 3),
    "segment:SEGM01": ("Every second", 2),
    "segment:SEGM02": ("Nobody", 0),
}
"""Sources, their names, and of how many profiles one is a member; 0: none."""
_DIRT = (("no_id", 20), ("duplicate", 35), ("suppressed", 60), ("unsubscribed", 100), ("never_subscribed", 200))
"""Kind, and the end of its share in a thousand profiles."""
_MOMENT = "2024-01-01T08:00:00+00:00"
_CHUNK = 20_000
_CONSENT = {"unsubscribed": "UNSUBSCRIBED", "never_subscribed": "NEVER_SUBSCRIBED"}


class Profile(NamedTuple):
    """One profile to be stored. ``customer`` is None where it has no customer id."""

    number: int
    email: str
    customer: str | None
    kind: str

    @property
    def id(self) -> str:
        """Klaviyo's id."""
        return f"01K{self.number:023d}"


def fill_klaviyo(state: Path, rows: int | Iterable[tuple[str, str]], seed: int = 7) -> dict[str, Any]:
    """Replace the account's profiles, lists and segments.

    Args:
        state: folder of a sandbox, which may be running.
        rows: how many profiles to make up; or customer id and e-mail address of each.
        seed: another one makes other profiles dirty.

    Returns:
        exact counts: ``profiles`` (one more than asked for: the one with the id ``default``), ``dirt`` by kind,
        ``sources``: of each the members by kind, ``seed``. A ``duplicate`` has the customer id of a clean profile of
        the same sources before it.
    """
    given = (
        ((f"c{number:07d}", f"user{number}@example.com") for number in range(1, rows + 1))
        if isinstance(rows, int)
        else rows
    )
    kinds: Counter[str] = Counter()
    members: dict[str, Counter[str]] = {source: Counter() for source in SOURCES}
    with AccountDatabase(state).writing() as connection:
        _prepare(connection)
        profiles = _profiles(given, seed)
        while chunk := list(islice(profiles, _CHUNK)):
            _store(connection, chunk)
            for each in chunk:
                kinds[each.kind] += 1
                for source in _sources(each):
                    members[source][each.kind] += 1
    return {
        "profiles": kinds.total(),
        "dirt": {kind: kinds[kind] for kind in (*(name for name, _ in _DIRT), "default")},
        "sources": {source: dict(counts) for source, counts in members.items()},
        "seed": seed,
    }


def _profiles(given: Iterable[tuple[str, str]], seed: int) -> Iterator[Profile]:
    before: dict[tuple[str, ...], str] = {}
    number = 0
    for number, (customer, email) in enumerate(given, 1):
        kind, place = _kind(number, seed), _sources_of(number)
        if kind == "duplicate" and place not in before:
            kind = "clean"
        if kind == "clean":
            before[place] = customer
        own = {"no_id": None, "duplicate": before.get(place)}.get(kind, customer)
        yield Profile(number, email, own, kind)
    yield Profile(number + 1, "default@example.com", "default", "default")


def _kind(number: int, seed: int) -> str:
    place = (number * 919 + seed * 331) % 1000  # 919 and 1000 share no factor: every place comes once in a thousand
    return next((kind for kind, end in _DIRT if place < end), "clean")


def _sources(profile: Profile) -> tuple[str, ...]:
    return _sources_of(profile.number)


def _sources_of(number: int) -> tuple[str, ...]:
    return tuple(source for source, (_, every) in SOURCES.items() if every and number % every == 0)


def _prepare(connection: sqlite3.Connection) -> None:
    for table in ("profiles", "sources", "members", "jobs", "import_errors"):
        connection.execute(f"DELETE FROM {table}")
    named = ((*source.split(":"), name) for source, (name, _) in SOURCES.items())
    connection.executemany("INSERT INTO sources VALUES (?, ?, ?)", named)


def _store(connection: sqlite3.Connection, chunk: list[Profile]) -> None:
    connection.executemany(
        "INSERT INTO profiles "
        "(n, id, email, external_id, first_name, properties, consent, suppressed, created, updated) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_row(each) for each in chunk),
    )
    members = ((source, each.number) for each in chunk for source in _sources(each))
    connection.executemany("INSERT INTO members VALUES (?, ?)", members)


def _row(profile: Profile) -> tuple[Any, ...]:
    properties = {"language": "cs", "shop": {"customer_id": profile.customer} if profile.customer else {}}
    consent = _CONSENT.get(profile.kind, "SUBSCRIBED")
    return (
        *(profile.number, profile.id, profile.email, profile.customer, f"Name {profile.number}"),
        *(json.dumps(properties), consent, profile.kind == "suppressed", _MOMENT, _MOMENT),
    )
