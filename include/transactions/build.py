"""Staged purchases become files of whole sessions, below a size, with books that balance.

Files are cumulative at the vendor, so what is sent must be recognised when it comes again: DuckDB sorts the rows
(out of core) by session, time, product and user, and the same rows give the same bytes in whatever order a warehouse
returned them. One pass over the sorted rows then refuses, drops exact duplicates and writes.

A row is refused for the first of these that applies: ``no_session``, ``no_identity`` (null or empty), the rules of
``include.rules`` for the session, the product and the user, ``unreadable_time``, ``float_printed``, ``duplicate`` (all
four fields as they would be written); then, with all rows that are left of its session, ``session_too_large`` (larger
than a file) and ``session_of_two_users``. An empty ``user_id`` or ``created_at`` counts as absent.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.books import DUPLICATE, Rejects
from include.engine import open_engine
from include.errors import BadInput
from include.files import LinesFiles, steady
from include.lines import lines_of
from include.neighbours import same_as_before
from include.publishers.senders import Transactions
from include.raw import Raw, read_raw
from include.rules import FLOAT_PRINTED, count_floats, first_reason, floats_are_a_mishap, mark, refusals
from include.staging import MANIFEST, write_json
from include.transactions.sessions import Rows, Sessions, whole_sessions

COLUMNS = ("session_id", "identity", "user_id", "created_at")
_IDS = COLUMNS[:3]
_SORTED = """
    SELECT session_id, identity, user_id, moment, CASE WHEN moment IS NULL THEN came END AS unreadable
    FROM (
        SELECT session_id, identity, user_id, came,
               CASE WHEN moment BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' THEN moment END AS moment
        FROM (
            SELECT session_id, identity, nullif(user_id, '') AS user_id, nullif(created_at, '') AS came,
                   -- a digit first: DuckDB also knows words such as 'epoch'
                   CASE WHEN created_at >= '0' AND created_at < ':'
                        THEN timezone('UTC', try_cast(created_at AS TIMESTAMPTZ)) END AS moment
            FROM read_parquet(?)
        )
    )
    ORDER BY session_id, moment, identity, user_id, unreadable
"""


def build_transactions(run: Path, settings: Transactions, parts: int | None = None) -> dict[str, Any]:
    """Build the files, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run.
        settings: format, file size, time zone and limits of the publisher.
        parts: how many parts were pulled, if known.

    Returns:
        The manifest: the same for the same rows.

    Raises:
        BadInput: parts are missing or damaged, or more rows were refused than the publisher allows.
        BooksDoNotBalance: a row is neither uploaded nor refused.
    """
    (run / MANIFEST).unlink(missing_ok=True)
    raw = read_raw(run / "raw", parts)
    if not raw.complete:
        raise BadInput(
            f"{run / 'raw'}: a part is missing or was not read to its end. Nothing is built: a file of some of the "
            "purchases could never be told apart from the whole one later. Clear the pull tasks of this run."
        )
    with open_engine(run / ".work") as engine:
        engine.execute("SET TimeZone = ?", [settings.time_zone])
        built = _pass(engine, run, raw, settings, frozenset())
        floats = frozenset(column for column in built.floats if floats_are_a_mishap(engine, column, raw.parts))
        if floats:
            built = _pass(engine, run, raw, settings, floats)
    _refuse_too_many(built, run, settings)
    manifest = {"kind": "transactions", "format": settings.format, "complete": True, **built.figures}
    write_json(run / MANIFEST, manifest)
    return manifest


@dataclass(frozen=True)
class _Built:
    """What one pass over the rows came to, and the columns in which values look like printed floats."""

    figures: dict[str, Any]
    floats: set[str]


def _pass(
    engine: duckdb.DuckDBPyConnection, run: Path, raw: Raw, settings: Transactions, drop_floats: frozenset[str]
) -> _Built:
    """Write everything but the manifest."""
    shutil.rmtree(run / "chunks", ignore_errors=True)
    floats: set[str] = set()
    names = ("session_id", "identity", settings.user_field, "created_at")
    to_lines = lines_of(settings.format)
    with LinesFiles(run / "chunks", "transactions", settings.format) as files, Rejects(run, COLUMNS) as rejects:
        rejects.add_files(engine, raw.refused)
        good = _good_rows(engine, raw, settings, drop_floats, rejects)
        for rows, too_large in whole_sessions(good, settings.max_file_bytes):
            if too_large:
                rejects.add(rows, pa.repeat("session_too_large", len(rows[0])))
            else:
                floats.update(name for name, column in zip(_IDS, rows, strict=False) if count_floats(column))
                _write(files, rows, to_lines(dict(zip(names, rows, strict=True))), settings.max_file_bytes, rejects)
    figures = {
        "sessions": 0,
        **files.whole,
        "chunks": files.entries,
        "books": rejects.balance(raw.rows, files.whole["rows"]),
        "reasons": dict(sorted(rejects.counts.items())),
    }
    return _Built(figures, floats)


def _write(files: LinesFiles, rows: Rows, lines: pa.Array, most_bytes: int, rejects: Rejects) -> None:
    """Write the sessions that can be uploaded; the others go to the rejects."""
    sessions = Sessions(rows, lines)
    reasons = sessions.refused(most_bytes)
    if reasons is not None:
        sessions = Sessions(rejects.sift(rows, reasons), lines.filter(pc.is_null(reasons)))
    sessions.write(files, most_bytes)


def _good_rows(
    engine: duckdb.DuckDBPyConnection,
    raw: Raw,
    settings: Transactions,
    drop_floats: frozenset[str],
    rejects: Rejects,
) -> Iterator[Rows]:
    """Sorted rows that pass every rule for rows; the others go to the rejects."""
    before: list[pa.Scalar] = [pa.scalar(None)] * len(COLUMNS)
    for batch in steady(engine.sql(_SORTED, params=[raw.parts]).to_arrow_reader()):
        *ids, moments, unreadable = batch.columns
        rows = [*ids, moments.cast(pa.large_string())]
        reasons = _row_reasons(ids, settings.max_id_bytes)
        reasons = mark(reasons, pc.is_valid(unreadable), "unreadable_time")
        for name, column in zip(_IDS, ids, strict=True):
            if name in drop_floats:
                reasons = mark(reasons, pc.match_substring_regex(column, FLOAT_PRINTED), "float_printed")
        repeated = [same_as_before(column, last) for column, last in zip(rows, before, strict=True)]
        before = [column[-1] for column in rows]
        reasons = mark(reasons, pc.and_(pc.and_(*repeated[:2]), pc.and_(*repeated[2:])), DUPLICATE)
        kept = rejects.sift([*ids, pc.coalesce(rows[3], unreadable)], reasons)
        if len(kept[0]):
            yield kept


def _row_reasons(ids: list[pa.Array], max_bytes: int) -> pa.Array | None:
    sessions, identities, users = ids
    reasons = mark(None, _missing(sessions), "no_session")
    reasons = mark(reasons, _missing(identities), "no_identity")
    for column, is_user in ((sessions, False), (identities, False), (users, True)):
        reasons = first_reason(reasons, refusals(column, max_bytes, reserved=is_user))
    return reasons


def _missing(values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.binary_length(values), 0), True)


def _refuse_too_many(built: _Built, run: Path, settings: Transactions) -> None:
    books = built.figures["books"]
    if 100 * books["rejected"] > settings.refuse_reject_percent * books["extracted"]:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in built.figures["reasons"].items())
        raise BadInput(
            f"{books['rejected']:,} of {books['extracted']:,} extracted rows were rejected ({reasons}), more than "
            f"past_transactions.refuse_reject_percent = {settings.refuse_reject_percent:g}. Nothing is uploaded. See "
            f"{run / 'rejects.parquet'}; mend the query, or raise the limit, and run again."
        )
