"""One HTTP client for all waits of an event loop: a thousand triggers share its TLS context and its connections.

It keeps no cookies, because the waits behind it may belong to different publishers.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


@dataclass
class _Shared:
    client: "httpx.AsyncClient"
    users: int = 0


_clients: dict[tuple[int, bool | str], _Shared] = {}


@asynccontextmanager
async def shared_client(verify: bool | str) -> AsyncIterator["httpx.AsyncClient"]:
    """The running loop's client for this kind of TLS verification; it is closed when its last user leaves."""
    key = (id(asyncio.get_running_loop()), verify)
    if key not in _clients:
        context = await asyncio.to_thread(_context, verify)  # reads many certificates; the loop must not stand still
        if key not in _clients:
            _clients[key] = _Shared(_new(context))
    shared = _clients[key]
    shared.users += 1
    try:
        yield shared.client
    finally:
        shared.users -= 1
        if not shared.users:
            del _clients[key]
            await shared.client.aclose()


def _new(context: ssl.SSLContext) -> "httpx.AsyncClient":
    import httpx

    return httpx.AsyncClient(
        verify=context,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": "luigisbox-newsletter-airflow"},
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60),
    )


def _context(verify: bool | str) -> ssl.SSLContext:
    import httpx

    if isinstance(verify, bool):
        return httpx.create_ssl_context(verify=verify)
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)
