"""Staged purchases become files of whole sessions, below a size, with an index each and books that balance.

Files are cumulative at the vendor, so what is sent must be recognised when it comes again: the rows are sorted (out of
core) by session, time, product and user, and the same rows give the same bytes in whatever order a source returned
them. One pass over the sorted rows then refuses, drops exact duplicates and writes.

First rows are refused, each by itself (``include.transactions.rows``, and ``float_printed``). What is left of a session
is judged as a whole: sessions of other windows are left to other runs (``include.transactions.windows``); then
``duplicate`` (all four fields as they would be written); then, all rows of a session, ``session_too_large`` (larger
than a file), ``session_of_two_users``, and ``session_too_old``: even its last purchase is older than
``max_age_weeks``, so that a session never shrinks as time goes by. A quantity of 3 is one row, as any other.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
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
from include.lines import Columns, lines_of, text_bytes
from include.neighbours import same_as_before
from include.publishers.senders import TRANSACTION_COLUMNS, Transactions
from include.raw import Raw, read_raw
from include.rules import FLOAT_PRINTED, count_floats, floats_are_a_mishap, mark
from include.staging import MANIFEST, utc_text, write_json
from include.transactions.index import IndexFiles
from include.transactions.rows import reasons_of, refused_rows, shown, sorted_rows
from include.transactions.sessions import Giants, Rows, Sessions, whole_sessions
from include.transactions.windows import Belonging, Window, microsecond, microseconds, window_of

log = logging.getLogger(__name__)

COLUMNS = TRANSACTION_COLUMNS[:4]
_IDS = COLUMNS[:3]
_ASKED_FOR = ("not_a_purchase", "cancelled", "session_too_old")


def build_transactions(
    run: Path,
    settings: Transactions,
    window: Mapping[str, str] | None = None,
    parts: int | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Build the files, their indexes, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run.
        settings: rules, format, file size, time zone and limits of the publisher.
        window: the run's own, ``start`` and ``end`` in ISO-8601; None: all sessions that came belong to the run.
        parts: how many parts were pulled, if known.
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
        built = _pass(engine, raw, job, frozenset())
        floats = frozenset(column for column in built.floats if floats_are_a_mishap(engine, column, raw.parts))
        if floats:
            built = _pass(engine, raw, job, floats)
    built.giants.tell()
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
    """What one pass over the rows comes to."""

    rejects: Rejects
    elsewhere: int = 0
    floats: set[str] = field(default_factory=set)
    """The columns in which values look like printed floats."""
    giants: Giants = field(default_factory=Giants)
    moments: list[pa.Scalar] = field(default_factory=list)
    """The first and the last one that were written."""
    figures: dict[str, Any] = field(default_factory=dict)

    def note_moments(self, moments: pa.Array) -> None:
        found = pc.min_max(moments)
        known = [*self.moments, *(found[end] for end in ("min", "max") if found[end].is_valid)]
        self.moments = [min(known, key=_number), max(known, key=_number)] if known else []


def _number(moment: pa.Scalar) -> int:
    return int(moment.value)


def _pass(engine: duckdb.DuckDBPyConnection, raw: Raw, job: _Job, drop_floats: frozenset[str]) -> _Built:
    """Write everything but the manifest."""
    run, settings = job.run, job.settings
    for folder in ("chunks", "index", "rest"):
        shutil.rmtree(run / folder, ignore_errors=True)
    with ExitStack() as open_files:
        files = open_files.enter_context(LinesFiles(run / "chunks", "transactions", settings.format))
        index = open_files.enter_context(IndexFiles(run / "index", "transactions"))
        built = _Built(open_files.enter_context(Rejects(run, TRANSACTION_COLUMNS)))
        for refused, reasons, moments in refused_rows(engine, raw):
            _refuse(built, job, refused, reasons, moments)
        good = _good_rows(engine, raw, job, drop_floats, built)
        for rows, too_large in whole_sessions(good, settings.max_file_bytes):
            _write(rows, too_large, job, built, files, index)
    for entry, name in zip(files.entries, index.names, strict=True):
        entry["index"] = name
    days = [moment.as_py().date().isoformat() for moment in built.moments] or [None, None]
    built.figures = {
        "sessions": 0,
        **files.whole,
        "chunks": files.entries,
        "books": built.rejects.balance(raw.rows, files.whole["rows"], elsewhere=built.elsewhere),
        "elsewhere": built.elsewhere,
        "reasons": dict(sorted(built.rejects.counts.items())),
        "first_day": days[0],
        "last_day": days[1],
    }
    return built


def _write(rows: Rows, too_large: bool, job: _Job, built: _Built, files: LinesFiles, index: IndexFiles) -> None:
    """Write the sessions that can be uploaded; the others go to the rejects."""
    most_bytes = job.settings.max_file_bytes
    shown_rows = [*rows[:3], rows[3].cast(pa.large_string())]
    names = ("session_id", "identity", job.settings.user_field, "created_at")
    columns: Columns = dict(zip(names, shown_rows, strict=True))
    lines = lines_of(job.settings.format)(columns)
    if too_large:
        built.giants.add(rows[0][0].as_py(), len(text_bytes(lines)))
        reasons = pa.repeat("session_too_large", len(lines))
        built.rejects.add([*shown_rows, pa.nulls(len(lines), pa.large_string())], reasons)
        return
    sessions = Sessions(rows, shown_rows[3], lines)
    reasons = sessions.refused(most_bytes, job.oldest())
    if reasons is not None:
        for session, size in sessions.larger_than(most_bytes):
            built.giants.add(session, size)
        built.rejects.sift([*shown_rows, pa.nulls(len(lines), pa.large_string())], reasons)
        kept = pc.is_null(reasons)
        rows = [column.filter(kept) for column in rows]
        sessions = Sessions(rows, shown_rows[3].filter(kept), lines.filter(kept))
    built.note_moments(rows[3])
    sessions.write(files, index, most_bytes)


def _good_rows(
    engine: duckdb.DuckDBPyConnection, raw: Raw, job: _Job, drop_floats: frozenset[str], built: _Built
) -> Iterator[Rows]:
    """Sorted rows that are accepted and belong here, once each; the others are counted."""
    belonging = Belonging(job.window) if job.window else None
    before: list[pa.Scalar] = [pa.scalar(None)] * len(COLUMNS)
    for batch in sorted_rows(engine, raw, job.settings, job.now):
        reasons = reasons_of(batch, job.settings.max_id_bytes)
        for name in sorted(drop_floats):
            reasons = mark(reasons, pc.match_substring_regex(batch[name], FLOAT_PRINTED), "float_printed")
        rows: Rows = batch.columns[:4]
        if reasons is not None:
            refused = pc.is_valid(reasons)
            _refuse(built, job, shown(batch, refused), reasons.filter(refused), batch["moment"].filter(refused))
            rows = [column.filter(pc.invert(refused)) for column in rows]
        built.floats.update(name for name, column in zip(_IDS, rows, strict=False) if count_floats(column))
        if belonging:
            ours = pa.array(belonging.rows(rows[0], rows[3]))
            built.elsewhere += len(ours) - ours.true_count
            rows = [column.filter(ours) for column in rows]
        if len(rows[0]):
            repeated = [same_as_before(column, last) for column, last in zip(rows, before, strict=True)]
            before = [column[-1] for column in rows]
            duplicates = pc.and_(pc.and_(*repeated[:2]), pc.and_(*repeated[2:]))
            yield _without(rows, duplicates, built.rejects)


def _without(rows: Rows, duplicates: pa.Array, rejects: Rejects) -> Rows:
    if not duplicates.true_count:
        return rows
    found = [column.filter(duplicates) for column in rows]
    nothing = pa.nulls(len(found[0]), pa.large_string())
    rejects.add([*found[:3], found[3].cast(pa.large_string()), nothing], pa.repeat(DUPLICATE, len(nothing)))
    return [column.filter(pc.invert(duplicates)) for column in rows]


def _refuse(built: _Built, job: _Job, rows: list[pa.Array], reasons: pa.Array, moments: pa.Array) -> None:
    """Reject rows, but those that another run will reject."""
    if job.window:
        here = pa.array(job.window.holds(microseconds(moments)))
        built.elsewhere += len(here) - here.true_count
        rows, reasons = [column.filter(here) for column in rows], reasons.filter(here)
    built.rejects.add(rows, reasons)


def _refuse_too_many(figures: Mapping[str, Any], job: _Job) -> None:
    """Stop if much is wrong; rows that the publisher's own rules exclude are not."""
    books, reasons = figures["books"], figures["reasons"]
    excluded = sum(reasons.get(reason, 0) for reason in _ASKED_FOR)
    judged, wrong = books["extracted"] - books["elsewhere"] - excluded, books["rejected"] - excluded
    if reasons.get("not_a_purchase") and reasons["not_a_purchase"] == books["extracted"] - books["elsewhere"]:
        log.warning("past_transactions.keep matches none of %s rows; is it spelled as the source spells?", excluded)
    if 100 * wrong > job.settings.refuse_reject_percent * judged:
        told = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items() if reason not in _ASKED_FOR)
        raise BadInput(
            f"{wrong:,} of {judged:,} extracted rows were rejected ({told}), more than "
            f"past_transactions.refuse_reject_percent = {job.settings.refuse_reject_percent:g}. Nothing is uploaded. "
            f"See {job.run / 'rejects.parquet'}; mend the query, or raise the limit, and run again."
        )
