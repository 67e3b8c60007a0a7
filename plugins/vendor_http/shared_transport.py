"""One HTTP transport for all waits of an event loop: a thousand triggers share its TLS context and its connections.

It is the layer below a client on purpose: no cookies, because the waits behind it may belong to different publishers;
no redirects, which are checked first; and half the work a look, which counts when there are many. The environment's
proxies (``HTTPS_PROXY``, ``NO_PROXY`` ...) hold here as they do for the other requests.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from include.errors import ConfigError

if TYPE_CHECKING:
    import httpx


@dataclass
class _Shared:
    opening: "asyncio.Task[httpx.AsyncHTTPTransport]"
    users: int = 0


_transports: dict[tuple[int, bool | str, str | None], _Shared] = {}


@asynccontextmanager
async def shared_transport(url: str, verify: bool | str) -> AsyncIterator["httpx.AsyncHTTPTransport"]:
    """The running loop's transport for this kind of TLS verification and the URL's proxy; the last user closes it.

    Raises:
        ConfigError: the CA file, or the proxy, cannot be used.
    """
    proxy = proxy_for(url)
    key = (id(asyncio.get_running_loop()), verify, proxy)
    shared = _transports.get(key)
    if shared is None:
        shared = _transports[key] = _Shared(asyncio.create_task(_open(verify, proxy)))
    shared.users += 1
    try:
        yield await asyncio.shield(shared.opening)
    finally:
        shared.users -= 1
        if not shared.users:
            del _transports[key]
            await _close(shared.opening)


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL, if any."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


async def _open(verify: bool | str, proxy: str | None) -> "httpx.AsyncHTTPTransport":
    """Open a transport; reading many certificates takes long, and the loop must not stand still."""
    import httpx

    context = await asyncio.to_thread(_context, verify)
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=4, keepalive_expiry=60)
    try:
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy, limits=limits)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise ConfigError("the environment has a proxy that cannot be used: check HTTPS_PROXY, HTTP_PROXY") from error


async def _close(opening: "asyncio.Task[httpx.AsyncHTTPTransport]") -> None:
    opening.cancel()
    (opened,) = await asyncio.gather(opening, return_exceptions=True)
    if not isinstance(opened, BaseException):
        await opened.aclose()


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
