"""Looking from a trigger: one request without holding up the event loop. It is tried once; the trigger looks again."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from smartemailing.answers import API, LIMIT, Newsletter, content_of, newsletter_of, rows_of
from smartemailing.connections import Settings
from vendor_http.errors import Unreachable
from vendor_http.session import USER_AGENT
from vendor_http.shared_transport import shared_transport

NEWEST = 2 * LIMIT
_NEWSLETTERS = "/newsletter-stats-summary"


async def get(settings: Settings, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of an answer to ``GET {path}`` (below ``/api/v3``).

    Raises:
        VendorError: it is no success, or there was no answer.
    """
    import httpx

    limits = httpx.Timeout(settings.timeouts.read, connect=settings.timeouts.connect)
    request = httpx.Request(
        "GET",
        settings.base_url + API + path,
        params=dict(params or {}),
        headers={**settings.headers, "User-Agent": USER_AGENT},
        extensions={"timeout": limits.as_dict()},
    )
    try:
        async with shared_transport(settings.base_url, settings.verify) as transport:
            answer = await transport.handle_async_request(request)
            try:
                body = await answer.aread()
            finally:
                await answer.aclose()
    except httpx.HTTPError as error:
        raise Unreachable(f"GET {settings.base_url}{API}{path}: {type(error).__name__}: {error}.") from error
    return content_of("GET", API + path, answer.status_code, body, answer.headers)


async def newsletters(settings: Settings) -> list[Newsletter]:
    """The account's newest newsletters, as ``newsletter-stats-summary`` lists them.

    At most :data:`NEWEST`: a newsletter that is to be sent is a new one, and a look must not read all that were ever
    sent. That this listing keeps the order is not documented; if it does not, everything is read.

    Raises:
        VendorError: see :func:`get`.
    """
    found: list[Newsletter] = []
    while True:
        params = {"sort": "-id", "limit": str(LIMIT), "offset": str(len(found))}
        rows, total = rows_of(_NEWSLETTERS, await get(settings, _NEWSLETTERS, params))
        found += [newsletter_of(row, settings.time_zone) for row in rows]
        enough = len(found) >= NEWEST and _are_newest_first(found)
        if not rows or len(found) >= total or enough:
            return found
        await asyncio.sleep(settings.pause_seconds)


def _are_newest_first(found: list[Newsletter]) -> bool:
    numbers = [int(each.id) for each in found if each.id.isdecimal()]
    return len(numbers) == len(found) and all(one > other for one, other in pairwise(numbers))
