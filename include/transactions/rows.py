"""Staged purchases one by one: what each row says, why it is refused, and the order in which rows are read.

DuckDB parses and sorts, out of core; the same rows come in the same order, whatever the order of the source. A row is
refused for the first of these that applies:

- ``not_a_purchase``: no pattern of ``keep`` matches; ``cancelled``: one of ``drop`` does. Neither matches a null.
- ``no_session``, ``no_identity`` (null or empty), and the rules of ``include.rules`` for session, product and user
- ``float_printed``: one of these three looks like ``17850.0``. Each row is judged by itself: in another window it would
  have other neighbours, and so its session another content.
- ``unreadable_time``: none, or one before the year 2000, because DuckDB reads two digits of a year as the first
  century, and exports write 1900 or 0001 for none; ``unreadable_quantity`` (no number), ``quantity_not_positive``;
  ``future_time``: more than a day after now

Empty text in ``user_id``, ``created_at`` and ``quantity`` counts as absent.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.errors import BadInput
from include.files import steady
from include.publishers.senders import TRANSACTION_COLUMNS, Transactions, filter_column
from include.raw import Raw
from include.rules import FLOAT_PRINTED, count_floats, first_reason, mark, refusals

_ODD = (
    "not_a_purchase",
    "cancelled",
    "unreadable_time",
    "unreadable_quantity",
    "quantity_not_positive",
    "future_time",
)
_NO_SALE, _QUANTITY = pa.array([0, 1], pa.int8()), pa.array([3, 4], pa.int8())
_MOMENT = """
    -- a digit first: DuckDB also knows words such as 'epoch'
    CASE WHEN {created_at} >= '0' AND {created_at} < ':'
         THEN timezone('UTC', try_cast({created_at} AS TIMESTAMPTZ)) END
"""
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_SORTED = """
    SELECT session_id, identity, user_id, moment, odd::TINYINT AS odd,
           CASE WHEN moment IS NULL AND came IS NOT NULL THEN came WHEN odd IN (3, 4) THEN quantity END AS seen
    FROM (
        SELECT *, CASE WHEN no_sale IS NOT NULL THEN no_sale
                       WHEN moment IS NULL AND came IS NOT NULL THEN 2
                       WHEN quantity IS NOT NULL AND NOT coalesce(isfinite(number), false) THEN 3
                       WHEN number <= 0 THEN 4
                       WHEN moment > $latest THEN 5 END AS odd
        FROM (
            SELECT * EXCLUDE (moment),
                   CASE WHEN moment BETWEEN '2000-01-01' AND '9999-12-31 23:59:59.999999' THEN moment END AS moment,
                   CASE WHEN regexp_full_match(quantity, $number) THEN try_cast(quantity AS DOUBLE) END AS number
            FROM (
                SELECT {session_id} AS session_id, {identity} AS identity, nullif({user_id}, '') AS user_id,
                       nullif({created_at}, '') AS came, nullif({quantity}, '') AS quantity,
                       {moment} AS moment, {no_sale} AS no_sale
                FROM read_parquet($files)
            )
        )
    )
    ORDER BY session_id, moment NULLS LAST, identity, user_id, odd, seen
"""
_REFUSED = """
    SELECT * REPLACE (CASE WHEN moment BETWEEN '2000-01-01' AND '9999-12-31 23:59:59.999999' THEN moment END AS moment)
    FROM (
        SELECT {session_id} AS session_id, {identity} AS identity, {user_id} AS user_id, {created_at} AS created_at,
               {quantity} AS quantity, reason, {moment} AS moment
        FROM read_parquet($files)
    )
    ORDER BY ALL
"""


def sorted_rows(
    engine: duckdb.DuckDBPyConnection, raw: Raw, settings: Transactions, now: datetime
) -> Iterator[pa.RecordBatch]:
    """All staged rows, by session, time, product and user.

    Columns: session_id, identity, user_id, moment (UTC), odd (why a row is refused, a number), and seen: the time or
    the quantity as it came, where that cannot be used.

    Raises:
        BadInput: a column that ``keep`` or ``drop`` look at was not staged.
    """
    columns = _staged(engine, raw.parts[0])
    patterns: dict[str, str] = {}
    query = _of_ours(_SORTED, columns, no_sale=_no_sale(settings, columns, patterns))
    latest = now.replace(tzinfo=None) + timedelta(days=1)
    values: dict[str, Any] = {"files": raw.parts, "latest": latest, "number": _NUMBER, **patterns}
    return steady(engine.sql(query, params=values).to_arrow_reader())


def refused_rows(engine: duckdb.DuckDBPyConnection, raw: Raw) -> Iterator[tuple[list[pa.Array], pa.Array, pa.Array]]:
    """Rows that the extraction had refused, sorted: the columns of the rejects, their reasons, and their times."""
    if raw.refused:
        query = _of_ours(_REFUSED, _staged(engine, raw.refused[0]))
        for batch in steady(engine.sql(query, params={"files": raw.refused}).to_arrow_reader()):
            *rows, reasons, moments = batch.columns
            yield rows, reasons, moments


def reasons_of(batch: pa.RecordBatch, settings: Transactions) -> pa.Array | None:
    """Why rows of :func:`sorted_rows` are refused, null for those that are not; None if none is."""
    sessions, identities, users, _, odd, _ = batch.columns
    told = odd if odd.null_count < len(odd) else None
    reasons = None if told is None else _words(pc.if_else(pc.is_in(told, _NO_SALE), told, None))
    reasons = mark(reasons, _missing(sessions), "no_session")
    reasons = mark(reasons, _missing(identities), "no_identity")
    for column, is_user in ((sessions, False), (identities, False), (users, True)):
        reasons = first_reason(reasons, refusals(column, settings.max_id_bytes, reserved=is_user))
    for column in (sessions, identities, users) if settings.float_ids == "reject" else ():
        if count_floats(column):
            reasons = mark(reasons, pc.match_substring_regex(column, FLOAT_PRINTED), "float_printed")
    return reasons if told is None else first_reason(reasons, _words(told))


def shown(batch: pa.RecordBatch, rows: pa.Array) -> list[pa.Array]:
    """Rows of :func:`sorted_rows` as the rejects show them: the quantity only where it is why they are there."""
    *ids, moments, odd, seen = (column.filter(rows) for column in batch.columns)
    quantities = pc.fill_null(pc.is_in(odd, _QUANTITY), False)
    nothing = pa.scalar(None, seen.type)
    times = pc.coalesce(moments.cast(pa.large_string()), pc.if_else(quantities, nothing, seen))
    return [*ids, times, pc.if_else(quantities, seen, nothing)]


def _words(odd: pa.Array) -> pa.Array:
    return pa.array(_ODD).take(odd)


def _missing(values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.binary_length(values), 0), True)


def _staged(engine: duckdb.DuckDBPyConnection, part: str) -> dict[str, str]:
    """How to name our columns, and all other staged ones by their names in small letters; SQL."""
    columns = engine.sql("FROM read_parquet(?)", params=[part]).columns
    there = {name.casefold(): _quoted(name) for name in columns}
    return dict.fromkeys(TRANSACTION_COLUMNS, "NULL::VARCHAR") | there


def _of_ours(query: str, columns: dict[str, str], **pieces: str) -> str:
    ours = {name: columns[name] for name in TRANSACTION_COLUMNS}
    return query.format(**ours, moment=_MOMENT.format(**ours), **pieces)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _no_sale(settings: Transactions, columns: dict[str, str], patterns: dict[str, str]) -> str:
    """SQL for 0 where ``keep`` does not match, 1 where ``drop`` does; the patterns become parameters."""

    def matches(name: str, wanted: list[str]) -> str:
        column = columns.get(filter_column(settings, name).casefold())
        if column is None:
            raise BadInput(
                f"keep or drop look at the column {name}, which was not staged. Nothing is built. Clear the pull of "
                "this run, so that it is staged."
            )
        tests = []
        for glob in wanted:
            patterns[f"pattern_{len(patterns)}"] = _like(glob)
            tests.append(rf"{column} LIKE $pattern_{len(patterns) - 1} ESCAPE '\'")
        return f"coalesce({' OR '.join(tests) or 'false'}, false)"

    keep = " AND ".join(matches(name, wanted) for name, wanted in settings.keep.items()) or "true"
    drop = " OR ".join(matches(name, wanted) for name, wanted in settings.drop.items()) or "false"
    return f"CASE WHEN NOT ({keep}) THEN 0 WHEN {drop} THEN 1 END"


def _like(glob: str) -> str:
    """``*`` is any text, ``?`` one character, everything else itself."""
    return re.sub(r"[%_\\]", r"\\\g<0>", glob).replace("*", "%").replace("?", "_")
