"""The books of a platform's delivery: every recipient is in exactly one of four sums, and who was refused is kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.deliveries import confirmed
from include.deliveries.part import CHANGES, COMPARED, DONE, REFUSED, REJECTS, REPEATED, Part, copy, engine, quoted
from include.errors import BooksDoNotBalance
from include.staging import atomic_write, read_json, write_json

SUMS = ("recipients", "sent", "unchanged", "kept", "set_aside", "left", "left_set_aside", "cleared", "defaulted")
_REFUSED = pa.schema([("row", pa.int64()), ("reason", pa.string())])


def settle(part: Part, refused: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Remember what was sent, keep who was refused with the reason, and close the part's own books.

    Args:
        part: all of whose changes are settled.
        refused: rows of the changes that the platform did not take, each with a reason.

    Returns:
        the figures in ``SUMS``; ``default_set``: 1 if that was sent; and ``rows``, the changes that were taken.

    Raises:
        BooksDoNotBalance: recipients went missing.
    """
    table = pa.Table.from_pylist([{"row": row, "reason": reason} for row, reason in refused], _REFUSED)
    path = part.folder / REFUSED
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
    confirmed.confirm(part, path)
    with engine(part) as database:
        database.read_parquet(str(part.folder / CHANGES)).create_view("changes")
        database.read_parquet(str(path)).create_view("refused")
        _keep_rejects(database, part.folder)
        figures = _figures(database, read_json(part.folder / COMPARED))
    _check(figures, str(part.folder))
    write_json(part.folder / DONE, figures)
    return figures


def total(parts: list[dict[str, Any]]) -> dict[str, int]:
    """The sums of the parts' figures.

    Raises:
        BooksDoNotBalance: a recipient is in none of the sums, or in two.
    """
    sums = {name: sum(figures[name] for figures in parts) for name in SUMS}
    _check(sums, "the delivery")
    return sums


def _keep_rejects(database: duckdb.DuckDBPyConnection, folder: Path) -> None:
    query = f"""
        SELECT recipient, reason FROM refused JOIN changes USING (row)
        UNION ALL SELECT * FROM read_parquet('{quoted(folder / REPEATED)}') ORDER BY ALL
        """
    with atomic_write(folder / REJECTS) as temporary:
        copy(database, query, temporary)


def _figures(database: duckdb.DuckDBPyConnection, compared: dict[str, Any]) -> dict[str, int]:
    # Those who left come last in the order of the changes.
    row = database.execute(
        """
        SELECT count(*) FILTER (ok), count(*) FILTER (ok AND row < $here AND state <> 'default_set'),
               count(*) FILTER (NOT ok AND row < $here AND state <> 'default_set'),
               count(*) FILTER (NOT ok AND row >= $here), count(*) FILTER (ok AND state = 'cleared'),
               count(*) FILTER (ok AND state = 'default'), count(*) FILTER (ok AND state = 'default_set')
        FROM (SELECT row, state, row NOT IN (SELECT row FROM refused) AS ok FROM changes)
        """,
        {"here": compared["changes"] - compared["left"]},
    ).fetchone()
    assert row
    names = ("rows", "sent", "set_aside", "left_set_aside", "cleared", "defaulted", "default_set")
    figures = dict(zip(names, row, strict=True))
    figures["set_aside"] += compared["repeated"]
    return figures | {name: compared[name] for name in ("recipients", "unchanged", "kept", "left")}


def _check(sums: dict[str, int], what: str) -> None:
    if sums["recipients"] != sums["sent"] + sums["unchanged"] + sums["kept"] + sums["set_aside"]:
        raise BooksDoNotBalance(f"{what}: recipients do not add up: {sums}. Nothing is announced; report this.")
