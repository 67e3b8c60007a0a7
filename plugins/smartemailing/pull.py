"""One contact list, all contacts, or the values of one custom field of a SmartEmailing account become staged pages.

The client reads in the order of numbers and looks back where the list moved; here its place becomes the cursor.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from include.audience.pages import CursorRefused, Record, Stream, stage
from include.audience.profiles import Page, Row
from include.audience.sources import Source
from include.publishers.audiences import SmartEmailingAudience
from smartemailing.client import Client
from smartemailing.client import Page as Contacts

_FIELDS = ("id", "guid", "emailaddress", "blacklisted", "contactlists")
_CONFIRMED = "confirmed"
_GONE = ("unsubscribed", "removed")


def pull(client: Client, audience: SmartEmailingAudience, item: Source, run: Path) -> Record:
    """Stage the pages of one source into ``run``; an earlier try that died is gone on with.

    Raises:
        VendorError: what SmartEmailing answered at last; the pages that came are staged.
    """

    def read(cursor: str | None) -> Iterator[Page]:
        offset, after = _place(cursor)
        for page in _ask(client, item, offset, after):
            rows = [_row(row, audience, item) for row in page.rows]
            yield Page(rows, None if page.last else f"{page.offset}:{page.after}")

    about = {
        "connection": audience.connection,
        "host": client.settings.base_url,
        "user": client.settings.user,
        "id": audience.id,
        "confirmed_only": audience.confirmed_only,
    }
    stream = Stream(item, about, read, lambda: next(_ask(client, item, 0, 0, only_count=True)).total_count)
    return stage(run, stream, audience.tolerance_percent)


def _ask(client: Client, item: Source, offset: int, after: int, only_count: bool = False) -> Iterator[Contacts]:
    kind, _, number = item["source"].partition(":")
    if kind == "customfield":
        return client.customfield_values(int(number), offset=offset, after=after)
    select = ("id",) if only_count or item["role"] == "leave_out" else _FIELDS
    return client.contacts(int(number) if number else None, offset=offset, after=after, select=select)


def _place(cursor: str | None) -> tuple[int, int]:
    """Offset of the next page, and the highest number that was read."""
    try:
        offset, _, after = (cursor or "0:0").partition(":")
        return int(offset), int(after)
    except ValueError:
        raise CursorRefused("The place where the earlier try stopped cannot be read; reading anew.") from None


def _row(row: dict[str, Any], audience: SmartEmailingAudience, item: Source) -> Row:
    if item["role"] == "ids":
        return Row(row.get("contact_id"), row.get("value"))
    if item["role"] == "leave_out":
        return Row(row.get("id"), None)
    own = {"email": row.get("emailaddress"), "guid": row.get("guid")}
    return Row(row.get("id"), own.get(audience.id), row.get("emailaddress"), _refusal(row, audience, item["source"]))


def _refusal(row: dict[str, Any], audience: SmartEmailingAudience, source: str) -> str | None:
    """Why the person must not be taken; where SmartEmailing does not say that it may be, it is not."""
    if row.get("blacklisted") not in (False, 0, "0"):
        return "blacklisted"
    found = _statuses(row.get("contactlists"), source.partition(":")[2])
    if _CONFIRMED in found:
        return None
    if audience.confirmed_only or (found and all(status in _GONE for status in found)):
        return "unsubscribed"
    return None


def _statuses(lists: Any, wanted: str) -> list[str]:
    """The contact's statuses in the wanted list; without one in all its lists."""
    found = [each for each in lists if isinstance(each, dict)] if isinstance(lists, list) else []
    return [str(each.get("status")) for each in found if not wanted or str(each.get("contactlist_id")) == wanted]
