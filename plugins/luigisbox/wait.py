"""What a wait decides, apart from Airflow: is the fetched batch fresh, and what if none comes in time?"""

import logging
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.audience import user_sets
from include.errors import BadInput, ConfigError, NotReady, PipelineError
from include.publishers.batches import LinkBatch
from include.publishers.models import Publisher
from include.recommendations import batches, freshness
from include.recommendations.freshness import Seen
from include.staging import MANIFEST, read_json, to_path
from luigisbox.connections import LinkAccess
from luigisbox.fetch import fetch_batch
from luigisbox.result_link import Watch, resolve_link
from vendor_http.errors import NotFound, TransientError, Unauthorized

if TYPE_CHECKING:
    from include.audience.user_sets import UserSet

log = logging.getLogger(__name__)
KEPT_REFUSALS = 20


class NoBatchInTime(PipelineError):
    """The deadline passed without a fresh batch, and nothing may stand in for it."""


class Superseded(PipelineError):
    """A newer list replaced the one that is waited for, so its batch will not come."""


@dataclass(frozen=True)
class Wait:
    """One wait as it stands: for whose batch, made of which list, till when, and what was refused so far.

    ``deadline`` is in epoch seconds. ``run`` names the run; ``since`` is as ``since_of`` gives it.
    """

    root: Path
    publisher: Publisher
    user_set: "UserSet"
    deadline: float
    refused: tuple[Seen, ...] = ()
    reason: str = "no look at the link yet"
    access: LinkAccess = field(default_factory=LinkAccess)
    run: str = ""
    since: datetime | None = None

    @property
    def url(self) -> str:
        """The whole link."""
        return resolve_link(link_batch(self.publisher).link, self.access)

    def watch(self) -> Watch:
        """The same for those who look."""
        return Watch(
            url=self.url,
            not_before=freshness.not_before(self.user_set, self.since),
            deadline=self.deadline,
            poll_seconds=self.publisher.batch.poll_seconds,
            refused=self.refused,
            reason=self.reason,
            access=self.access,
        )

    def trigger_arguments(self) -> dict[str, Any]:
        """The same for the trigger: no secrets, nothing that JSON cannot hold."""
        return {
            "link": link_batch(self.publisher).link,
            "connection_id": link_batch(self.publisher).connection,
            "poll_seconds": self.publisher.batch.poll_seconds,
            "not_before": freshness.not_before(self.user_set, self.since).isoformat(),
            "deadline": self.deadline,
            "refused": [seen.as_dict() for seen in self.refused],
            "reason": self.reason,
            "user_set": self.user_set.name,
        }


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


def link_batch(publisher: Publisher) -> LinkBatch:
    """The settings of a batch at a link.

    Raises:
        ConfigError: this publisher's batch is elsewhere.
    """
    if publisher.batch.source != "link":
        raise ConfigError(f"publisher {publisher.name}: batch.from is {publisher.batch.source}; there is no link")
    return publisher.batch


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


def examine(wait: Wait) -> Outcome | Wait:
    """Fetch what the link shows, parse and judge it.

    Returns:
        the fresh batch, accepted; or the wait as it goes on, with the reason.

    Raises:
        PermanentError: the link refuses the credentials, or points to another host.
        Superseded: the batch may be that of a newer list.
    """
    settings = link_batch(wait.publisher)
    try:
        fetched = fetch_batch(
            wait.url, wait.access, wait.root, wait.publisher.name, settings.format, settings.max_bytes
        )
    except BadInput as error:
        return replace(wait, reason=str(error))
    except (TransientError, NotFound) as error:
        return replace(wait, reason=f"it could not be fetched: {error}")
    except Unauthorized as error:
        if error.status == 401:
            raise
        return replace(wait, reason=f"it could not be fetched: {error}")
    why = _why_not(wait, fetched.folder)
    if why is None:
        return outcome_of(wait, fetched.folder, "fresh")
    batches.prune(wait.root, wait.publisher.name)  # a wait must not pile up what it refuses
    return replace(wait, reason=why, refused=(*wait.refused, fetched.seen)[-KEPT_REFUSALS:])


def _why_not(wait: Wait, batch: Path) -> str | None:
    """Why a fetched batch cannot be used; None if it can, and then it is accepted."""
    from include.recommendations.parse import parse_batch

    publisher = wait.publisher.name
    try:
        parse_batch(batch, wait.publisher.batch)
    except NotReady as error:
        return f"the batch is not whole: {error}"
    except BadInput as error:
        return f"what the link shows is not a batch: {error}"
    previous = user_sets.previous(wait.root, wait.user_set)
    latest, earlier = (
        batches.latest(wait.root, publisher),
        batches.judged_stale(wait.root, publisher, wait.user_set.name),
    )
    verdict = freshness.judge(batch, wait.user_set, previous, latest, wait.run, wait.since, earlier)
    if verdict.verdict != "fresh":
        return f"the batch is not fresh: {verdict.sentence}"
    if not verdict.evidence["taken_before"]:
        refuse_superseded(wait, verdict.evidence)
    log.info("batch %s is fresh: %s", batch.name[:12], verdict.sentence)
    batches.accept(wait.root, publisher, batch, wait.user_set.name, verdict, wait.run)
    return None


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
        each = user_sets.previous(wait.root, each)
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
