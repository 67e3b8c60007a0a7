"""What an Airflow connection says to these clients: known keys only, each checked, mistakes named with their key.

The connection of a tracker (type ``luigisbox``): host or URL, tracker id as login, private key as password. The
connection of a result link (type ``luigisbox_batch``, or ``http``): login and password for basic authentication,
a password alone for a bearer token, ``headers`` in the extra fields for anything else.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from include.errors import ConfigError
from luigisbox.client import Settings
from vendor_http.session import Timeouts

DEFAULT_HOST = "https://live.luigisbox.com"
UPLOAD_SECONDS = 600.0
_FORBIDDEN_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "range", "if-none-match"}


class ConnectionLike(Protocol):
    """The part of an Airflow connection that is read here."""

    conn_id: str
    host: str | None
    schema: str | None
    login: str | None
    password: str | None
    port: int | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extra fields."""


@dataclass(frozen=True)
class LinkAccess:
    """How a result link is reached and opened. Never logged, never put into a trigger's arguments.

    ``base_url``, ``headers``, ``timeouts`` and ``verify`` are for HTTP; ``store_connection`` is the Airflow
    connection of an object store.
    """

    base_url: str | None = None
    store_connection: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify: bool | str = True


def tracker_settings(connection: ConnectionLike) -> Settings:
    """The settings of a tracker's connection.

    Raises:
        ConfigError: something is missing or unusable; the sentence names connection and field.
    """
    extra = connection.extra_dejson
    tracker = (connection.login or "").strip()
    if not re.fullmatch(r"\d+-\d+", tracker):
        raise _mistake(connection, "tracker id (login)", f"came {tracker!r}, must look like 1234-5678")
    if not connection.password:
        raise _mistake(connection, "private key (password)", "is missing")
    return Settings(
        base_url=base_url(connection, DEFAULT_HOST) or DEFAULT_HOST,
        tracker=tracker,
        private_key=connection.password,
        public_key=str(extra.get("public_key") or "").strip(),
        upload_seconds=_seconds(connection, extra, "upload_seconds", UPLOAD_SECONDS),
        timeouts=_timeouts(connection, extra),
        verify=_verify(connection, extra),
    )


def is_http(link: str) -> bool:
    """Whether a link is fetched over HTTP; one that starts with ``/`` is on the host of its connection."""
    return link.startswith(("http://", "https://", "/"))


def link_access(connection: ConnectionLike) -> LinkAccess:
    """How to reach a result link, from its connection.

    Raises:
        ConfigError: something is unusable; the sentence names connection and field.
    """
    extra = connection.extra_dejson
    headers = _headers(connection, extra.get("headers"))
    if connection.login:
        pair = f"{connection.login}:{connection.password or ''}".encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
    elif connection.password:
        headers["Authorization"] = f"Bearer {connection.password}"
    return LinkAccess(
        base_url=base_url(connection, None),
        headers=headers,
        timeouts=_timeouts(connection, extra),
        verify=_verify(connection, extra),
    )


def base_url(connection: ConnectionLike, default: str | None) -> str | None:
    """Scheme, host and port of a connection; the host may itself be a URL.

    Raises:
        ConfigError: it is not http or https, or has a path, query or credentials.
    """
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return default
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        shown = host.rpartition("@")[2]
        raise _mistake(
            connection, "host", f"came {shown!r} (schema {connection.schema!r}), must be like {DEFAULT_HOST}"
        )
    if connection.port and not parts.port:
        url = f"{url}:{connection.port}"
    return url


def _timeouts(connection: ConnectionLike, extra: Mapping[str, Any]) -> Timeouts:
    usual = Timeouts()
    return Timeouts(
        connect=_seconds(connection, extra, "connect_seconds", usual.connect),
        read=_seconds(connection, extra, "read_seconds", usual.read),
    )


def _seconds(connection: ConnectionLike, extra: Mapping[str, Any], key: str, default: float) -> float:
    value = extra.get(key)
    if value is None or value == "":
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise _mistake(connection, key, f"came {value!r}, must be a number of seconds above 0")
    return seconds


def _verify(connection: ConnectionLike, extra: Mapping[str, Any]) -> bool | str:
    value = extra.get("verify")
    text = str(value).strip() if value is not None else ""
    if text.lower() in ("", "true"):
        return True
    if text.lower() == "false":
        return False
    if "/" in text and Path(text).exists():
        return text
    raise _mistake(connection, "verify", f"came {value!r}, must be true, false or the path of a CA file that exists")


def _headers(connection: ConnectionLike, value: Any) -> dict[str, str]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise _mistake(connection, "headers", 'must be a JSON object such as {"X-Key": "…"}')
    for name, content in value.items():
        usable = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", str(name)) and isinstance(content, str)
        if not usable or re.search(r"[\r\n\x00]", content) or name.lower() in _FORBIDDEN_HEADERS:
            raise _mistake(
                connection, "headers", f"header {name!r} cannot be set here, or its value is not a line of text"
            )
    return dict(value)


def _mistake(connection: ConnectionLike, key: str, what: str) -> ConfigError:
    return ConfigError(f"connection {connection.conn_id}: {key}: {what}")
