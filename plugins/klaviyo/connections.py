"""What an Airflow connection of type ``klaviyo`` says: the private API key is the password, the rest has defaults."""

import re
from dataclasses import dataclass, field

from vendor_http.connections import ConnectionLike, base_url, mistake, text_of, timeouts_of, verify_of
from vendor_http.session import Timeouts

DEFAULT_HOST = "https://a.klaviyo.com"
DEFAULT_REVISION = "2026-07-15"


@dataclass(frozen=True)
class Settings:
    """Where Klaviyo is reached, with which key, and which revision of its API is spoken.

    ``base_url`` has scheme, host and port only. ``connection`` is what sentences call the place where people mend
    these settings.
    """

    base_url: str
    api_key: str = field(repr=False)
    revision: str = DEFAULT_REVISION
    connection: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify: bool | str = True

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries; with the key in it."""
        return {
            "Authorization": f"Klaviyo-API-Key {self.api_key}",
            "Accept": "application/vnd.api+json",
            "revision": self.revision,
        }


def klaviyo_settings(connection: ConnectionLike) -> Settings:
    """The settings of a connection.

    Raises:
        ConfigError: something is missing or unusable; the sentence names connection and field.
    """
    key = (connection.password or "").strip()
    if not key:
        raise mistake(connection, "private API key (password)", "is missing")
    if not re.fullmatch(r"[!-~]+", key):
        raise mistake(connection, "private API key (password)", "has characters that no key has")
    revision = text_of(connection, "revision", DEFAULT_REVISION)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", revision):
        raise mistake(connection, "revision", f"came {revision!r}, must be a date like {DEFAULT_REVISION}")
    return Settings(
        base_url=base_url(connection, DEFAULT_HOST) or DEFAULT_HOST,
        api_key=key,
        revision=revision,
        connection=connection.conn_id,
        timeouts=timeouts_of(connection),
        verify=verify_of(connection),
    )
