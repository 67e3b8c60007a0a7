"""What an Airflow connection of type ``advisable`` says: app id and secret, and what its documentation leaves open."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from include.publishers.senders import InteractionType
from vendor_http.connections import ConnectionLike, base_url, mistake, text_of, timeouts_of, verify_of
from vendor_http.session import Timeouts

TYPES: tuple[InteractionType, ...] = get_args(InteractionType)
PATHS: Mapping[InteractionType, str] = {
    "purchase": "purchases",
    "view": "views",
    "cart_addition": "cart-additions",
    "bookmark": "bookmarks",
    "rating": "ratings",
}
"""Only ``purchases`` is documented; the others follow from it, and the connection may say otherwise."""
BATCH_SIZE = 1_000
_METHODS = ("POST", "PUT", "PATCH")


@dataclass(frozen=True)
class Settings:
    """Where Advisable is reached, with which credentials, and how its API is spelled.

    ``base_url`` may have a path. ``connection`` is what sentences call the place where people mend these settings.
    """

    base_url: str
    app_id: str
    app_secret: str = field(repr=False)
    app_id_header: str = "app-id"
    app_secret_header: str = "app-secret"  # noqa: S105 - the header's name
    batch_size: int = BATCH_SIZE
    paths: Mapping[InteractionType, str] = field(default_factory=lambda: dict(PATHS))
    transfer_method: str = "POST"
    connection: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify: bool | str = True

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries; with the secret in it."""
        return {
            self.app_id_header: self.app_id,
            self.app_secret_header: self.app_secret,
            "Accept": "application/json",
        }


def advisable_settings(connection: ConnectionLike) -> Settings:
    """The settings of a connection.

    Raises:
        ConfigError: something is missing or unusable; the sentence names connection and field.
    """
    url = base_url(connection, None, with_path=True)
    if url is None:
        raise mistake(connection, "host", "is missing; give the base URL of the API, without /v1")
    return Settings(
        base_url=url.rstrip("/"),
        app_id=_credential(connection, "app id (login)", connection.login),
        app_secret=_credential(connection, "app secret (password)", connection.password),
        app_id_header=_header(connection, "app_id_header", "app-id"),
        app_secret_header=_header(connection, "app_secret_header", "app-secret"),
        batch_size=_batch_size(connection),
        paths=_paths(connection),
        transfer_method=_method(connection),
        connection=connection.conn_id,
        timeouts=timeouts_of(connection),
        verify=verify_of(connection),
    )


def _credential(connection: ConnectionLike, name: str, value: str | None) -> str:
    text = (value or "").strip()
    if not text:
        raise mistake(connection, name, "is missing")
    if not re.fullmatch(r"[!-~]+", text):
        raise mistake(connection, name, "has characters that cannot stand in a header")
    return text


def _header(connection: ConnectionLike, key: str, default: str) -> str:
    name = text_of(connection, key, default)
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise mistake(connection, key, f"came {name!r}, must be the name of a header such as {default}")
    return name


def _batch_size(connection: ConnectionLike) -> int:
    value = connection.extra_dejson.get("batch_size")
    text = str(BATCH_SIZE if value in (None, "") else value).strip()
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise mistake(connection, "batch_size", f"came {text!r}, must be a number of purchases from 1 to 999999")
    return int(text)


def _method(connection: ConnectionLike) -> str:
    method = text_of(connection, "transfer_method", "POST").upper()
    if method not in _METHODS:
        raise mistake(connection, "transfer_method", f"came {method!r}, must be one of {', '.join(_METHODS)}")
    return method


def _paths(connection: ConnectionLike) -> dict[InteractionType, str]:
    """The path names: the usual ones, and what the connection says instead."""
    given: Any = connection.extra_dejson.get("paths") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise mistake(connection, "paths", 'must be a JSON object of text such as {"cart_addition": "cart-additions"}')
    unknown = sorted(given.keys() - set(TYPES))
    if unknown:
        raise mistake(connection, "paths", f"no such type: {', '.join(unknown)}; known are {', '.join(TYPES)}")
    for kind, name in given.items():
        if not re.fullmatch(r"[A-Za-z0-9_~.-]*[A-Za-z0-9_~-]", name):
            raise mistake(
                connection, "paths", f"{kind}: came {name!r}, must be one piece of a path such as {PATHS[kind]}"
            )
    return {**PATHS, **cast("dict[InteractionType, str]", given)}
