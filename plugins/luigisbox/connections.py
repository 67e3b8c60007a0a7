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
from typing import Any

from luigisbox.client import Settings
from vendor_http.connections import ConnectionLike, base_url, mistake, seconds_of, text_of, timeouts_of, verify_of
from vendor_http.session import Timeouts

DEFAULT_HOST = "https://live.luigisbox.com"
UPLOAD_SECONDS = 600.0
_FORBIDDEN_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "range", "if-none-match"}


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
    tracker = (connection.login or "").strip()
    if not re.fullmatch(r"\d+-\d+", tracker):
        raise mistake(connection, "tracker id (login)", f"came {tracker!r}, must look like 1234-5678")
    if not connection.password:
        raise mistake(connection, "private key (password)", "is missing")
    return Settings(
        base_url=base_url(connection, DEFAULT_HOST) or DEFAULT_HOST,
        tracker=tracker,
        private_key=connection.password,
        public_key=text_of(connection, "public_key"),
        upload_seconds=seconds_of(connection, "upload_seconds", UPLOAD_SECONDS),
        timeouts=timeouts_of(connection),
        verify=verify_of(connection),
    )


def is_http(link: str) -> bool:
    """Whether a link is fetched over HTTP; one that starts with ``/`` is on the host of its connection."""
    return link.startswith(("http://", "https://", "/"))


def link_access(connection: ConnectionLike) -> LinkAccess:
    """How to reach a result link, from its connection.

    Raises:
        ConfigError: something is unusable; the sentence names connection and field.
    """
    headers = _headers(connection, connection.extra_dejson.get("headers"))
    if connection.login:
        pair = f"{connection.login}:{connection.password or ''}".encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
    elif connection.password:
        headers["Authorization"] = f"Bearer {connection.password}"
    return LinkAccess(
        base_url=base_url(connection, None),
        headers=headers,
        timeouts=timeouts_of(connection),
        verify=verify_of(connection),
    )


def _headers(connection: ConnectionLike, value: Any) -> dict[str, str]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise mistake(connection, "headers", 'must be a JSON object such as {"X-Key": "…"}')
    for name, content in value.items():
        usable = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", str(name)) and isinstance(content, str)
        if not usable or re.search(r"[\r\n\x00]", content) or name.lower() in _FORBIDDEN_HEADERS:
            raise mistake(
                connection, "headers", f"header {name!r} cannot be set here, or its value is not a line of text"
            )
    return dict(value)
