"""The looks of triggers: one request each, without waiting, over the transport that all triggers share.

Nothing is tried again here: a trigger looks rarely, and looks again by itself. Only the requests of one look at the
campaigns, which may be many, have a pause between them.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from klaviyo.campaigns import scheduled
from klaviyo.client import JOBS, refused
from klaviyo.connections import Settings
from klaviyo.documents import Campaign, Job, decode, job_of
from vendor_http.errors import Unreachable, VendorError, clean, error_for_status
from vendor_http.session import USER_AGENT
from vendor_http.shared_transport import shared_transport

PAUSE_SECONDS = 0.5
"""After each request for campaigns, of which Klaviyo allows 150 a minute."""


async def get(settings: Settings, path: str, params: Mapping[str, str]) -> dict[str, Any]:
    """The document at a path.

    Raises:
        ConfigError: the proxy or the CA file cannot be used.
        VendorError: what Klaviyo answered, as the client would say it.
    """
    import httpx

    try:
        async with shared_transport(settings.base_url, settings.verify) as transport:
            request = _request(settings, path, params)
            async with aclosing(await transport.handle_async_request(request)) as response:
                body = await response.aread()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(clean(f"GET {settings.base_url}{path}: {type(error).__name__}: {error}.")) from error
    if response.status_code != 200:
        raise refused(settings, error_for_status(response.status_code, "GET", path, body, response.headers))
    return decode(body, f"GET {path}")


async def campaigns(settings: Settings, until: datetime | None = None) -> list[Campaign]:
    """The e-mail campaigns that are scheduled to be sent from now until then; see ``klaviyo.campaigns.scheduled``.

    Raises:
        ConfigError, VendorError: as of ``get``.
    """
    asking = scheduled(settings.revision, until)
    go_on = partial(next, asking)
    try:
        while True:
            path, params = go_on()
            try:
                go_on = partial(asking.send, await get(settings, path, params))
            except VendorError as error:
                go_on = partial(asking.throw, error)
            await asyncio.sleep(PAUSE_SECONDS)
    except StopIteration as end:
        return list(end.value)


async def import_job(settings: Settings, job: str) -> Job:
    """How far an import job is.

    Raises:
        ConfigError, VendorError: as of ``get``.
    """
    path = f"{JOBS}/{quote(job, safe='')}"
    return job_of(await get(settings, path, {}), f"GET {path}")


def _request(settings: Settings, path: str, params: Mapping[str, str]) -> Any:
    import httpx

    limits = httpx.Timeout(settings.timeouts.read, connect=settings.timeouts.connect)
    headers = {**settings.headers, "User-Agent": USER_AGENT}
    url = httpx.URL(settings.base_url + path, params=dict(params))
    return httpx.Request("GET", url, headers=headers, extensions={"timeout": limits.as_dict()})
