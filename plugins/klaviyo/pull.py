"""One list, segment, or all profiles of a Klaviyo account become staged pages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from include.audience.pages import CursorRefused, Record, Stream, stage
from include.audience.profiles import Page, Row
from include.audience.sources import Source
from include.publishers.audiences import KlaviyoAudience
from include.rules import RESERVED_ID
from klaviyo.client import Client
from klaviyo.client import Page as Answer
from klaviyo.documents import attributes_of, part
from vendor_http.errors import Invalid


def pull(client: Client, audience: KlaviyoAudience, item: Source, run: Path) -> Record:
    """Stage the pages of one source into ``run``; an earlier try that died is gone on with.

    Raises:
        VendorError: what Klaviyo answered at last; the pages that came are staged.
    """
    fields, consent = _asked(audience, item)

    def read(cursor: str | None) -> Iterator[Page]:
        pages = client.profiles(item["source"], fields=fields, consent=consent, cursor=cursor)
        for page in resuming(pages, cursor):
            yield _page(page.rows, page.cursor, audience, item)

    about = {
        "connection": audience.connection,
        "host": client.settings.base_url,
        "id": audience.id,
        "recipient": audience.recipient,
        "exclude_suppressed": audience.exclude_suppressed,
        "require_consent": audience.require_consent,
    }
    stream = Stream(item, about, read, lambda: client.profile_count(item["source"]))
    return stage(run, stream, audience.tolerance_percent)


def resuming(pages: Iterator[Answer], cursor: str | None) -> Iterator[Answer]:
    """Pages as they come.

    Raises:
        CursorRefused: Klaviyo refuses the request for the first one, and it was asked for by a staged cursor.
    """
    try:
        yield next(pages)
    except Invalid as error:
        if cursor is None:
            raise
        raise CursorRefused(f"{error} The cursor of the earlier try is of no use; reading anew.") from error
    yield from pages


def _asked(audience: KlaviyoAudience, item: Source) -> tuple[list[str], bool]:
    """Which attributes, and whether consent: nothing that is not needed leaves Klaviyo."""
    if item["role"] == "leave_out":
        return ["external_id"], False
    fields = {"external_id", audience.id.partition(".")[0], *(["email"] if audience.recipient == "email" else [])}
    return sorted(fields), audience.exclude_suppressed or audience.require_consent


def _page(rows: list[dict[str, Any]], cursor: str | None, audience: KlaviyoAudience, item: Source) -> Page:
    if item["role"] == "leave_out":
        return Page([Row(row.get("id"), None) for row in rows], cursor)
    return Page([_row(row, audience) for row in rows], cursor)


def _row(row: dict[str, Any], audience: KlaviyoAudience) -> Row:
    attributes = attributes_of(row)
    customer: Any = attributes
    for name in audience.id.split("."):
        customer = customer.get(name) if isinstance(customer, dict) else None
    return Row(row.get("id"), customer, attributes.get("email"), _refusal(attributes, audience))


def _refusal(attributes: dict[str, Any], audience: KlaviyoAudience) -> str | None:
    """Why the profile must not be taken; where Klaviyo does not say what was asked, nobody is taken."""
    if attributes.get("external_id") == RESERVED_ID:  # it holds the default set, whatever id it has elsewhere
        return "reserved"
    if not (audience.exclude_suppressed or audience.require_consent):
        return None
    if not isinstance(attributes.get("subscriptions"), dict):
        return "no_consent"
    marketing = part(attributes, "subscriptions", "email", "marketing")
    if audience.exclude_suppressed and (
        marketing.get("suppression") or marketing.get("can_receive_email_marketing") is False
    ):
        return "suppressed"
    if audience.require_consent and marketing.get("consent") != "SUBSCRIBED":
        return "no_consent"
    return None
