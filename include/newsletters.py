"""Newsletters of a platform that are to be sent: which of them start a run now, and what the run is told."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from include.errors import BadInput
from include.publishers.models import Publisher
from include.staging import slug

NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Newsletter:
    """A newsletter that the platform is going to send.

    ``send_at`` carries a zone; ``included`` are the ids of the lists and segments it goes to, None where the platform
    does not tell.
    """

    platform: str
    id: str
    name: str
    send_at: datetime
    included: tuple[str, ...] | None = None

    def run_id(self, publisher: str) -> str:
        """The id of its run: one for each publisher and time of sending.

        The publisher is part of it: accounts number their newsletters alike, and one newsletter may go to the lists of
        two publishers, while all their runs are runs of one DAG.
        """
        return f"{self.platform}__{publisher}__{slug(self.id)}__{self.send_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"

    def announcement(self, publisher: str) -> dict[str, Any]:
        """What an asset event tells of it: references only."""
        return {
            "publisher": publisher,
            "platform": self.platform,
            "id": self.id,
            "name": one_line(self.name),
            "send_at": self.send_at.astimezone(UTC).isoformat(),
        }


def one_line(text: str) -> str:
    """A stranger's text as one short line."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:NAME_CHARACTERS]


def due(publisher: Publisher, newsletters: Iterable[Newsletter], now: datetime) -> list[Newsletter]:
    """The newsletters of this publisher that are to be sent within the lead time; what is past is none of them."""
    assert publisher.campaigns
    until, ours = now + timedelta(hours=publisher.campaigns.lead_hours), audiences_of(publisher)
    return [
        each
        for each in newsletters
        if now < each.send_at <= until and (each.included is None or ours is None or ours.intersection(each.included))
    ]


def audiences_of(publisher: Publisher) -> set[str] | None:
    """Ids of the lists and segments whose newsletters are this publisher's; None: every newsletter is."""
    assert publisher.campaigns
    named = set(publisher.campaigns.audiences)
    if not named and publisher.audience.kind == "klaviyo":
        named = {*publisher.audience.lists, *publisher.audience.segments}
    return named or None


def announced(publisher: str, payload: Any) -> Newsletter:
    """The newsletter that an asset event tells of.

    Raises:
        BadInput: it is not one of this publisher, or not one at all.
    """
    keys = ("publisher", "platform", "id", "name", "send_at")
    if not isinstance(payload, Mapping) or not all(isinstance(payload.get(key), str) for key in keys):
        raise BadInput(f"an event tells of no newsletter; it must hold {', '.join(keys)}, each as text")
    if payload["publisher"] != publisher:
        raise BadInput(f"an event of publisher {payload['publisher']!r} came to the watcher of {publisher}")
    try:
        send_at = datetime.fromisoformat(payload["send_at"])
    except ValueError:
        raise BadInput(f"an event's send_at is {one_line(payload['send_at'])!r}; must be a time in ISO-8601") from None
    if not re.fullmatch(r"[a-z]{1,32}", payload["platform"]):
        raise BadInput(f"an event's platform is {one_line(payload['platform'])!r}; must be small letters")
    send_at = send_at if send_at.tzinfo else send_at.replace(tzinfo=UTC)
    return Newsletter(payload["platform"], payload["id"], one_line(payload["name"]), send_at)
