"""The session of the synchronous clients: time limits on every request, redirects only within one host, no ``.netrc``.

A body may ask to be attached to the socket it is sent over, so that it can set time limits piece by piece:
``requests`` itself would let every piece share the time limit meant for connecting.
"""

import socket
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vendor_http.errors import Redirected, Unreachable

MAX_REDIRECTS = 5
USER_AGENT = "luigisbox-newsletter-airflow"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, and for the next bytes of an answer."""

    connect: float = 5.0
    read: float = 120.0


@runtime_checkable
class AttachableBody(Protocol):
    """A request body that wants to know the socket it goes out on."""

    def attach(self, connection: socket.socket) -> None:
        """Called before the first byte of each request."""


class _Attaching(HTTPConnection):
    """Introduces the body to its socket."""

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        if isinstance(body, AttachableBody):
            if self.sock is None:
                self.connect()
            body.attach(self.sock)
        super().request(method, url, body=body, headers=headers, **options)


class _AttachingTls(_Attaching, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Attaching


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _AttachingTls


_POOLS: dict[str, Any] = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        if type(manager) is ProxyManager:  # one for SOCKS has connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager


class VendorSession(requests.Session):
    """A ``requests`` session with the house's rules; use it in a ``with`` block."""

    def __init__(self, timeouts: Timeouts, verify: bool | str = True) -> None:
        super().__init__()
        self.timeouts = timeouts
        self.verify = verify
        self.max_redirects = MAX_REDIRECTS
        self.mount("https://", _Adapter())
        self.mount("http://", _Adapter())
        self.headers["User-Agent"] = USER_AGENT

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        """Send one request; a body goes nowhere but to ``url``.

        Raises:
            Redirected: the answer points to another host.
            Unreachable: no connection, or it was lost.
        """
        options.setdefault("timeout", (self.timeouts.connect, self.timeouts.read))
        options.setdefault("verify", self.verify)
        options["auth"] = options.get("auth") or _unchanged
        if str(method).upper() not in ("GET", "HEAD"):
            options["allow_redirects"] = False
        try:
            return super().request(method, url, *arguments, **options)
        except requests.TooManyRedirects as error:
            raise Redirected(f"{method!s} {_place(str(url))}: more than {MAX_REDIRECTS} redirects") from error
        except requests.RequestException as error:
            raise Unreachable(f"{method!s} {_place(str(url))}: {_cause(error)}.") from error

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer points to, if that is the same host.

        Raises:
            Redirected: it is another one.
        """
        target = super().get_redirect_target(resp)
        if target is not None and (resp.request.method or "") in ("GET", "HEAD"):
            check_redirect(resp.url, target)
        return target


def check_redirect(url: str, target: str) -> str:
    """The absolute target of a redirect, if it stays on the host (http may become https, never the reverse).

    Raises:
        Redirected: another host, port or a downgrade; credentials and signed bodies stay with the host they are for.
    """
    absolute = urljoin(url, target)
    here, there = origin(url), origin(absolute)
    upgraded = here[0] == "http" and there == ("https", here[1], 443) and here[2] == 80
    if here != there and not upgraded:
        raise Redirected(
            f"{_place(url)} redirects to {there[0]}://{there[1]}:{there[2]}, which is another host; not followed. "
            "If that host is right, put it into the connection or the publisher file."
        )
    return absolute


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _place(url: str) -> str:
    """A URL without credentials and query, for a sentence."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _cause(error: BaseException) -> str:
    """The innermost reason of a nest of library errors."""
    inner: Any = error
    for _ in range(10):
        nested = (getattr(inner, "reason", None), *reversed(getattr(inner, "args", ())), inner.__cause__)
        deeper = next((each for each in nested if isinstance(each, BaseException)), None)
        if deeper is None:
            break
        inner = deeper
    return f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication, not even from ``.netrc``."""
    return request
