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

from include.errors import ConfigError

if TYPE_CHECKING:
    import httpx


@dataclass
class _Shared:
    opening: "asyncio.Task[httpx.AsyncClient]"
    users: int = 0


_clients: dict[tuple[int, bool | str], _Shared] = {}


@asynccontextmanager
async def shared_client(verify: bool | str) -> AsyncIterator["httpx.AsyncClient"]:
    """The running loop's client for this kind of TLS verification; it is closed when its last user leaves.

    Raises:
        ConfigError: the CA file cannot be used.
    """
    key = (id(asyncio.get_running_loop()), verify)
    shared = _clients.get(key)
    if shared is None:
        shared = _clients[key] = _Shared(asyncio.create_task(_open(verify)))
    shared.users += 1
    try:
        yield await asyncio.shield(shared.opening)
    finally:
        shared.users -= 1
        if not shared.users:
            del _clients[key]
            await _close(shared.opening)


async def _open(verify: bool | str) -> "httpx.AsyncClient":
    """Open a client; reading many certificates takes long, and the loop must not stand still."""
    return _new(await asyncio.to_thread(_context, verify))


async def _close(opening: "asyncio.Task[httpx.AsyncClient]") -> None:
    opening.cancel()
    (opened,) = await asyncio.gather(opening, return_exceptions=True)
    if not isinstance(opened, BaseException):
        await opened.aclose()


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
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise ConfigError(f"verify: {verify}: cannot be used as CA certificates ({error})") from error
