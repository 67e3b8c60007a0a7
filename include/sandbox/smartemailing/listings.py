"""Pages of contacts, values, lists, fields and newsletters."""

import sqlite3
import threading
from collections import defaultdict
from typing import Any

from include.sandbox.smartemailing.answers import Refusal, page
from include.sandbox.smartemailing.database import ContactsDatabase
from include.sandbox.smartemailing.questions import Place, Question, Source

_OF_LIST = "memberships m CROSS JOIN contacts t ON t.id = m.contact_id AND m.contactlist_id = ?"  # in this order
_MOST_REMEMBERED = 100


class Listings:
    """Answers questions.

    Until something changes it remembers counts, and where the last page ended: counting a million rows takes long.
    """

    def __init__(self, database: ContactsDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._remembered: dict[tuple[Any, ...], tuple[int, Place]] = {}

    def answer(self, question: Question) -> dict[str, Any]:
        """A page of a plain table."""
        with self._database.reading() as connection:
            rows, total = self._page(connection, question, Source(f"{question.listing.table} t"))
        return page([_selected(row, question) for row in rows], total, question.offset, question.limit)

    def contacts(self, question: Question, list_id: int | None, confirmed: bool) -> dict[str, Any]:
        """A page of contacts, of one list or of all.

        Raises:
            Refusal: 404, there is no such list.
        """
        source = Source("contacts t")
        if list_id is not None:
            text = _OF_LIST + (" AND m.status = 'confirmed'" if confirmed else "")
            source = Source(text, (list_id,), "m.contact_id")
        with self._database.reading() as connection:
            for number in source.values:
                if not connection.execute("SELECT 1 FROM contactlists WHERE id = ?", [number]).fetchone():
                    raise Refusal(404, f"Contact list {number} was not found")
            rows, total = self._page(connection, question, source)
            _add_lists(connection, rows, question)
            _add_values(connection, rows, question)
        return page([_selected(row, question) for row in rows], total, question.offset, question.limit)

    def _page(
        self, connection: sqlite3.Connection, question: Question, source: Source
    ) -> tuple[list[dict[str, Any]], int]:
        generation = connection.execute("SELECT number FROM generation").fetchone()[0]
        key = (generation, *source, *question.filters.items())
        with self._lock:
            total, place = self._remembered.get(key, (-1, (0, 0)))
        rows = question.rows(connection, source, place if place[0] <= question.offset else (0, 0))
        if total < 0:
            total = question.count(connection, source)
        if question.by_id and len(rows) > 1:  # the next page may overlap this one by a row
            place = question.offset + len(rows) - 1, rows[-2]["id"]
        with self._lock:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = total, place
        return rows, total


def _selected(row: dict[str, Any], question: Question) -> dict[str, Any]:
    wanted = (*question.select, *question.expand)
    return {name: row[name] for name in wanted if name in row}


def _add_lists(connection: sqlite3.Connection, rows: list[dict[str, Any]], question: Question) -> None:
    if "contactlists" not in question.select:
        return
    found = _of_contacts(
        connection,
        rows,
        "SELECT contact_id, contactlist_id, status, added, updated FROM memberships "
        "WHERE contact_id IN ({}) ORDER BY contactlist_id",
    )
    for row in rows:
        row["contactlists"] = found[row["id"]]


def _add_values(connection: sqlite3.Connection, rows: list[dict[str, Any]], question: Question) -> None:
    if "customfields" not in question.expand:
        return
    found = _of_contacts(
        connection,
        rows,
        "SELECT contact_id, id, customfield_id, value, customfield_options_id FROM contact_customfields "
        "WHERE contact_id IN ({}) ORDER BY customfield_id",
    )
    for row in rows:
        row["customfields"] = found[row["id"]]


def _of_contacts(
    connection: sqlite3.Connection, rows: list[dict[str, Any]], query: str
) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    numbers = [row["id"] for row in rows]
    for each in connection.execute(query.format(", ".join("?" * len(numbers))), numbers):
        content = dict(each)
        found[content.pop("contact_id")].append(content)
    return found
