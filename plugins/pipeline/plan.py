"""What a run is about, resolved in one place: publisher, folder, window of time, parameters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, TypedDict

from airflow.sdk import get_current_context, task

from include.errors import ConfigError
from include.objects import ObjectPath
from include.publishers.config import check_alone, load_publisher
from include.publishers.models import Publisher
from include.staging import run_folder, staging_root
from pipeline.deadlines import deadline_of, warn_if_late
from stores import turns_database


class Plan(TypedDict):
    """What every later task of a run needs to know.

    ``window`` is half-open, ``start`` and ``end`` in ISO-8601; ``since`` is the start of a scheduled run's interval.
    ``files`` names files to read instead of the publisher's source.
    ``send_at`` is when the newsletter is sent, ``deadline`` when the wait for the batch ends.
    """

    publisher: str
    run: str
    as_of: str
    window: dict[str, str] | None
    sql: str | None
    file: str | None
    files: str | None
    accept_held: bool
    deadline: str | None
    send_at: str | None
    since: str | None
    deliveries: list[str]
    recommendation_types: list[str] | None


@task
def plan(publisher: str, room: str = "audience") -> Plan:
    """Resolve what this run is about, see :func:`resolve`, and say at once if it will hardly be ready in time."""
    context = get_current_context()
    resolved = resolve(publisher, room, context)
    warn_if_late(publisher, context["dag_run"].run_id, resolved["deadline"], resolved["send_at"])
    return resolved


def resolve(publisher: str, room: str, context: Mapping[str, Any]) -> Plan:
    """Resolve a run of a DAG from Airflow's task context.

    The data is as of the end of the window; a run without one (started by hand, by the API, by an asset) is as of
    the moment it was asked to run. Both stay the same when the run is tried again.

    Args:
        publisher: name of the publisher file.
        room: the staging room of the run: ``audience``, ``transactions``, ``pins`` or ``interactions``.
        context: Airflow's context of the running task.

    Raises:
        ConfigError: unknown publisher, half a window, a window that ends before it starts, an unknown delivery,
            a tracker shared with another publisher, a deadline or a newsletter in the past, a misspelt parameter;
            a publisher without the room's section, purchases from a query without a window; an object store without
            a database in which to take turns.
    """
    settings, params, dag_run = load_publisher(publisher), context["params"], context["dag_run"]
    check_alone(settings)
    _refuse_near_misses(dag_run.conf or {}, context["dag"].params)
    window = _window(params, context)
    if room != "audience":
        _check_source(settings, room, params, window)
    as_of = window["end"] if window else _iso(dag_run.run_after)
    root = staging_root()
    if isinstance(root, ObjectPath):
        turns_database()  # said now, not when all is pulled and built
    run = run_folder(root, publisher, room, f"{context['dag'].dag_id}--{dag_run.run_id}")
    if params.get("audience_sql") and params.get("audience_file"):
        raise ConfigError("audience_sql and audience_file were both given; give one, or neither")
    send_at = _optional_moment(params, "send_at")
    deadline = deadline_of(settings, _optional_moment(params, "deadline"), send_at, datetime.now(UTC))
    return {
        "publisher": publisher,
        "run": run.as_uri(),
        "as_of": as_of,
        "window": window,
        "sql": params.get("audience_sql") or None,
        "file": params.get("audience_file") or None,
        "files": params.get("files") or None,
        "accept_held": bool(params.get("accept_held")),
        "deadline": _iso(deadline) if deadline else None,
        "send_at": _iso(send_at) if send_at else None,
        "since": _iso(context["data_interval_start"]) if dag_run.run_type == "scheduled" else None,
        "deliveries": _deliveries(settings, params.get("deliveries")),
        "recommendation_types": params.get("recommendation_types") or None,
    }


def _check_source(settings: Publisher, room: str, params: Mapping[str, Any], window: dict[str, str] | None) -> None:
    """What is sent besides users has a section of its own; purchases from a query need a window."""
    section = {"transactions": "past_transactions"}.get(room, room)
    source = getattr(settings, section)
    if source is None:
        raise ConfigError(f"publisher {settings.name}: {section} is missing in its file")
    if room == "transactions" and window is None and not (params.get("files") or source.files):
        raise ConfigError(
            "this run has no data interval: give window_start and window_end, or files, or start a backfill"
        )


def _refuse_near_misses(conf: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """A run may bring parameters of its own, for its SQL; but one that is nearly a known one is a slip of the pen."""
    for key in conf.keys() - known.keys():
        meant = get_close_matches(key, list(known), 1, 0.8)
        if meant:
            raise ConfigError(f"conf: there is no parameter {key!r}; did you mean {meant[0]}? Nothing was done.")


def _window(params: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, str] | None:
    start, end = params.get("window_start"), params.get("window_end")
    if bool(start) != bool(end):
        raise ConfigError(f"window_start and window_end go together; came {start!r} and {end!r}")
    if start and end:
        first, last = _moment("window_start", start), _moment("window_end", end)
    elif params.get("files"):  # all that lies in them, not what fell into the last interval of the schedule
        return None
    elif context.get("data_interval_start") and context["dag_run"].logical_date:
        first, last = context["data_interval_start"], context["data_interval_end"]
        if first == last:  # a run by hand of a DAG without a schedule
            return None
    else:
        return None
    if first >= last:
        raise ConfigError(f"the window is empty: it starts at {first.isoformat()} and ends at {last.isoformat()}")
    return {"start": _iso(first), "end": _iso(last)}


def _moment(key: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{key}: came {text!r}; must be a time such as 2026-11-21T06:00:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _optional_moment(params: Mapping[str, Any], key: str) -> datetime | None:
    return _moment(key, params[key]) if params.get(key) else None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _deliveries(settings: Publisher, wanted: list[str] | None) -> list[str]:
    if not wanted:
        return [delivery.name for delivery in settings.deliveries]
    return [settings.delivery(name).name for name in wanted]
