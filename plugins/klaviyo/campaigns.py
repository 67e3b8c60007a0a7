"""Which campaigns are scheduled: the same answer from both shapes of Klaviyo's API.

What to ask is told as a generator of requests that takes the documents back, so that the client, which waits, and the
looks of triggers, which must not, share it.

Up to revision 2026-07-15 a campaign has all of it. From 2026-10-15 status and send time are with its message, and the
lists with the message's audience.
"""

from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from klaviyo.documents import CURSOR, Campaign, attributes_of, moment_of, page_of, part, resource_of

MESSAGES_SINCE = "2026-10-15"
SCHEDULED = "scheduled"

Asking = Generator[tuple[str, dict[str, str]], dict[str, Any], list[Campaign]]
"""Yields path and parameters of each request, is sent its document, and returns the campaigns."""


def scheduled(revision: str) -> Asking:
    """The e-mail campaigns that are scheduled and not yet sent, in the shape of a revision.

    Raises:
        Unreadable: an answer is not what it should be.
    """
    return _by_messages() if revision >= MESSAGES_SINCE else _by_campaigns()


def _by_campaigns() -> Asking:
    rows = yield from _all("/api/campaigns", {"filter": "equals(messages.channel,'email')"})
    return [
        _campaign(row["id"], attributes, attributes.get("send_time"), part(attributes, "audiences"))
        for row in rows
        if (attributes := attributes_of(row)) and _is_scheduled(attributes)
    ]


def _by_messages() -> Asking:
    found = []
    rows = yield from _all("/api/campaign-messages", {"filter": f'equals(status,"{SCHEDULED}")'})
    for row in rows:
        definition = part(row, "attributes", "definition")
        if not _is_scheduled(definition):
            continue
        audience = yield from _audience(row)
        campaign = part(row, "relationships", "campaign", "data").get("id") or row["id"]
        send_at = part(definition, "send_options").get("send_time")
        found.append(_campaign(str(campaign), definition, send_at, audience))
    return found


def _audience(message: dict[str, Any]) -> Generator[tuple[str, dict[str, str]], dict[str, Any], dict[str, Any]]:
    audience = part(message, "relationships", "campaign-audience", "data").get("id")
    if not isinstance(audience, str):
        return {}
    path = f"/api/campaign-audiences/{quote(audience, safe='')}"
    document = yield path, {}
    return part(resource_of(document, f"GET {path}"), "attributes", "definition")


def _all(
    path: str, params: dict[str, str]
) -> Generator[tuple[str, dict[str, str]], dict[str, Any], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        document = yield path, {**params, CURSOR: cursor} if cursor else params
        page = page_of(document, f"GET {path}", cursor)
        rows += page.rows
        cursor = page.cursor
        if cursor is None:
            return rows


def _campaign(name: str, attributes: dict[str, Any], send_at: Any, audience: dict[str, Any]) -> Campaign:
    return Campaign(
        id=name,
        name=str(attributes.get("name") or ""),
        status=SCHEDULED,
        send_at=moment_of(send_at),
        included=_ids(audience.get("included")),
        excluded=_ids(audience.get("excluded")),
    )


def _is_scheduled(attributes: dict[str, Any]) -> bool:
    """The older shape writes ``Scheduled``, the newer one ``scheduled``."""
    return str(attributes.get("status")).lower() == SCHEDULED


def _ids(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
