"""Staged purchases become files of whole sessions, below a size, with an index each and books that balance.

Files are cumulative at the vendor, so what is sent must be recognised when it comes again: the rows are sorted (out of
core) by session, time, product and user, and the same rows give the same bytes in whatever order a source returned
them. One pass over the sorted rows then refuses, drops exact duplicates and writes.

First rows are refused, each by itself (``include.transactions.rows``). What is left of a session is judged as a
whole: sessions of other windows are left to other runs (``include.transactions.windows``); then ``duplicate`` (all four
fields as they would be written); then, all rows of a session, ``session_too_large`` (larger than a file),
``session_of_two_users``, ``session_too_old`` (even its last purchase is older than ``max_age_weeks``, so that a session
never shrinks as time goes by) and, in a run with a window, ``session_without_time``. A quantity of 3 is one row.
"""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.books import DUPLICATE, Rejects
from include.engine import open_engine
from include.errors import BadInput
from include.files import LinesFiles
from include.lines import lines_of, text_bytes
from include.publishers.senders import TRANSACTION_COLUMNS, Transactions
from include.raw import Raw, read_raw
from include.staging import MANIFEST, remove_folder, utc_text, write_json
from include.transactions.index import IndexFiles
from include.transactions.rows import refused_rows, sorted_rows
from include.transactions.sessions import Giants, Rows, Sessions, whole_sessions
from include.transactions.sieve import Sieve, as_rejects
from include.transactions.windows import Window, microsecond, window_of

log = logging.getLogger(__name__)

COLUMNS = TRANSACTION_COLUMNS[:4]
_ASKED_FOR = ("not_a_purchase", "cancelled", "session_too_old")


def build_transactions(
    run: Path,
    settings: Transactions,
    window: Mapping[str, str] | None = None,
    parts: int = 1,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Build the files, their indexes, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run.
        settings: rules, format, file size, time zone and limits of the publisher.
        window: the run's own, ``start`` and ``end`` in ISO-8601; None: all sessions that came belong to the run.
        parts: how many parts were pulled.
        now: what old and future are measured from; by default, the clock.

    Returns:
        The manifest: the same for the same rows and the same ``now``.

    Raises:
        BadInput: parts are missing or damaged, or more rows were refused than the publisher allows.
        BooksDoNotBalance: a row is neither uploaded nor refused, nor another run's.
    """
    (run / MANIFEST).unlink(missing_ok=True)
    raw = read_raw(run / "raw", parts)
    if not raw.complete:
        raise BadInput(
            f"{run / 'raw'}: a part is missing or was not read to its end. Nothing is built: a file of some of the "
            "purchases could never be told apart from the whole one later. Clear the pull tasks of this run."
        )
    job = _Job(run, settings, window_of(settings, window), (now or datetime.now(UTC)).astimezone(UTC))
    with open_engine(run / ".work") as engine:
        engine.execute("SET TimeZone = ?", [settings.time_zone])
        built = _built(engine, raw, job)
    _warn(built, job)
    _refuse_too_many(built.figures, job)
    of_run = {"window": job.window and job.window.told(), "now": utc_text(job.now)}
    manifest = {"kind": "transactions", "format": settings.format, "complete": True, **of_run, **built.figures}
    write_json(run / MANIFEST, manifest)
    return manifest


@dataclass(frozen=True)
class _Job:
    """What a build is about."""

    run: Path
    settings: Transactions
    window: Window | None
    now: datetime

    def oldest(self) -> int | None:
        """The earliest last purchase of a session that is not too old."""
        weeks = self.settings.max_age_weeks
        return None if weeks is None else microsecond(self.now - timedelta(weeks=weeks))


@dataclass
class _Built:
    """What the pass over the rows comes to."""

    rejects: Rejects
    sieve: Sieve
    giants: Giants = field(default_factory=Giants)
    long: int = 0
    """Sessions that last longer than the publisher says."""
    moments: list[pa.Scalar] = field(default_factory=list)
    """The first and the last one that were written."""
    figures: dict[str, Any] = field(default_factory=dict)

    def note_moments(self, moments: pa.Array) -> None:
        found = pc.min_max(moments)
        known = [*self.moments, *(found[end] for end in ("min", "max") if found[end].is_valid)]
        self.moments = [min(known, key=_number), max(known, key=_number)] if known else []


def _number(moment: pa.Scalar) -> int:
    return int(moment.value)


def _built(engine: duckdb.DuckDBPyConnection, raw: Raw, job: _Job) -> _Built:
    """Write everything but the manifest."""
    run, settings = job.run, job.settings
    for folder in ("chunks", "index", "rest"):
        remove_folder(run / folder)
    with ExitStack() as open_files:
        files = open_files.enter_context(LinesFiles(run / "chunks", "transactions", settings.format))
        index = open_files.enter_context(IndexFiles(run / "index", "transactions"))
        rejects = open_files.enter_context(Rejects(run, TRANSACTION_COLUMNS))
        built = _Built(rejects, Sieve(rejects, job.window, settings))
        for refused, reasons, moments in refused_rows(engine, raw):
            built.sieve.refuse(refused, reasons, moments)
        accepted = built.sieve.accepted(sorted_rows(engine, raw, settings, job.now))
        for rows, too_large in whole_sessions(accepted, settings.max_file_bytes):
            _write(rows, too_large, job, built, files, index)
    for entry, name in zip(files.entries, index.names, strict=True):
        entry["index"] = name
    days = [moment.as_py().date().isoformat() for moment in built.moments] or [None, None]
    built.figures = {
        "sessions": 0,
        **files.whole,
        "chunks": files.entries,
        "books": rejects.balance(raw.rows, files.whole["rows"], elsewhere=built.sieve.elsewhere),
        "elsewhere": built.sieve.elsewhere,
        "reasons": dict(sorted(rejects.counts.items())),
        "first_day": days[0],
        "last_day": days[1],
    }
    return built


def _write(rows: Rows, too_large: bool, job: _Job, built: _Built, files: LinesFiles, index: IndexFiles) -> None:
    """Write the sessions that can be uploaded; the others go to the rejects."""
    most_bytes = job.settings.max_file_bytes
    times = rows[3].cast(pa.large_string())
    names = ("session_id", "identity", job.settings.user_field, "created_at")
    lines = lines_of(job.settings.format)(dict(zip(names, (*rows[:3], times), strict=True)))
    if too_large:
        built.giants.add(rows[0][0].as_py(), len(text_bytes(lines)))
        built.rejects.add(as_rejects(rows), pa.repeat("session_too_large", len(lines)))
        return
    sessions = Sessions(rows, times, lines)
    reasons = sessions.refused(most_bytes, job.oldest(), timed=job.window is not None)
    if reasons is not None:
        for session, size in sessions.larger_than(most_bytes):
            built.giants.add(session, size)
        built.rejects.sift(as_rejects(rows), reasons)
        kept = pc.is_null(reasons)
        rows = [column.filter(kept) for column in rows]
        sessions = Sessions(rows, times.filter(kept), lines.filter(kept))
    built.note_moments(rows[3])
    built.long += sessions.longer_than(timedelta(hours=job.settings.session_hours))
    sessions.write(files, index, most_bytes)


def _warn(built: _Built, job: _Job) -> None:
    """Say what may be a mistake of the publisher file."""
    built.giants.tell()
    views = built.figures["reasons"].get("not_a_purchase", 0)
    if views and views == built.figures["books"]["extracted"] - built.sieve.elsewhere:
        log.warning("past_transactions.keep matches none of %s rows; is it spelled as in the source?", f"{views:,}")
    if job.window and built.long:
        log.warning(
            "%s sessions last longer than past_transactions.session_hours = %g: purchases so much later were perhaps "
            "not read, and cannot be added once the session is sent; raise it if sessions are that long",
            f"{built.long:,}",
            job.settings.session_hours,
        )


def _refuse_too_many(figures: Mapping[str, Any], job: _Job) -> None:
    """Stop if much is wrong; rows that the publisher's own rules exclude are not."""
    books, reasons = figures["books"], figures["reasons"]
    excluded = sum(reasons.get(reason, 0) for reason in _ASKED_FOR)
    judged, wrong = books["extracted"] - books["elsewhere"] - excluded, books["rejected"] - excluded
    if 100 * wrong > job.settings.refuse_reject_percent * judged:
        told = ", ".join(
            f"{reason} {rows:,}" for reason, rows in reasons.items() if reason not in (*_ASKED_FOR, DUPLICATE)
        )
        raise BadInput(
            f"{wrong:,} of {judged:,} extracted rows were rejected ({told}), more than "
            f"past_transactions.refuse_reject_percent = {job.settings.refuse_reject_percent:g}. Nothing is uploaded. "
            f"See {job.run / 'rejects.parquet'}; mend the query, or raise the limit, and run again."
        )
