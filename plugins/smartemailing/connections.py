"""What an Airflow connection of type ``smartemailing`` says: user name as login, API key as password."""

from base64 import b64encode
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from vendor_http.connections import ConnectionLike, base_url, mistake, seconds_of, text_of, timeouts_of, verify_of
from vendor_http.session import Timeouts

DEFAULT_HOST = "https://app.smartemailing.cz"
PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Settings:
    """Where an account is reached, with which key, and how patiently.

    ``base_url`` has scheme, host and port only. ``pause_seconds`` passes between the end of a request and the next one:
    SmartEmailing publishes no rate limit and forbids overload. ``time_zone`` is meant by the times in its answers,
    which carry none. ``connection`` is what sentences call the place where people mend these settings.
    """

    base_url: str
    user: str
    api_key: str = field(repr=False)
    connection: str = ""
    pause_seconds: float = PAUSE_SECONDS
    time_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify: bool | str = True

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        pair = b64encode(f"{self.user}:{self.api_key}".encode()).decode()
        return {"Authorization": f"Basic {pair}", "Accept": "application/json"}


def smartemailing_settings(connection: ConnectionLike) -> Settings:
    """The settings of a connection.

    Raises:
        ConfigError: something is missing or unusable; the sentence names connection and field.
    """
    user = (connection.login or "").strip()
    if not user or ":" in user:
        raise mistake(connection, "user name (login)", "is missing, or has a colon")
    if not connection.password:
        raise mistake(connection, "API key (password)", "is missing")
    return Settings(
        base_url=base_url(connection, DEFAULT_HOST) or DEFAULT_HOST,
        user=user,
        api_key=connection.password,
        connection=connection.conn_id,
        pause_seconds=seconds_of(connection, "pause_seconds", PAUSE_SECONDS),
        time_zone=_zone(connection),
        timeouts=timeouts_of(connection),
        verify=verify_of(connection),
    )


def _zone(connection: ConnectionLike) -> ZoneInfo:
    name = text_of(connection, "time_zone", "UTC")
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise mistake(connection, "time_zone", f"came {name!r}, must be like Europe/Prague") from None
