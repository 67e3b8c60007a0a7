"""One query, or one file with a list, into one staged part: what the operators do, apart from Airflow's contract."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import PipelineError, StoreError, StoreRefused
from warehouse.cursor import stream, warehouse_hook

if TYPE_CHECKING:
    from include.extract import Batches, ByColumns, Record

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Columns:
    """What a staged part holds: columns that must come, that may come, and that may come but are not kept.

    ``order`` is the order of columns in a file without a header; empty: first the required ones, then the others.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    ignore: Sequence[str] = ()
    order: Sequence[str] = ()


@dataclass(frozen=True)
class Query:
    """A rendered query: for whom, through which connection, its text, rows fetched at a time."""

    publisher: str
    connection: str
    sql: str
    batch_rows: int


def pull_query(query: Query, columns: Columns, run: Path, part: int, names: Mapping[str, str] | None = None) -> Record:
    """Stream the rows of a query into part number ``part`` of ``run/raw``, replacing what a former try left.

    Args:
        query: what to ask, and whom.
        columns: what is staged.
        run: the folder of the run.
        part: number of this part.
        names: how our columns are called in the source, where it differs; given (even empty), any other columns may
            come too and are not kept. None: a column that nobody asked for is a mistake.

    Raises:
        ConfigError: the connection cannot be used.
        BadInput: the columns are not those wanted, or hold what is no scalar.
        StoreError, StoreRefused: where the part is staged, not the warehouse, does not do what is asked.
        Exception: what the database driver raises, with a note that names the publisher and the connection.
    """
    where = f"publisher {query.publisher}, connection {query.connection}"
    hook = warehouse_hook(query.connection)
    try:
        with stream(hook, query.sql, query.batch_rows, by_columns=True) as result:
            return _write(result.batches, result.columns, columns, run, part, names)
    except (StoreError, StoreRefused):  # not of the warehouse
        raise
    except PipelineError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        error.add_note(f"{where}: while reading the query for part {part}; nothing of this part was staged")
        raise


def pull_file(path: Path, columns: Columns, run: Path) -> Record:
    """Stream a list in a file (.txt, .csv, .jsonl, .parquet) into part 0 of ``run/raw``.

    Raises:
        BadInput: the file is not there, or not such a list.
    """
    from include.extract import read_ids

    batches, names = read_ids(path)
    return _write(batches, names, columns, run, 0)


def _write(
    batches: Batches,
    came: Sequence[str],
    columns: Columns,
    run: Path,
    part: int,
    names: Mapping[str, str] | None = None,
) -> Record:
    from include.extract import choose, write_places, write_rows

    rows = _progress(batches, part)
    if names is None:
        return write_rows(rows, came, columns.required, columns.optional, run / "raw", part, columns.ignore)
    places = choose(came, columns.required, columns.optional, names)
    return write_places(rows, places, came, run / "raw", part)


def _progress(batches: Batches, part: int) -> Iterator[Sequence[Sequence[Any]] | ByColumns]:
    """Pass batches on; every few seconds and at the end log how many rows went by, and how fast."""
    started = told = time.monotonic()
    rows = 0
    for batch in batches:
        yield batch
        rows += len(batch)
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            log.info("part %d: %s rows so far, %s rows/s", part, f"{rows:,}", f"{rows / (now - started):,.0f}")
    seconds = max(time.monotonic() - started, 1e-3)
    log.info("part %d: %s rows in %.1f s, %s rows/s", part, f"{rows:,}", seconds, f"{rows / seconds:,.0f}")
