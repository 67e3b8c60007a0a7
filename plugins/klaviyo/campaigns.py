"""Which campaigns are scheduled: the same answer from both shapes of Klaviyo's API.

What to ask is told as a generator of requests that takes the documents back: how they are fetched is for the look.

Up to revision 2026-07-15 a campaign has all of it. From 2026-10-15 status and send time are with its message, and the
lists with the message's audience: one more request for each, so it is asked only of those whose time it is.
"""

import logging
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from klaviyo.documents import CURSOR, Campaign, attributes_of, moment_of, page_of, part, resource_of
from vendor_http.errors import Unauthorized, Unreadable, VendorError

log = logging.getLogger(__name__)

MESSAGES_SINCE = "2026-10-15"
SCHEDULED = "scheduled"

Asking = Generator[tuple[str, dict[str, str]], dict[str, Any], list[Campaign]]
"""Yields path and parameters of each request, is sent its document or thrown its ``VendorError``, and returns the
campaigns."""


Wanted = Callable[[datetime | None], bool]
"""Whether a campaign that is sent then is asked for."""


def scheduled(revision: str, until: datetime | None = None) -> Asking:
    """The e-mail campaigns that are scheduled to be sent from now on, in the shape of a revision.

    A campaign whose audience cannot be read is left out with a warning: the others must not wait for it.

    Args:
        revision: of the API.
        until: none that is sent later; None: all.

    Raises:
        VendorError: a listing cannot be read, or the key is refused.
    """
    now = datetime.now(UTC)

    def wanted(send_at: datetime | None) -> bool:
        return send_at is not None and now < send_at and (until is None or send_at <= until)

    return _by_messages(wanted) if revision >= MESSAGES_SINCE else _by_campaigns(wanted)


def _by_campaigns(wanted: Wanted) -> Asking:
    rows = yield from _all("/api/campaigns", {"filter": "equals(messages.channel,'email')"})
    return [
        _campaign(row["id"], attributes, send_at, part(attributes, "audiences"))
        for row in rows
        if _is_scheduled(attributes := attributes_of(row)) and wanted(send_at := moment_of(attributes.get("send_time")))
    ]


def _by_messages(wanted: Wanted) -> Asking:
    found = []
    rows = yield from _all("/api/campaign-messages", {"filter": f'equals(status,"{SCHEDULED}")'})
    for row in rows:
        definition = part(row, "attributes", "definition")
        send_at = moment_of(part(definition, "send_options").get("send_time"))
        if not _is_scheduled(definition) or not wanted(send_at):
            continue
        campaign = str(part(row, "relationships", "campaign", "data").get("id") or row["id"])
        try:
            audience = yield from _audience(row)
        except Unauthorized:
            raise
        except VendorError as error:
            log.warning("campaign %s is left out of this look: whom it goes to cannot be read: %s", campaign, error)
            continue
        found.append(_campaign(campaign, definition, send_at, audience))
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
    seen: set[str] = set()
    while True:
        document = yield path, {**params, CURSOR: cursor} if cursor else params
        page = page_of(document, f"GET {path}", cursor)
        rows += page.rows
        cursor = page.cursor
        if cursor is None:
            return rows
        if cursor in seen:
            raise Unreadable(f"GET {path}: the pages lead in a circle: a cursor came again after {len(seen)} pages.")
        seen.add(cursor)


def _campaign(name: str, attributes: dict[str, Any], send_at: datetime | None, audience: dict[str, Any]) -> Campaign:
    return Campaign(
        id=name,
        name=str(attributes.get("name") or ""),
        status=SCHEDULED,
        send_at=send_at,
        included=_ids(audience.get("included")),
        excluded=_ids(audience.get("excluded")),
    )


def _is_scheduled(attributes: dict[str, Any]) -> bool:
    """The older shape writes ``Scheduled``, the newer one ``scheduled``."""
    return str(attributes.get("status")).lower() == SCHEDULED


def _ids(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
