"""Guests who registered: staged pairs of users become lines, one transfer each.

A row is refused for the first of these that applies: ``no_from_user``, ``no_to_user`` (null or empty), the rules of
``include.rules``, ``same_user``, ``two_targets`` (a guest that would become two customers: all rows of that guest),
``chain`` (a user who is a guest in one row and a customer in another: nobody can say in which order that was meant).
Rows that say the same as another one are a ``duplicate``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.books import DUPLICATE, Rejects
from include.files import LinesFiles, steady
from include.interactions.reading import staged_rows
from include.neighbours import same_as_before
from include.publishers.senders import Interactions
from include.rules import first_reason, mark, refusals

COLUMNS = ("from_user_id", "to_user_id")
_PAIRS = """
    WITH pairs AS (SELECT from_user_id, to_user_id FROM read_parquet(?)),
         real AS (SELECT DISTINCT * FROM pairs
                  WHERE from_user_id <> '' AND to_user_id <> '' AND from_user_id <> to_user_id),
         guests AS (SELECT from_user_id, count(*) > 1 AS two_targets FROM real GROUP BY 1),
         customers AS (SELECT DISTINCT to_user_id FROM real)
    SELECT pairs.from_user_id, pairs.to_user_id,
           CASE WHEN pairs.from_user_id = pairs.to_user_id THEN 'same_user'
                WHEN guests.two_targets THEN 'two_targets'
                WHEN pairs.from_user_id IN (FROM customers) OR
                     pairs.to_user_id IN (SELECT from_user_id FROM guests) THEN 'chain' END AS why,
           '{"from_user_id":' || to_json(pairs.from_user_id) || ',"to_user_id":' || to_json(pairs.to_user_id) || '}'
               || chr(10) AS line
    FROM pairs LEFT JOIN guests USING (from_user_id)
    ORDER BY ALL
"""


def build_transfers(run: Path, settings: Interactions) -> dict[str, Any]:
    """Build ``lines/pairs-00000.jsonl``, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run's transfers.
        settings: of the publisher; it has transfers.

    Returns:
        The manifest: the same for the same rows.

    Raises:
        BadInput: the part is missing or damaged, or more rows were refused than the publisher allows.
        BooksDoNotBalance: a row is neither sent nor refused.
    """
    with staged_rows(run, COLUMNS) as staged, LinesFiles(run / "lines", "pairs", "jsonl") as files:
        for lines in _good_lines(staged.engine, staged.raw.parts, settings.max_id_bytes, staged.rejects):
            files.write(lines)
    figures = {**files.whole, "chunks": files.entries}
    return staged.commit({"kind": "transfers"}, figures, settings.refuse_reject_percent)


def _good_lines(
    engine: duckdb.DuckDBPyConnection, parts: list[str], max_bytes: int, rejects: Rejects
) -> Iterator[pa.Array]:
    before: pa.Scalar = pa.scalar(None, pa.large_string())
    for batch in steady(engine.sql(_PAIRS, params=[parts]).to_arrow_reader(65_536)):
        reasons = None
        for name, missing in zip(COLUMNS, ("no_from_user", "no_to_user"), strict=True):
            reasons = mark(reasons, pc.fill_null(pc.equal(pc.binary_length(batch[name]), 0), True), missing)
        for name in COLUMNS:
            reasons = first_reason(reasons, refusals(batch[name], max_bytes))
        reasons = first_reason(reasons, batch["why"])
        reasons = mark(reasons, same_as_before(batch["line"], before), DUPLICATE)
        before = batch["line"][-1]
        rows = [batch[name] for name in COLUMNS]
        rejects.sift(rows, reasons)
        yield batch["line"] if reasons is None else batch["line"].filter(pc.is_null(reasons))
