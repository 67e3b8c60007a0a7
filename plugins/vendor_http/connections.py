"""What every vendor's Airflow connection says: host, time limits, TLS. Mistakes are named with their field."""

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from include.errors import ConfigError
from vendor_http.session import Timeouts

MAX_SECONDS = 86_400


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


def base_url(connection: ConnectionLike, default: str | None, *, with_path: bool = False) -> str | None:
    """Scheme, host and port of a connection; the host may itself be a URL.

    Args:
        connection: what Airflow has.
        default: where no host is given.
        with_path: the URL may have a path, for a vendor whose API may lie below one.

    Raises:
        ConfigError: it is not http or https, or has a path, query or credentials.
    """
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return default
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    parts = urlsplit(url)
    too_much = (parts.path and not with_path) or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or too_much:
        shown, example = host.rpartition("@")[2], default or "https://example.com"
        raise mistake(connection, "host", f"came {shown!r} (schema {connection.schema!r}), must be like {example}")
    if connection.port and not parts.port:
        url = f"{parts.scheme}://{parts.netloc}:{connection.port}{parts.path}"
    return url


def timeouts_of(connection: ConnectionLike) -> Timeouts:
    """The time limits in the extra fields ``connect_seconds`` and ``read_seconds``.

    Raises:
        ConfigError: one is no number of seconds.
    """
    usual = Timeouts()
    return Timeouts(
        connect=seconds_of(connection, "connect_seconds", usual.connect),
        read=seconds_of(connection, "read_seconds", usual.read),
    )


def seconds_of(connection: ConnectionLike, key: str, default: float) -> float:
    """An extra field in seconds, above 0 and at most a day; the default if it is missing or empty.

    Raises:
        ConfigError: it is something else.
    """
    value = connection.extra_dejson.get(key)
    if value is None or value == "":
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise mistake(connection, key, f"came {value!r}, must be a number of seconds above 0")
    return seconds


def verify_of(connection: ConnectionLike) -> bool | str:
    """The extra field ``verify``: whether TLS certificates are verified, or the path of CA certificates.

    Raises:
        ConfigError: it is neither true, nor false, nor a path that exists.
    """
    value = connection.extra_dejson.get("verify")
    text = str(value).strip() if value is not None else ""
    if text.lower() in ("", "true"):
        return True
    if text.lower() == "false":
        return False
    if "/" in text and Path(text).exists():
        return text
    raise mistake(connection, "verify", f"came {value!r}, must be true, false or the path of a CA file that exists")


def text_of(connection: ConnectionLike, key: str, default: str = "") -> str:
    """An extra field as text without blanks around it; the default if it is missing or empty."""
    return str(connection.extra_dejson.get(key) or "").strip() or default


def mistake(connection: ConnectionLike, key: str, what: str) -> ConfigError:
    """The error that names connection and field."""
    return ConfigError(f"connection {connection.conn_id}: {key}: {what}")
