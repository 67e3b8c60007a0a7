"""Contacts for an account, deterministic, with the dirt that real accounts have.

List 1 has all contacts, list 2 every third; custom field 3 is the customer id, 4 to 40 are free for text.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from include.errors import BadInput
from include.sandbox.smartemailing.database import ContactsDatabase

CUSTOMER_ID_FIELD = 3
LAST_FIELD = 40
_MOMENT = "2024-01-01 08:00:00"
_CHUNK = 20_000
_DIRT = (("no_id", 20), ("empty_id", 25), ("duplicate", 35), ("blacklisted", 60), ("unsubscribed", 100))
"""Kind, and the end of its share in a thousand contacts."""


class Contact(NamedTuple):
    """One contact to be stored. ``customer`` is None where it has no value for the customer id."""

    number: int
    email: str
    customer: str | None
    kind: str


def fill_smartemailing(state: Path, rows: int | Iterable[tuple[str, str]], seed: int = 7) -> dict[str, Any]:
    """Replace the account's contacts.

    Args:
        state: folder of a sandbox, which may be running.
        rows: how many contacts to make up; or customer id and e-mail address of each.
        seed: another one makes other contacts dirty.

    Returns:
        exact counts: ``contacts`` (one more than asked for: the one with the id ``default``), ``lists`` (members by
        status), ``dirt`` by kind, ``customers`` (ids of list 1 that a pull takes), ``seed``.

    Raises:
        BadInput: an e-mail address comes twice; nothing is changed.
    """
    given = (
        ((f"c{number:07d}", f"user{number}@example.com") for number in range(1, rows + 1))
        if isinstance(rows, int)
        else rows
    )
    kinds: Counter[str] = Counter()
    members: dict[str, Counter[str]] = {"1": Counter(), "2": Counter()}
    with ContactsDatabase(state).writing() as connection:
        _prepare(connection)
        contacts = _contacts(given, seed)
        while chunk := list(islice(contacts, _CHUNK)):
            _store(connection, chunk, seed)
            for contact in chunk:
                kinds[contact.kind] += 1
                for number in _lists(contact):
                    members[number][_status(contact)] += 1
    return {
        "contacts": kinds.total(),
        "lists": {number: dict(counts) for number, counts in members.items()},
        "dirt": {kind: kinds[kind] for kind in (*(name for name, _ in _DIRT), "default")},
        "customers": kinds["clean"],
        "seed": seed,
    }


def _contacts(given: Iterable[tuple[str, str]], seed: int) -> Iterator[Contact]:
    before: str | None = None
    number = 0
    for number, (customer, email) in enumerate(given, 1):
        kind = _kind(number, seed)
        if kind == "duplicate" and before is None:
            kind = "clean"
        if kind == "clean":
            before = customer
        own = {"no_id": None, "empty_id": "", "duplicate": before}.get(kind, customer)
        yield Contact(number, email, own, kind)
    yield Contact(number + 1, "default@example.com", "default", "default")


def _kind(number: int, seed: int) -> str:
    place = (number * 919 + seed * 331) % 1000  # 919 and 1000 share no factor: every place comes once in a thousand
    return next((kind for kind, end in _DIRT if place < end), "clean")


def _lists(contact: Contact) -> tuple[str, ...]:
    return ("1", "2") if contact.number % 3 == 0 else ("1",)


def _status(contact: Contact) -> str:
    return "unsubscribed" if contact.kind == "unsubscribed" else "confirmed"


def _prepare(connection: sqlite3.Connection) -> None:
    for table in ("contacts", "contactlists", "memberships", "customfields", "contact_customfields"):
        connection.execute(f"DELETE FROM {table}")
    connection.executemany("INSERT INTO contactlists VALUES (?, ?)", [(1, "Everybody"), (2, "Every third")])
    fields = [(CUSTOMER_ID_FIELD, "customer_id", "text")]
    fields += [(number, f"text_{number}", "text") for number in range(CUSTOMER_ID_FIELD + 1, LAST_FIELD + 1)]
    connection.executemany("INSERT INTO customfields VALUES (?, ?, ?)", fields)


def _store(connection: sqlite3.Connection, chunk: list[Contact], seed: int) -> None:
    try:
        connection.executemany(
            "INSERT INTO contacts VALUES (?, ?, ?, ?, ?, ?, ?)", (_row(each, seed) for each in chunk)
        )
    except sqlite3.IntegrityError:
        between = f"contacts {chunk[0].number} to {chunk[-1].number}"
        raise BadInput(f"{between}: an e-mail address is there twice; nothing was filled") from None
    connection.executemany(
        "INSERT INTO memberships VALUES (?, ?, ?, ?, ?)",
        ((int(number), each.number, _status(each), _MOMENT, _MOMENT) for each in chunk for number in _lists(each)),
    )
    connection.executemany(
        "INSERT INTO contact_customfields (contact_id, customfield_id, value) VALUES (?, ?, ?)",
        ((each.number, CUSTOMER_ID_FIELD, each.customer) for each in chunk if each.customer is not None),
    )


def _row(contact: Contact, seed: int) -> tuple[Any, ...]:
    guid = f"{seed:08x}{contact.number:024x}"
    return contact.number, guid, contact.email, None, contact.kind == "blacklisted", _MOMENT, _MOMENT
