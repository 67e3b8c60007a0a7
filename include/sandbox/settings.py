"""What can be set on a sandbox, with the defaults of the documented service."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, get_args

from include.errors import ConfigError

Algorithm = Literal["basket", "discovery", "popular"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
PinsDetails = Literal["fields", "lines"]
PINS_DETAILS: tuple[PinsDetails, ...] = get_args(PinsDetails)
DEFAULT_TRACKER = "1234-5678"
DEFAULT_PRIVATE_KEY = "your_private_api_key"
DEFAULT_TYPES: Mapping[str, int | str] = {"mail-basket": 8, "mail-discovery": 4}


@dataclass(frozen=True)
class RecommendationType:
    """One block of products in a newsletter: its name, how many products, and how they are chosen."""

    name: str
    slots: int
    algorithm: Algorithm


def parse_types(types: Mapping[str, int | str]) -> tuple[RecommendationType, ...]:
    """Read ``{"mail-basket": 8}`` or ``{"mail-basket": "8:popular"}``.

    Without an algorithm the first type is ``basket`` and every other one ``discovery``.

    Raises:
        ConfigError: no types, a bad name, a number of slots outside 1 to 1000, an unknown algorithm.
    """
    if not types:
        raise ConfigError("types: at least one recommendation type is needed, such as mail-basket=8")
    return tuple(
        _parse_type(name, str(value), "discovery" if index else "basket")
        for index, (name, value) in enumerate(types.items())
    )


def _parse_type(name: str, value: str, algorithm: Algorithm) -> RecommendationType:
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise ConfigError(f"types: the name {name!r} must be 1 to 128 printable characters")
    slots, _, chosen = value.partition(":")
    if not slots.isdecimal() or not 1 <= int(slots) <= 1000:
        raise ConfigError(f"types: {name}: came {slots!r} slots, allowed are 1 to 1000")
    known = next((each for each in ALGORITHMS if each == (chosen or algorithm)), None)
    if known is None:
        raise ConfigError(f"types: {name}: came algorithm {chosen!r}, allowed are {', '.join(ALGORITHMS)}")
    return RecommendationType(name, int(slots), known)


_MORE_THAN_NOTHING = ("upload_seconds", "users_limit", "transactions_limit", "klaviyo_burst", "klaviyo_steady")


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Times are in seconds, sizes in bytes."""

    state: Path
    tracker: str = DEFAULT_TRACKER
    private_key: str = field(default=DEFAULT_PRIVATE_KEY, repr=False)
    public_key: str | None = None
    types: Mapping[str, int | str] = field(default_factory=lambda: dict(DEFAULT_TYPES))
    today: date | None = None
    publish_after: float | None = None
    publish_every: float | None = None
    catalogue: Path | None = None
    public_url: str | None = None
    upload_seconds: float = 600.0
    users_limit: int = 300_000_000
    transactions_limit: int = 1_000_000_000
    clock_tolerance: float = 5.0
    link_basic: str | None = field(default=None, repr=False)
    link_bearer: str | None = field(default=None, repr=False)
    link_header: str | None = field(default=None, repr=False)
    memory_limit: str = "1GB"
    klaviyo_key: str = field(default="pk_sandbox", repr=False)
    klaviyo_burst: int = 75
    klaviyo_steady: int = 700
    klaviyo_repeats: bool = True
    klaviyo_job_seconds: float = 1.0
    smartemailing_user: str = "sandbox"
    smartemailing_key: str = field(default="sandbox_key", repr=False)
    pins_partial: bool = False
    pins_details: PinsDetails = "fields"
    advisable_app_id: str = "sandbox"
    advisable_app_secret: str = field(default="sandbox_secret", repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d+-\d+", self.tracker):
            raise ConfigError(f"tracker: came {self.tracker!r}; a tracker id is two numbers, such as {DEFAULT_TRACKER}")
        if set(str(self.state)) & set("*?["):
            raise ConfigError(f"state: came {self.state}; the folder's name must not hold any of * ? [")
        if not self.private_key:
            raise ConfigError("private_key: must not be empty")
        for name in (*_MORE_THAN_NOTHING, "publish_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}: came {value}, must be more than 0")
        if self.publish_after is not None and self.publish_after < 0:
            raise ConfigError(f"publish_after: came {self.publish_after}, must not be negative")
        if self.pins_details not in PINS_DETAILS:
            raise ConfigError(f"pins_details: came {self.pins_details!r}, allowed are {', '.join(PINS_DETAILS)}")
        if not self.advisable_app_id or not self.advisable_app_secret:
            raise ConfigError("advisable_app_id and advisable_app_secret: must not be empty")
        _ = self.recommendation_types, self.link_credentials

    @property
    def recommendation_types(self) -> tuple[RecommendationType, ...]:
        """The configured types, read and checked."""
        return parse_types(self.types)

    @property
    def public_keys(self) -> tuple[str, ...]:
        """What may stand in front of the digest: the tracker id, or the public key if one is set."""
        return (self.tracker, self.public_key) if self.public_key else (self.tracker,)

    @property
    def link_credentials(self) -> tuple[str, str] | None:
        """The header, name and value, that the result link demands; None when it is open.

        Raises:
            ConfigError: more than one kind is set, or it is not of the form it must have.
        """
        given = [each for each in (self.link_basic, self.link_bearer, self.link_header) if each]
        if len(given) > 1:
            raise ConfigError("link: set only one of link_basic, link_bearer and link_header")
        if self.link_basic:
            if ":" not in self.link_basic:
                raise ConfigError("link_basic: must be USER:PASSWORD")
            return "authorization", f"Basic {b64encode(self.link_basic.encode()).decode()}"
        if self.link_bearer:
            return "authorization", f"Bearer {self.link_bearer}"
        if self.link_header:
            name, colon, value = self.link_header.partition(":")
            if not colon or not name.strip():
                raise ConfigError("link_header: must be NAME: VALUE")
            return name.strip().lower(), value.strip()
        return None
