"""Pages of profiles, of lists and of segments, as JSON:API documents."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from include.sandbox.klaviyo import questions
from include.sandbox.klaviyo.database import AccountDatabase
from include.sandbox.klaviyo.errors import refusal

PROFILE_FIELDS = ("email", "external_id", "first_name", "properties", "created", "updated")
_OTHER_FIELDS = ("subscriptions", "joined_group_at")
_ALWAYS_NULL = ("phone_number", "last_name", "organization", "locale", "title", "image", "last_event_date", "location")
PROFILE_FILTERS = {
    "id": ("any", "equals"),
    "email": ("any", "equals"),
    "external_id": ("any", "equals"),
    "created": ("greater-than", "less-than"),
    "updated": ("greater-than", "less-than"),
}
MEMBER_FILTERS = {"email": ("any", "equals")}
_COMPARISONS = {"greater-than": ">", "less-than": "<"}
_MIXER = 2_654_435_761
REPEATED_BORDERS = 5
"""At one border of so many the last row of a page stands on the next one again."""


class Listings:
    """Answers questions for what is stored. ``repeats``: some borders of pages repeat a row."""

    def __init__(self, database: AccountDatabase, repeats: bool) -> None:
        self._database = database
        self._repeats = repeats

    def profiles(self, url: str, params: Mapping[str, str], source: str | None = None) -> dict[str, Any]:
        """A page of all profiles, or of the members of a source (``list:ID`` or ``segment:ID``).

        Raises:
            Refusal: a parameter is wrong (400), or there is no such source (404).
        """
        size, after = questions.page_size(params, 20, 100), questions.place_of(params)
        fields = questions.names(params, "fields[profile]", [*PROFILE_FIELDS, *_ALWAYS_NULL, *_OTHER_FIELDS])
        more = questions.names(params, "additional-fields[profile]", ["subscriptions", "predictive_analytics"]) or []
        wanted = questions.condition(params, MEMBER_FILTERS if source else PROFILE_FILTERS)
        limits: list[tuple[str, list[Any]]] = [(f"n {self._beyond(after, size)} ?", [after])]
        if source:
            limits.append(("n IN (SELECT n FROM members WHERE source = ?)", [source]))
        if wanted:
            limits.append(_as_sql(wanted))
        with self._database.reading() as connection:
            if source:
                _existing(connection, source)
            rows = self._rows(connection, source, limits, size)
        documents = [_profile(row, fields, "subscriptions" in more, member=bool(source)) for row in rows[:size]]
        return _page(url, params, documents, rows[size - 1]["n"] if len(rows) > size else None)

    def _beyond(self, after: int, size: int) -> str:
        repeated = self._repeats and after and size > 1 and (after * _MIXER >> 7) % REPEATED_BORDERS == 0
        return ">=" if repeated else ">"

    @staticmethod
    def _rows(
        connection: sqlite3.Connection, source: str | None, limits: list[tuple[str, list[Any]]], size: int
    ) -> list[sqlite3.Row]:
        if source and len(limits) == 2:  # the usual case, by the index of the members
            (beyond, values), _ = limits
            query = f"SELECT profiles.* FROM members JOIN profiles USING (n) WHERE source = ? AND {beyond}"
            parameters = [source, *values]
        else:
            query = f"SELECT * FROM profiles WHERE {' AND '.join(sql for sql, _ in limits)}"
            parameters = [value for _, values in limits for value in values]
        return connection.execute(f"{query} ORDER BY n LIMIT ?", [*parameters, size + 1]).fetchall()

    def sources(self, url: str, params: Mapping[str, str], kind: str) -> dict[str, Any]:
        """A page of lists or segments.

        Raises:
            Refusal: a parameter is wrong.
        """
        size, after = questions.page_size(params, 10, 10), questions.place_of(params)
        fields = questions.names(params, f"fields[{kind}]", ("name", "created", "updated"))
        wanted = questions.condition(params, {"name": ("any", "equals"), "id": ("any", "equals")})
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM sources WHERE kind = ? ORDER BY id", [kind]).fetchall()
        if wanted:
            rows = [row for row in rows if row[wanted.field] in wanted.values]
        shown = [_source(kind, row, fields, None) for row in rows[after : after + size]]
        return _page(url, params, shown, after + size if len(rows) > after + size else None)

    def source(self, params: Mapping[str, str], kind: str, name: str) -> dict[str, Any]:
        """One list or segment; with ``profile_count`` if it is asked for.

        Raises:
            Refusal: a parameter is wrong, or there is none.
        """
        fields = questions.names(params, f"fields[{kind}]", ("name", "created", "updated", "profile_count"))
        more = questions.names(params, f"additional-fields[{kind}]", ("profile_count",)) or []
        with self._database.reading() as connection:
            row = _existing(connection, f"{kind}:{name}")
            counted = connection.execute("SELECT count(*) FROM members WHERE source = ?", [f"{kind}:{name}"]).fetchone()
        return {"data": _source(kind, row, fields, counted[0] if more else None)}


def _existing(connection: sqlite3.Connection, source: str) -> sqlite3.Row:
    kind, _, name = source.partition(":")
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM sources WHERE kind = ? AND id = ?", [kind, name]
    ).fetchone()
    if row is None:
        raise refusal(404, f"A {kind} with id {name} does not exist.")
    return row


def _as_sql(wanted: questions.Condition) -> tuple[str, list[Any]]:
    if wanted.operator in _COMPARISONS:
        return f"datetime({wanted.field}) {_COMPARISONS[wanted.operator]} datetime(?)", [wanted.values[0]]
    return f"{wanted.field} IN ({', '.join('?' * len(wanted.values))})", list(wanted.values)


def _profile(row: sqlite3.Row, fields: Sequence[str] | None, consent: bool, member: bool) -> dict[str, Any]:
    """A profile as a resource; a member of a source says since when it is one."""
    attributes: dict[str, Any] = {name: row[name] for name in PROFILE_FIELDS if name != "properties"}
    attributes |= dict.fromkeys(_ALWAYS_NULL) | {"properties": json.loads(row["properties"])}
    if member:
        attributes["joined_group_at"] = row["created"]
    if fields is not None:
        attributes = {name: value for name, value in attributes.items() if name in fields}
    if consent:
        attributes["subscriptions"] = _subscriptions(row)
    return {
        "type": "profile",
        "id": row["id"],
        "attributes": attributes,
        "links": {"self": f"https://a.klaviyo.com/api/profiles/{row['id']}/"},
    }


def _subscriptions(row: sqlite3.Row) -> dict[str, Any]:
    suppression = [{"reason": "USER_SUPPRESSED", "timestamp": row["created"]}] if row["suppressed"] else []
    return {
        "email": {
            "marketing": {
                "can_receive_email_marketing": not suppression and row["consent"] != "UNSUBSCRIBED",
                "consent": row["consent"],
                "consent_timestamp": row["created"] if row["consent"] == "SUBSCRIBED" else None,
                "last_updated": row["created"],
                "method": "PREFERENCE_PAGE" if row["consent"] == "SUBSCRIBED" else None,
                "method_detail": "",
                "custom_method_detail": None,
                "double_optin": row["consent"] == "SUBSCRIBED",
                "suppression": suppression,
                "list_suppressions": [],
            }
        },
        "sms": None,
        "mobile_push": None,
    }


def _source(kind: str, row: sqlite3.Row, fields: Sequence[str] | None, count: int | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "name": row["name"],
        "created": "2024-01-01T08:00:00+00:00",
        "updated": "2024-01-01T08:00:00+00:00",
    }
    attributes |= {"opt_in_process": "single_opt_in"} if kind == "list" else _SEGMENT_ATTRIBUTES
    if fields is not None:
        attributes = {name: value for name, value in attributes.items() if name in fields}
    if count is not None:
        attributes["profile_count"] = count
    links = {"self": f"https://a.klaviyo.com/api/{kind}s/{row['id']}/"}
    return {"type": kind, "id": row["id"], "attributes": attributes, "links": links}


_SEGMENT_ATTRIBUTES = {"definition": None, "is_active": True, "is_processing": False, "is_starred": False}


def _page(url: str, params: Mapping[str, str], rows: list[dict[str, Any]], place: int | None) -> dict[str, Any]:
    return {"data": rows, "links": page_links(url, params, place)}


def page_links(url: str, params: Mapping[str, str], place: int | None) -> dict[str, Any]:
    """Links of a page; ``place`` is where the next one begins, None if there is none."""
    from urllib.parse import urlencode

    others = {name: value for name, value in params.items() if name != questions.CURSOR}
    following = None
    if place is not None:
        following = f"{url}?{urlencode({**others, questions.CURSOR: questions.cursor_of(place)})}"
    return {"self": f"{url}?{urlencode(params)}" if params else url, "next": following, "prev": None}
