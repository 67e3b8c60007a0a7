"""Staged rows become interactions as the vendor documents them, one JSON object a line, with books that balance.

A row is refused for the first of these that applies: ``no_user``, ``no_item`` (null or empty), the rules of
``include.rules`` for user, item and recommendation id, ``float_printed`` (user or item looks like ``17850.0``; each row
is judged by itself, since in another run it would have other neighbours), ``no_timestamp``,
``unreadable_timestamp``, ``timestamp_in_seconds``, ``timestamp_in_microseconds``, ``timestamp_out_of_range``,
``value_not_allowed`` and the like (a field that this type does not have), ``no_value`` (of a rating), ``bad_value``,
``bad_price``, ``bad_amount``, ``bad_duration``. Of rows that say the same one is kept, the others are ``duplicate``.

What somebody did with an item at a moment is one interaction: of rows with the same user, item and time that say
otherwise of it the first in the order of the lines is kept, the others are ``contradicts_another_row``.

A time is a number of milliseconds since 1970, or a date. Numbers of seconds or microseconds are dates thousands of
years off when they are read as milliseconds; so a time must lie between the year 2000 and tomorrow. The vendor would
take an interaction without a time; here it is refused, because it would teach a wrong time, and nobody could tell a
second one from the first one sent twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.books import DUPLICATE, Rejects
from include.files import steady
from include.interactions.reading import staged_rows
from include.interactions.units import write_units
from include.neighbours import same_as_before
from include.publishers.senders import INTERACTION_COLUMNS, Interactions, InteractionSource, InteractionType
from include.rules import FLOAT_PRINTED, count_floats, first_reason, mark, refusals

FIELDS: Mapping[InteractionType, tuple[str, ...]] = {
    "purchase": ("price", "amount"),
    "view": ("duration",),
    "cart_addition": ("price", "amount"),
    "bookmark": (),
    "rating": ("value",),
}
"""What a type has besides user, item, time and recommendation. That ``value`` is for ratings alone is documented; for
the others it is what their names say."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATER = timedelta(days=1)
CONTRADICTION = "contradicts_another_row"
_BATCH_ROWS = 65_536
_MOST = {"value": 5, "price": 1e12, "amount": 1e12, "duration": 1e12}
_KEY = """'{"user_id":' || to_json(user_id) || ',"item_id":' || to_json(item_id) || ',"timestamp":' || moment"""
_NUMBER = "[-+]?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]+)?"


def build_interactions(
    run: Path, source: InteractionSource, settings: Interactions, now: datetime | None = None
) -> dict[str, Any]:
    """Build the units, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run's source.
        source: type and time zone of the rows.
        settings: limits of the publisher.
        now: interactions later than a day after this are refused; the present moment if not given.

    Returns:
        The manifest: the same for the same rows.

    Raises:
        BadInput: the part is missing or damaged, or more rows were refused than the publisher allows.
        BooksDoNotBalance: a row is neither sent nor refused.
    """
    latest = (now or datetime.now(UTC)) + LATER
    with staged_rows(run, INTERACTION_COLUMNS) as staged:
        staged.engine.execute("SET TimeZone = ?", [source.time_zone])
        query = staged.engine.sql(_query(source.type, latest), params=[staged.raw.parts])
        units = write_units(run, source.type, _good_rows(query.to_arrow_reader(_BATCH_ROWS), settings, staged.rejects))
    about = {"kind": "interactions", "type": source.type, "source": source.name}
    return staged.commit(about, units, settings.refuse_reject_percent)


def _good_rows(reader: Iterable[pa.RecordBatch], settings: Interactions, rejects: Rejects) -> Iterator[pa.RecordBatch]:
    """Sorted rows that pass every rule, as lines; the others go to the rejects."""
    before = key = pa.scalar(None, pa.large_string())
    for batch in steady(reader):
        reasons = first_reason(_id_reasons(batch, settings), batch["why"])
        left = _sifted(batch, reasons, rejects)
        if len(left):
            repeated = same_as_before(left["line"], before)
            before = left["line"][-1]
            reasons = mark(pa.nulls(len(left), pa.string()), repeated, DUPLICATE)
            same = same_as_before(left["key"], key)
            key = left["key"][-1]
            left = _sifted(left, mark(reasons, same, CONTRADICTION), rejects)
        if len(left):
            yield left.select(["key", "line", "moment"])


def _sifted(batch: pa.RecordBatch, reasons: pa.Array, rejects: Rejects) -> pa.RecordBatch:
    """The rows without a reason; the others go to the rejects as they came."""
    refused = pc.is_valid(reasons)
    if pc.any(refused).as_py():
        rows = batch.filter(refused)
        rejects.add([rows[f"came_{name}"] for name in INTERACTION_COLUMNS], reasons.filter(refused))
        return batch.filter(pc.invert(refused))
    return batch


def _id_reasons(batch: pa.RecordBatch, settings: Interactions) -> pa.Array | None:
    reasons = None
    for name, missing in (("came_user_id", "no_user"), ("came_item_id", "no_item")):
        reasons = mark(reasons, pc.fill_null(pc.equal(pc.binary_length(batch[name]), 0), True), missing)
    for name in ("came_user_id", "came_item_id", "recommendation_id"):
        reasons = first_reason(reasons, refusals(batch[name], settings.max_id_bytes))
    for name in ("came_user_id", "came_item_id") if settings.float_ids == "reject" else ():
        if count_floats(batch[name]):
            reasons = mark(reasons, pc.match_substring_regex(batch[name], FLOAT_PRINTED), "float_printed")
    return reasons


def _query(kind: InteractionType, latest: datetime) -> str:
    """All rows, sorted: as they came, ``key``, ``line`` and ``moment``, and ``why`` they are refused.

    A line begins with its key, so lines of one key are neighbours.
    """
    came = ", ".join(f'"{name}" AS came_{name}' for name in INTERACTION_COLUMNS)
    given = ", ".join(f"nullif(came_{name}, '') AS {name}_text" for name in INTERACTION_COLUMNS)
    numbers = ", ".join(
        # + 0.0: there is no minus zero
        f"CASE WHEN regexp_full_match({name}_text, '{_NUMBER}') "
        f"THEN try_cast({name}_text AS DOUBLE) + 0.0 END AS {name}"
        for name in FIELDS[kind]
    )
    return f"""
        SELECT {", ".join(f"came_{name}" for name in INTERACTION_COLUMNS)}, recommendation_id, moment,
               {_KEY} AS key, {_line(kind)} AS line, {_why(kind, latest)} AS why
        FROM (
            SELECT *, came_user_id AS user_id, came_item_id AS item_id, recommendation_id_text AS recommendation_id,
                   {f"{numbers}," if numbers else ""} coalesce(digits, written) AS moment
            FROM (
                SELECT *,
                       CASE WHEN regexp_full_match(timestamp_text, '-?[0-9]{{1,18}}([.]0+)?')
                            THEN try_cast(split_part(timestamp_text, '.', 1) AS BIGINT) END AS digits,
                       CASE WHEN regexp_matches(timestamp_text, '^[0-9]{{4}}-')
                            THEN epoch_ms(try_cast(timestamp_text AS TIMESTAMPTZ)) END AS written
                FROM (SELECT *, {given} FROM (SELECT {came} FROM read_parquet(?)))
            )
        )
        ORDER BY moment, line, {", ".join(f"came_{name}" for name in INTERACTION_COLUMNS)}
    """


def _line(kind: InteractionType) -> str:
    """SQL for the JSON object; a number has one spelling, whatever it had before."""
    pieces = [_KEY, """coalesce(',"recommendation_id":' || to_json(recommendation_id), '')"""]
    spelled = "regexp_replace({name}::VARCHAR, '[.]0$', '')"
    pieces += [f"""coalesce(',"{name}":' || {spelled.format(name=name)}, '')""" for name in FIELDS[kind]]
    return " || ".join((*pieces, "'}' || chr(10)"))


def _why(kind: InteractionType, latest: datetime) -> str:
    """SQL for the first reason that time and numbers give."""
    first, last = _milliseconds(EARLIEST), _milliseconds(latest)
    cases = {
        "timestamp_text IS NULL": "no_timestamp",
        "moment IS NULL": "unreadable_timestamp",
        f"digits BETWEEN {first // 1000} AND {last // 1000}": "timestamp_in_seconds",
        f"digits BETWEEN {first * 1000} AND {last * 1000}": "timestamp_in_microseconds",
        f"moment NOT BETWEEN {first} AND {last}": "timestamp_out_of_range",
    }
    for name, most in _MOST.items():
        if name not in FIELDS[kind]:
            cases[f"{name}_text IS NOT NULL"] = f"{name}_not_allowed"
            continue
        if name == "value":
            cases["value_text IS NULL"] = "no_value"
        whole = " OR duration <> floor(duration)" if name == "duration" else ""
        bad = f"{name} IS NULL OR {name} NOT BETWEEN 0 AND {most}{whole}"
        cases[f"{name}_text IS NOT NULL AND ({bad})"] = f"bad_{name}"
    return "CASE " + " ".join(f"WHEN {condition} THEN '{reason}'" for condition, reason in cases.items()) + " END"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
