"""Whether a run can be ready by its deadline, asked at its very start, and what happens if it is not."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import get_current_context

from include.errors import ConfigError
from include.publishers.campaigns import READY_MINUTES, RUN_MINUTES
from include.publishers.config import load_publisher
from include.publishers.models import Publisher
from include.staging import staging_root
from luigisbox.assets import RECOMMENDATIONS_LATE, recommendations_late

log = logging.getLogger(__name__)

INSTEAD = {
    "fail": "the run fails and nothing is delivered",
    "use_previous": "the batch before is delivered",
    "default_only": "everyone gets the default set",
}


def deadline_of(
    publisher: Publisher, deadline: datetime | None, send_at: datetime | None, now: datetime
) -> datetime | None:
    """When to stop waiting for the batch: as given, or ``ready_minutes`` before the newsletter is sent.

    If that is past already while the newsletter is still to come, and the publisher file says what stands in for a
    batch (``on_deadline``), it is now: the run looks once and goes on with the stand-in.

    Raises:
        ConfigError: it is past, or after the newsletter is sent.
    """
    if send_at and send_at <= now:
        raise ConfigError(
            f"send_at: the newsletter was to be sent at {send_at.isoformat()}, which is past. Nothing was done. If it "
            "is sent later, trigger a new run with the new time."
        )
    ready = publisher.campaigns.ready_minutes if publisher.campaigns else READY_MINUTES
    ends = deadline or (send_at - timedelta(minutes=ready) if send_at else None)
    if ends and send_at and ends > send_at:
        raise ConfigError(f"deadline: {ends.isoformat()} is after send_at, {send_at.isoformat()}")
    if ends and ends <= now and not deadline and publisher.batch.on_deadline != "fail":
        return now
    if ends and ends <= now:
        when = f"; the newsletter is sent at {send_at.isoformat()}" if send_at else ""
        raise ConfigError(
            f"deadline: {ends.isoformat()} is past{when}. Nothing was done. Send the newsletter later, or trigger a "
            "new run with a later deadline."
        )
    return ends


def lateness(publisher: Publisher, deadline: str | None, now: datetime) -> dict[str, Any] | None:
    """Figures of a run that will hardly have its batch by the deadline; None if there is time enough.

    Returns:
        ``publisher``, ``deadline``, ``left_minutes``, ``needed_minutes``, ``needed_from`` (where that is known from)
        and ``instead`` (what happens at the deadline).
    """
    if not deadline:
        return None
    needed, needed_from = needed_minutes(publisher)
    left = (datetime.fromisoformat(deadline) - now).total_seconds() / 60
    if left >= needed:
        return None
    return {
        "publisher": publisher.name,
        "deadline": deadline,
        "left_minutes": round(left, 1),
        "needed_minutes": round(needed, 1),
        "needed_from": needed_from,
        "instead": instead(publisher),
    }


def needed_minutes(publisher: Publisher) -> tuple[float, str]:
    """How long a run takes, and where that is known from."""
    if publisher.campaigns and publisher.campaigns.run_minutes:
        return publisher.campaigns.run_minutes, "campaigns.run_minutes"
    measured = _measured_minutes(publisher.name)
    return (measured, "the last batch") if measured else (RUN_MINUTES, "no batch yet")


def _measured_minutes(publisher: str) -> float | None:
    """Minutes from the upload of a list to the batch accepted last, if its list is still known."""
    from include.audience import user_sets
    from include.errors import BadInput
    from include.recommendations import batches

    newest = batches.latest(staging_root(), publisher)
    if newest is None:
        return None
    try:
        sent_at = user_sets.load(staging_root(), publisher, newest["user_set"]).record["sent_at"]
    except BadInput:
        return None  # lists are pruned
    taken = datetime.fromisoformat(newest["accepted_at"]) - datetime.fromisoformat(sent_at)
    return max(taken.total_seconds() / 60, 1.0)


def instead(publisher: Publisher) -> str:
    """What a run does when the deadline passes without a fresh batch."""
    from include.recommendations import batches

    what = publisher.batch.on_deadline
    if what != "fail" and batches.latest(staging_root(), publisher.name) is None:
        return f"the run fails: on_deadline is {what}, but there is no earlier batch"
    return f"{INSTEAD[what]} (batch.on_deadline is {what})"


def warn_if_late(publisher: str, run: str, deadline: str | None, send_at: str | None) -> None:
    """Say early that a run will hardly be ready: in the log and, where the task has that outlet, by an asset event."""
    late = lateness(load_publisher(publisher), deadline, datetime.now(UTC))
    if late is None:
        return
    figures = {**late, "run": run, "send_at": send_at}
    log.warning(
        "publisher %s will hardly be ready: %s minutes are left until the deadline %s, a run needs about %s (known "
        "from %s). The run goes on. If there is no fresh batch by then, %s.",
        publisher,
        late["left_minutes"],
        deadline,
        late["needed_minutes"],
        late["needed_from"],
        late["instead"],
    )
    context = get_current_context()
    if RECOMMENDATIONS_LATE in context["task"].outlets:
        context["outlet_events"][RECOMMENDATIONS_LATE].add(recommendations_late(publisher), extra=figures)
