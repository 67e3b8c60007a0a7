"""Campaigns in both shapes: whole up to revision 2026-07-15; with status and time on their messages from 2026-10-15."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from include.sandbox.klaviyo import questions
from include.sandbox.klaviyo.database import AccountDatabase
from include.sandbox.klaviyo.errors import refusal
from include.sandbox.klaviyo.listings import page_links

MESSAGES_SINCE = "2026-10-15"
STATUSES = ("draft", "scheduled", "sending", "sent", "cancelled")
PAGE = 10
_HOST = "https://a.klaviyo.com/api"
_MADE = "2024-01-01T08:00:00+00:00"


def campaigns_page(database: AccountDatabase, url: str, params: Mapping[str, str], revision: str) -> dict[str, Any]:
    """A page of campaigns, in the shape of a revision.

    Raises:
        Refusal: the filter is wrong; the older shape demands one for the channel.
    """
    newer = revision >= MESSAGES_SINCE
    allowed = {"messages.channel": ("equals",), "status": ("any", "equals"), "name": ("contains",)}
    wanted = questions.condition(params, {"status": ("any", "equals")} if newer else allowed)
    if not newer and (wanted is None or wanted.field != "messages.channel"):
        raise refusal(400, "A channel filter is required to list campaigns.", parameter=questions.FILTER)
    rows = _rows(database)
    if wanted and wanted.field == "messages.channel" and wanted.values != ("email",):
        rows = []
    return _cut(url, params, [_whole(row) if not newer else _bare(row) for row in rows])


def messages_page(database: AccountDatabase, url: str, params: Mapping[str, str]) -> dict[str, Any]:
    """A page of campaign messages.

    Raises:
        Refusal: the filter is wrong.
    """
    wanted = questions.condition(params, {"campaign_id": ("equals",), "status": ("any", "equals"), "id": ("any",)})
    rows = _rows(database)
    if wanted:
        column = {"campaign_id": "id", "status": "status", "id": "id"}[wanted.field]
        given = [value.removesuffix("-message") for value in wanted.values]
        rows = [row for row in rows if row[column] in given]
    return _cut(url, params, [_message(row) for row in rows])


def audience_document(database: AccountDatabase, name: str) -> dict[str, Any]:
    """The audience of a campaign's message.

    Raises:
        Refusal: there is none.
    """
    row = next((row for row in _rows(database) if f"{row['id']}-audience" == name), None)
    if row is None:
        raise refusal(404, f"A campaign audience with id {name} does not exist.")
    definition = {"name": row["name"], **_audiences(row), "priority": 1}
    attributes = {"created": _MADE, "updated": _MADE, "definition": definition}
    link = {"self": f"{_HOST}/campaign-audiences/{name}/"}
    return {"data": {"type": "campaign-audience", "id": name, "attributes": attributes, "links": link}}


def _rows(database: AccountDatabase) -> list[sqlite3.Row]:
    with database.reading() as connection:
        return connection.execute("SELECT * FROM campaigns ORDER BY id").fetchall()


def _cut(url: str, params: Mapping[str, str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    after = questions.place_of(params)
    place = after + PAGE if len(rows) > after + PAGE else None
    return {"data": rows[after : after + PAGE], "links": page_links(url, params, place)}


def _audiences(row: sqlite3.Row) -> dict[str, Any]:
    return {"included": json.loads(row["included"]), "excluded": json.loads(row["excluded"])}


def _whole(row: sqlite3.Row) -> dict[str, Any]:
    attributes = {
        "name": row["name"],
        "status": row["status"].capitalize(),
        "archived": False,
        "audiences": _audiences(row),
        "send_options": {"use_smart_sending": True},
        "tracking_options": None,
        "send_strategy": {"method": "static", "options_static": {"datetime": row["send_at"]}},
        "created_at": _MADE,
        "scheduled_at": _MADE if row["status"] != "draft" else None,
        "updated_at": _MADE,
        "send_time": row["send_at"],
    }
    return {"type": "campaign", "id": row["id"], "attributes": attributes, "links": _link("campaigns", row["id"])}


def _bare(row: sqlite3.Row) -> dict[str, Any]:
    definition = {"name": row["name"], "builder": "classic", "archived": False}
    attributes = {"created_at": _MADE, "updated_at": _MADE, "definition": definition}
    return {"type": "campaign", "id": row["id"], "attributes": attributes, "links": _link("campaigns", row["id"])}


def _message(row: sqlite3.Row) -> dict[str, Any]:
    name = f"{row['id']}-message"
    definition = {
        "name": row["name"],
        "status": row["status"],
        "send_options": {"send_time": row["send_at"], "send_strategy": "static"},
    }
    related = {"campaign": ("campaign", row["id"]), "campaign-audience": ("campaign-audience", f"{row['id']}-audience")}
    return {
        "type": "campaign-message",
        "id": name,
        "attributes": {"created": _MADE, "updated": _MADE, "definition": definition},
        "relationships": {key: {"data": {"type": kind, "id": other}} for key, (kind, other) in related.items()},
        "links": _link("campaign-messages", name),
    }


def _link(kind: str, name: str) -> dict[str, str]:
    return {"self": f"{_HOST}/{kind}/{name}/"}
