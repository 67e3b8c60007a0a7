"""Staged rows become the chunks of one user set: checked, exactly de-duplicated, sorted, with books that balance.

DuckDB sorts out of core; one pass over the sorted rows then refuses, drops duplicates, and writes chunks, the
accepted ids and the rejects side by side. The order is that of the ids' bytes, so the same rows give the same
bytes, in whatever order a warehouse returned them. Of an id's rows the one with the smallest recipient is kept.

The rules for ids are in ``include.rules``; here are added ``null_id``, ``not_utf8`` (set aside by
``include.extract``), ``float_printed`` and ``duplicate``. One row, one reason: the first that applies.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.audience.shapes import SHAPES, count_shapes
from include.books import DUPLICATE, Rejects
from include.engine import open_engine
from include.files import ROW_GROUP, LinesFiles, RowsFile, steady
from include.lines import lines_of
from include.neighbours import same_as_before
from include.publishers.audiences import Audience
from include.raw import Raw, read_raw
from include.rules import FLOAT_PRINTED, count_floats, floats_are_a_mishap, mark, refusals
from include.staging import MANIFEST, remove_folder, utc_text, write_json

COLUMNS = ("auth_user_id", "recipient")
ACCEPTED = "accepted.parquet"


def build_audience(run: Path, settings: Audience, as_of: datetime, parts: int) -> dict[str, Any]:
    """Build chunks, ``accepted.parquet``, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run.
        settings: format, chunk size and limits of the publisher.
        as_of: the moment whose audience this is; a guard compares it with the live list's.
        parts: how many parts were to be pulled; the manifest says ``complete`` only if all are there.

    Returns:
        The manifest: the same for the same rows.

    Raises:
        BadInput: nothing was staged, or a staged file is damaged.
        BooksDoNotBalance: a row is neither uploaded nor refused.
    """
    (run / MANIFEST).unlink(missing_ok=True)
    raw = read_raw(run / "raw", parts)
    with open_engine(run / ".work") as engine:
        built = _pass(engine, run, raw, settings, drop_floats=False)
        if built.float_printed and floats_are_a_mishap(engine, "auth_user_id", [str(run / ACCEPTED)]):
            built = _pass(engine, run, raw, settings, drop_floats=True)
    manifest = {
        "kind": "audience",
        "format": settings.format,
        "as_of": utc_text(as_of),
        "complete": raw.complete,
        **built.figures,
        "books": built.books,
        "reasons": dict(sorted(built.reasons.items())),
        "shapes": {shape: built.shapes[shape] for shape in SHAPES},
    }
    write_json(run / MANIFEST, manifest)
    return manifest


@dataclass
class _Built:
    """What one pass over the rows came to."""

    figures: dict[str, Any] = field(default_factory=dict)
    books: dict[str, int] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    float_printed: int = 0


def _pass(engine: duckdb.DuckDBPyConnection, run: Path, raw: Raw, settings: Audience, drop_floats: bool) -> _Built:
    """Write everything but the manifest."""
    remove_folder(run / "chunks")
    built = _Built()
    to_lines = lines_of(settings.format)
    with (
        LinesFiles(run / "chunks", "users", settings.format) as chunks,
        RowsFile(run / ACCEPTED, COLUMNS) as accepted,
        Rejects(run, COLUMNS) as rejects,
    ):
        rejects.add_files(engine, raw.refused)
        for rows, reasons in _judged(engine, raw, settings, drop_floats):
            ids, recipients = rejects.sift(rows, reasons)
            built.shapes.update(count_shapes(ids))
            built.float_printed += count_floats(ids)
            accepted.write(ids, recipients)
            _write_chunks(chunks, to_lines({"auth_user_id": ids}), settings.chunk_rows)
    built.figures = {**chunks.whole, "chunks": chunks.entries, "accepted": accepted.entry}
    built.reasons = rejects.counts
    built.books = rejects.balance(raw.rows, accepted.entry["rows"])
    return built


def _judged(
    engine: duckdb.DuckDBPyConnection, raw: Raw, settings: Audience, drop_floats: bool
) -> Iterator[tuple[list[pa.Array], pa.Array | None]]:
    """Sorted ids and recipients with the reason of each refused row; None if none of the batch is refused."""
    rows = engine.sql(
        "SELECT auth_user_id, recipient FROM read_parquet(?) ORDER BY auth_user_id, recipient", params=[raw.parts]
    )
    before = pa.scalar(None, pa.large_string())
    for batch in steady(rows.to_arrow_reader(ROW_GROUP)):
        ids, recipients = batch.columns
        reasons = refusals(ids, settings.max_id_bytes, reserved=True)
        reasons = mark(reasons, pc.is_null(ids), "null_id")
        if drop_floats:
            reasons = mark(reasons, pc.match_substring_regex(ids, FLOAT_PRINTED), "float_printed")
        reasons = mark(reasons, same_as_before(ids, before), DUPLICATE)
        before = ids[-1]
        yield [ids, recipients], reasons


def _write_chunks(chunks: LinesFiles, lines: pa.Array, chunk_rows: int) -> None:
    """Append lines, going on in the next chunk where one is full."""
    while len(lines):
        room = chunk_rows - chunks.rows_in_open
        chunks.write(lines[:room])
        lines = lines[room:]
        if chunks.rows_in_open == chunk_rows:
            chunks.cut()
