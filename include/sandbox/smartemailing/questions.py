"""What the listing routes can be asked: limit, offset, select, sort, expand, and plain filters, as SQL.

Every name that comes from outside is looked up in a table of known ones before it becomes SQL.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from include.sandbox.smartemailing.answers import Refusal

MAX_LIMIT = 500
_OWN_PARAMETERS = ("limit", "offset", "select", "sort", "expand")

Place = tuple[int, int]
"""A number of rows, and the id of the last of them."""


class Source(NamedTuple):
    """Where rows come from: the text after FROM, where ``t`` is what is listed; its values; the column of the id."""

    text: str
    values: tuple[Any, ...] = ()
    id: str = "t.id"


@dataclass(frozen=True)
class Listing:
    """A table that can be listed: its columns, which all can be selected, sorted and filtered by."""

    table: str
    columns: tuple[str, ...]
    extras: tuple[str, ...] = ()
    """Fields that are put together from other tables; they can be selected, not sorted or filtered by."""
    expands: tuple[str, ...] = ()


CONTACTS = Listing(
    "contacts",
    ("id", "guid", "emailaddress", "name", "blacklisted", "created", "updated"),
    extras=("contactlists",),
    expands=("customfields",),
)
VALUES = Listing("contact_customfields", ("id", "contact_id", "customfield_id", "value", "customfield_options_id"))
LISTS = Listing("contactlists", ("id", "name"))
FIELDS = Listing("customfields", ("id", "name", "type"))
NEWSLETTERS = Listing("newsletters", ("id", "name", "start", "finish"))


@dataclass(frozen=True)
class Question:
    """One request for a page, checked."""

    listing: Listing
    limit: int
    offset: int
    select: tuple[str, ...]
    order: str
    expand: tuple[str, ...]
    filters: Mapping[str, str]

    def count(self, connection: sqlite3.Connection, source: Source) -> int:
        """How many rows there are on all pages."""
        query = f"SELECT count(*) FROM {source.text} WHERE {self._where()}"
        return int(connection.execute(query, [*source.values, *self.filters.values()]).fetchone()[0])

    def rows(self, connection: sqlite3.Connection, source: Source, known: Place = (0, 0)) -> list[dict[str, Any]]:
        """The rows of this page, all columns.

        ``known`` is a place before this page: so many rows have ids up to this one. It spares counting from the head,
        and is used only if the order is that of ids.
        """
        names = ", ".join(f"t.{name}" for name in self.listing.columns)
        rows, after = known if self.by_id else (0, 0)
        query = (
            f"SELECT {names} FROM {source.text} WHERE {self._where()} AND {source.id} > ? "
            f"ORDER BY {source.id if self.by_id else self.order} LIMIT {self.limit} OFFSET {self.offset - rows}"
        )
        return [dict(row) for row in connection.execute(query, [*source.values, *self.filters.values(), after])]

    @property
    def by_id(self) -> bool:
        """Whether the order is that of ids."""
        return self.order == "t.id"

    def _where(self) -> str:
        return " AND ".join(["1", *(f"t.{name} = ?" for name in self.filters)])


def ask(listing: Listing, parameters: Mapping[str, str]) -> Question:
    """Read the query of a request.

    Raises:
        Refusal: 422, a parameter is unknown or has an impossible value.
    """
    filters = {name: value for name, value in parameters.items() if name not in _OWN_PARAMETERS}
    _known("parameter", filters, listing.columns)
    expand = _names(parameters.get("expand", ""))
    _known("expand", expand, listing.expands)
    select = _names(parameters.get("select", ""))
    _known("select", select, (*listing.columns, *listing.extras))
    return Question(
        listing=listing,
        limit=_number(parameters, "limit", MAX_LIMIT, 1, MAX_LIMIT),
        offset=_number(parameters, "offset", 0, 0, 2**62),
        select=select or (*listing.columns, *listing.extras),
        order=_order(listing, _names(parameters.get("sort", "id"))),
        expand=expand,
        filters=filters,
    )


def _order(listing: Listing, sort: tuple[str, ...]) -> str:
    _known("sort", [name.removeprefix("-") for name in sort], listing.columns)
    return ", ".join(f"t.{name.removeprefix('-')}{' DESC' if name.startswith('-') else ''}" for name in sort)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _known(what: str, names: Sequence[str] | Mapping[str, str], allowed: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise Refusal(422, f"{what}: {', '.join(unknown)} is not known here; known are {', '.join(allowed) or 'none'}")


def _number(parameters: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = parameters.get(name, str(usual))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Refusal(422, f"{name}: came {text[:30]!r}, allowed are {least} to {most}")
    return int(text)
