"""What a wait decides, apart from Airflow and from where the batch lies: whose, till when, and what if none comes.

A batch lies at a *place*: a link (``luigisbox.link_place``) or the profiles of Klaviyo (``klaviyo.batch``).
"""

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from include.audience import user_sets
from include.errors import ConfigError, PipelineError
from include.publishers.models import Publisher
from include.recommendations import batches, freshness
from include.staging import MANIFEST, read_json, to_path

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from include.audience.user_sets import UserSet
    from luigisbox.watching import Event

log = logging.getLogger(__name__)


class NoBatchInTime(PipelineError):
    """The deadline passed without a fresh batch, and nothing may stand in for it."""


class Superseded(PipelineError):
    """A newer list replaced the one that is waited for, so its batch will not come."""


@dataclass(frozen=True)
class Wait:
    """One wait as it stands: for whose batch, made of which list, till when, and what was refused so far.

    ``deadline`` is in epoch seconds. ``refused`` is what the place wants to know of earlier batches when it looks
    again: JSON, without data and secrets. ``run`` names the run; ``since`` is as ``since_of`` gives it.
    """

    root: Path
    publisher: Publisher
    user_set: "UserSet"
    deadline: float
    refused: tuple[dict[str, Any], ...] = ()
    reason: str = "not looked yet"
    run: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Outcome:
    """The batch that a run goes on with: a fresh one, or what stands in for it."""

    uri: str
    sha256: str
    rows: int
    users: int
    bytes: int
    user_set: str
    outcome: str

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        return asdict(self)


class Place(Protocol):
    """Where a batch is waited for."""

    @property
    def shown(self) -> str:
        """The place as people may see it."""

    @property
    def dataset(self) -> tuple[str, str]:
        """Namespace and name for OpenLineage."""

    def look(self, wait: Wait) -> "Outcome | Event":
        """Look once, on a worker: a batch that needs no fetch, or an event."""

    def watch(self, wait: Wait) -> "Event":
        """Look until something is found or the deadline passes, on a worker."""

    def trigger(self, wait: Wait) -> "BaseTrigger":
        """The same in the triggerer; its event carries ``refused``, ``user_set`` and ``deadline`` too."""

    def examine(self, wait: Wait) -> Outcome | Wait:
        """Fetch what was found, parse and judge it: the fresh batch, accepted; or the wait as it goes on."""


def find_user_set(root: Path, publisher: str, name: str) -> "UserSet":
    """The accepted list of that name, or the live one.

    Raises:
        ConfigError: nothing was accepted yet.
    """
    if name:
        return user_sets.load(root, publisher, name)
    live = user_sets.live(root, publisher)
    if live is None:
        raise ConfigError(f"publisher {publisher}: no user set was accepted yet; run its audience DAG first")
    return live


def deadline_of(given: str, user_set: "UserSet", run_started: datetime | None, minutes: float) -> float:
    """Till when to wait, in epoch seconds.

    Args:
        given: ISO time, or empty.
        user_set: that the batch is made of; without a given time the wait counts from when it was sent ...
        run_started: ... or from here, if that is later: a run on its own schedule may wait for the next batch of a
            list that was sent long ago.
        minutes: how long.

    Raises:
        ConfigError: ``given`` is not a time.
    """
    if given:
        return _moment("deadline", given).timestamp()
    start = datetime.fromisoformat(user_set.record["sent_at"])
    if run_started is not None:
        start = max(start, run_started)
    return (start + timedelta(minutes=minutes)).timestamp()


def since_of(given: str, run_started: datetime | None, max_age_hours: float | None) -> datetime | None:
    """The moment before which a batch is not the one that a run on a schedule is about; None for any other run.

    Args:
        given: ISO time of the start of the run's interval, or empty.
        run_started: when the run started.
        max_age_hours: a batch that was older than this when the run started does not count either.

    Raises:
        ConfigError: ``given`` is not a time.
    """
    if not given:
        return None
    start = _moment("since", given)
    if run_started is None or max_age_hours is None:
        return start
    return max(start, run_started - timedelta(hours=max_age_hours))


def _moment(key: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{key}: came {text!r}; must be a time such as 2026-11-21T06:00:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def refuse_superseded(wait: Wait, evidence: dict[str, Any] | None = None) -> None:
    """End a wait for the batch of a list that is no longer the live one.

    Args:
        wait: as it stands.
        evidence: of the batch that was found; one that was made before the newer list was sent is let pass.

    Raises:
        Superseded: nothing proves that the batch was made before.
    """
    newer = _newer_list(wait)
    if newer is None or (evidence and freshness.made_before(evidence, datetime.fromisoformat(newer.record["sent_at"]))):
        return
    raise Superseded(
        f"publisher {wait.publisher.name}: user set {wait.user_set.name} is superseded by {newer.name}, sent at "
        f"{newer.record['sent_at']}: this list's batch will not come (each upload replaces the list). The run of the "
        "newer list waits for its batch; a wait that names no list takes the live one once this task is cleared. "
        f"Last reason: {wait.reason.rstrip('.')}."
    )


def _newer_list(wait: Wait) -> "UserSet | None":
    """The first list with other content that was accepted after the one that is waited for."""
    newer, each = None, user_sets.live(wait.root, wait.publisher.name)
    while each and each.name > wait.user_set.name:  # names begin with the moment of acceptance
        if each.record["sha256"] != wait.user_set.record["sha256"]:
            newer = each
        each = user_sets.previous(each)
    return newer


def stand_in(wait: Wait, on_deadline: str) -> Outcome:
    """What a run goes on with when the deadline has passed.

    Args:
        wait: as it stands at the deadline.
        on_deadline: ``fail``, ``use_previous`` or ``default_only``.

    Raises:
        NoBatchInTime: nothing may, or can, stand in.
        Superseded: a newer list is live.
    """
    refuse_superseded(wait)
    name = wait.publisher.name
    late = (
        f"publisher {name}: no fresh batch of user set {wait.user_set.name} by "
        f"{datetime.fromtimestamp(wait.deadline, UTC):%Y-%m-%d %H:%M:%S} UTC. Last reason: {wait.reason.rstrip('.')}."
    )
    if on_deadline == "fail":
        raise NoBatchInTime(f"{late} Ask Luigi's Box about the batch; then clear this task, with a later deadline.")
    newest = batches.latest(wait.root, name)
    if newest is None:
        raise NoBatchInTime(f"{late} on_deadline is {on_deadline}, but there is no earlier batch.")
    folder = to_path(newest["uri"])
    if on_deadline == "default_only" and not read_json(folder / MANIFEST).get("default"):
        raise NoBatchInTime(f"{late} on_deadline is default_only, but batch {folder.name[:12]} has no default set.")
    log.warning("%s Going on with %s: batch %s.", late, on_deadline, folder.name[:12])
    return outcome_of(wait, folder, {"use_previous": "previous"}.get(on_deadline, on_deadline))


def outcome_of(wait: Wait, folder: Path, outcome: str) -> Outcome:
    """The reference to a batch, from its manifest."""
    manifest = read_json(folder / MANIFEST)
    return Outcome(
        uri=folder.as_uri(),
        sha256=manifest["sha256"],
        rows=manifest["rows"],
        users=manifest["users"],
        bytes=manifest["bytes"],
        user_set=wait.user_set.name,
        outcome=outcome,
    )
