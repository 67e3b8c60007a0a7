"""What is to be sent: what everybody should have, held against what the platform confirmed earlier."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import md5
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.deliveries.confirmed import load_known
from include.deliveries.part import CHANGES, COMPARED, REPEATED, Part, copy, engine, load_listed
from include.objects import arrow
from include.staging import atomic_write, find_json, open_whole, scratch, write_json

SHARED = "recipient_repeated"
"""Reason: another customer of the list has the same recipient, and counts."""
_ROWS = 5_000
_NAMES = [(name, pa.string()) for name in ("auth_user_id", "recipient", "state")]
_WANTED = pa.schema([*_NAMES, ("fields", pa.list_(pa.string())), ("contents", pa.list_(pa.string()))])
_CHANGES = pa.schema([("row", pa.int64()), *_WANTED])


class Wanted(NamedTuple):
    """What a recipient should have: field and value as text. Without fields it keeps what it has."""

    auth_user_id: str
    recipient: str
    state: str
    fields: dict[str, str]


class Change(NamedTuple):
    """A recipient to be written; ``row`` numbers the changes of the part."""

    row: int
    recipient: str
    state: str
    fields: dict[str, str]


def compare(part: Part, wanted: Iterable[Wanted], instead: Wanted | None = None) -> dict[str, Any]:
    """Find what is to be sent, once; a retry gets what the first try found.

    Args:
        part: whose changes.
        wanted: what every recipient of the part should have.
        instead: what those get who were delivered earlier and are not in the list any more; None: left alone.

    Returns:
        ``changes`` (rows of ``changes``), ``recipients`` = ``changed`` + ``unchanged`` + ``kept`` + ``repeated``, and
        ``left``; and ``id``, of the comparison.
    """
    if found := find_json(part.folder / COMPARED):
        return found
    with engine(part) as database, scratch(part.folder) as work:
        path = work / "wanted.parquet"
        _write_wanted(path, wanted)
        database.read_parquet(str(path), file_row_number=True).create_view("wanted")
        load_listed(database, part)
        load_known(database, part)
        _find(database)
        _find_left(database, instead)
        _write_changes(part.folder / CHANGES, chain(_changed(database, path), _left(database, instead)))
        with atomic_write(part.folder / REPEATED) as temporary:
            copy(database, f"SELECT recipient, '{SHARED}' AS reason FROM repeated ORDER BY ALL", temporary)
        figures = {**_figures(database), "id": token_hex(4)}
    write_json(part.folder / COMPARED, figures)
    return figures


def changes(part: Part, start: int = 0, end: int | None = None) -> Iterator[Change]:
    """The changes from row ``start`` to before row ``end``, in order; memory holds some thousands of them."""
    path = part.folder / CHANGES
    with pq.ParquetFile(str(path), filesystem=arrow(path)) as file:
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first + rows > start and (end is None or first < end):
                for batch in file.iter_batches(batch_size=1_000, row_groups=[group]):
                    for row in batch.to_pylist():
                        if row["row"] >= start and (end is None or row["row"] < end):
                            yield Change(row["row"], row["recipient"], row["state"], _fields(row))
            first += rows


def _fields(row: dict[str, Any]) -> dict[str, str]:
    return dict(zip(row["fields"], row["contents"], strict=True))


def _write_wanted(path: Path, wanted: Iterable[Wanted]) -> None:
    """Out of memory, so that it can be read twice: narrowly to compare, and once more for the changes."""
    with pq.ParquetWriter(path, _WANTED) as writer:
        everybody = iter(wanted)
        while some := list(islice(everybody, _ROWS)):
            rows = [(*one[:3], list(one.fields), list(one.fields.values())) for one in some]
            writer.write_batch(_batch(zip(*rows, strict=True)))


def _batch(columns: Iterable[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _WANTED.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_WANTED)


def _find(database: duckdb.DuckDBPyConnection) -> None:
    """Tables ``repeated``, ``pending`` and ``changed``; values take part as hashes alone, so that all fits."""
    database.execute(
        """
        CREATE TABLE repeated AS SELECT auth_user_id, recipient FROM wanted JOIN listed USING (recipient)
        WHERE auth_user_id <> owner AND state <> 'default_set'
        """
    )
    database.execute(
        """
        CREATE TABLE pending AS SELECT place, recipient, state, field, md5(value) AS hash FROM (
            SELECT file_row_number AS place, recipient, state, unnest(fields) AS field, unnest(contents) AS value
            FROM wanted ANTI JOIN repeated USING (auth_user_id, recipient))
        """
    )
    database.execute(
        """
        CREATE TABLE changed AS SELECT DISTINCT place, pending.state
        FROM pending LEFT JOIN known USING (recipient, field)
        WHERE known.hash IS DISTINCT FROM pending.hash
        """
    )


def _find_left(database: duckdb.DuckDBPyConnection, instead: Wanted | None) -> None:
    """Table ``gone``: only fields that were delivered, and only if one of them holds something else by now."""
    fields = instead.fields if instead else {}
    database.execute(
        """
        CREATE TABLE gone AS
        SELECT min(known.auth_user_id) AS auth_user_id, recipient, list(field ORDER BY field) AS fields FROM known
        JOIN (SELECT unnest($fields::VARCHAR[]) AS field, unnest($hashes::VARCHAR[]) AS hash) AS new USING (field)
        ANTI JOIN listed USING (recipient)
        WHERE known.state <> 'default_set'
        GROUP BY recipient HAVING bool_or(known.hash IS DISTINCT FROM new.hash)
        """,
        {"fields": list(fields), "hashes": [_hash(value) for value in fields.values()]},
    )


def _hash(value: str) -> str:
    """As DuckDB's ``md5``."""
    return md5(value.encode(), usedforsecurity=False).hexdigest()


def _write_changes(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    rows = 0
    with open_whole(path) as file, pq.ParquetWriter(file, _CHANGES, compression="zstd") as writer:
        for batch in batches:
            numbers = pa.array(range(rows, rows + len(batch)), pa.int64())
            writer.write_batch(pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=_CHANGES))
            rows += len(batch)


def _changed(database: duckdb.DuckDBPyConnection, wanted: Path) -> Iterator[pa.RecordBatch]:
    """What is wanted of those whose fields changed, in the order in which it was given."""
    places = database.sql("SELECT place FROM changed ORDER BY place").fetchnumpy()["place"]
    first = 0
    for batch in pq.ParquetFile(wanted).iter_batches(_ROWS):
        low, high = places.searchsorted([first, first + len(batch)])
        if high > low:
            yield batch.take(pa.array(places[low:high] - first))
        first += len(batch)


def _left(database: duckdb.DuckDBPyConnection, instead: Wanted | None) -> Iterator[pa.RecordBatch]:
    """What those get who left, by recipient."""
    query = "SELECT auth_user_id, recipient, fields FROM gone ORDER BY recipient"
    for batch in database.sql(query).to_arrow_reader(_ROWS):
        assert instead
        users, recipients, fields = (column.to_pylist() for column in batch.columns)
        contents = [[instead.fields[name] for name in names] for names in fields]
        yield _batch((users, recipients, [instead.state] * len(users), fields, contents))


def _figures(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = database.execute(
        """
        SELECT (SELECT count(*) FROM changed) + (SELECT count(*) FROM gone),
               (SELECT count(*) FROM wanted WHERE state <> 'default_set'),
               (SELECT count(*) FROM changed WHERE state <> 'default_set'),
               (SELECT count(DISTINCT place) FROM pending ANTI JOIN changed USING (place)
                WHERE state <> 'default_set'),
               (SELECT count(*) FROM wanted ANTI JOIN repeated USING (auth_user_id)
                WHERE len(fields) = 0 AND state <> 'default_set'),
               (SELECT count(*) FROM repeated), (SELECT count(*) FROM gone)
        """
    ).fetchone()
    assert row
    names = ("changes", "recipients", "changed", "unchanged", "kept", "repeated", "left")
    return dict(zip(names, row, strict=True))
