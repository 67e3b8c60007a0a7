"""What is to be sent: what everybody should have, held against what the platform confirmed earlier."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.deliveries.confirmed import load_known
from include.deliveries.part import CHANGES, COMPARED, REPEATED, Part, copy, engine, load_listed
from include.staging import atomic_write, read_json, write_json

SHARED = "recipient_repeated"
"""Reason: another customer of the list has the same recipient, and counts."""
_ROWS = 20_000
_WANTED = pa.schema([(name, pa.string()) for name in ("auth_user_id", "recipient", "state", "field", "value")])


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


def compare(part: Part, wanted: Iterable[Wanted], instead: Wanted | None = None) -> dict[str, int]:
    """Find what is to be sent, once; a retry gets what the first try found.

    Args:
        part: whose changes.
        wanted: what every recipient of the part should have.
        instead: what those get who were delivered earlier and are not in the list any more; None: left alone.

    Returns:
        ``changes`` (rows of ``changes``), ``recipients`` = ``changed`` + ``unchanged`` + ``kept`` + ``repeated``, and
        ``left``.
    """
    if (part.folder / COMPARED).exists():
        return dict(read_json(part.folder / COMPARED))
    with engine(part) as database, TemporaryDirectory(prefix=".work-", dir=part.folder) as work:
        database.read_parquet(str(_written(Path(work) / "wanted.parquet", wanted))).create_view("wanted")
        load_listed(database, part)
        load_known(database, part)
        _find(database, instead)
        with atomic_write(part.folder / CHANGES) as temporary:
            copy(database, "SELECT * FROM changes ORDER BY row", temporary)
        with atomic_write(part.folder / REPEATED) as temporary:
            copy(database, f"SELECT recipient, '{SHARED}' AS reason FROM repeated ORDER BY ALL", temporary)
        figures = _figures(database)
    write_json(part.folder / COMPARED, figures)
    return figures


def changes(part: Part, start: int = 0, end: int | None = None) -> Iterator[Change]:
    """The changes from row ``start`` to before row ``end``, in order; memory holds some thousands of them."""
    file = pq.ParquetFile(part.folder / CHANGES)
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


def _written(path: Path, wanted: Iterable[Wanted]) -> Path:
    """A row for each field of each recipient; who has none gets one row without a field."""
    with pq.ParquetWriter(path, _WANTED) as writer:
        rows: list[tuple[str | None, ...]] = []
        for one in wanted:
            names = (one.auth_user_id, one.recipient, one.state)
            rows += [(*names, *pair) for pair in one.fields.items()] or [(*names, None, None)]
            if len(rows) >= _ROWS:
                _write(writer, rows)
                rows = []
        _write(writer, rows)
    return path


def _write(writer: pq.ParquetWriter, rows: list[tuple[str | None, ...]]) -> None:
    if rows:
        columns = zip(*rows, strict=True)
        writer.write_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=_WANTED))


def _find(database: duckdb.DuckDBPyConnection, instead: Wanted | None) -> None:
    """Tables ``repeated``, ``pending``, ``changed``, ``gone`` and ``changes``."""
    database.execute(
        """
        CREATE TABLE repeated AS SELECT DISTINCT auth_user_id, recipient FROM wanted JOIN listed USING (recipient)
        WHERE auth_user_id <> owner AND state <> 'default_set'
        """
    )
    database.execute(
        """
        CREATE TABLE pending AS
        SELECT wanted.* FROM wanted ANTI JOIN repeated USING (auth_user_id, recipient) WHERE field IS NOT NULL
        """
    )
    database.execute(
        """
        CREATE TABLE changed AS SELECT DISTINCT pending.recipient FROM pending
        LEFT JOIN known ON pending.recipient = known.recipient AND pending.field = known.field
        WHERE known.hash IS DISTINCT FROM md5(pending.value)
        """
    )
    database.execute("CREATE TABLE gone AS SELECT * FROM pending WHERE false")
    if instead:
        _find_left(database, instead)
    database.execute(
        """
        CREATE TABLE changes AS
        SELECT row_number() OVER (ORDER BY list_position, recipient) - 1 AS row, * EXCLUDE (list_position) FROM (
            SELECT min(auth_user_id) AS auth_user_id, recipient, state, list(field ORDER BY field) AS fields,
                   list(value ORDER BY field) AS contents, list_position
            FROM (SELECT *, 0 AS list_position FROM pending SEMI JOIN changed USING (recipient)
                  UNION ALL SELECT *, 1 FROM gone)
            GROUP BY recipient, state, list_position)
        """
    )


def _find_left(database: duckdb.DuckDBPyConnection, instead: Wanted) -> None:
    """Table ``gone``: only fields that were delivered, and only if one of them holds something else by now."""
    database.execute(
        """
        CREATE OR REPLACE TABLE gone AS
        SELECT known.auth_user_id, recipient, $state AS state, field, new.value FROM known
        JOIN (SELECT unnest($fields::VARCHAR[]) AS field, unnest($contents::VARCHAR[]) AS value) AS new USING (field)
        ANTI JOIN listed USING (recipient)
        WHERE known.state <> 'default_set'
        QUALIFY bool_or(known.hash IS DISTINCT FROM md5(new.value)) OVER (PARTITION BY recipient)
        """,
        {"state": instead.state, "fields": list(instead.fields), "contents": list(instead.fields.values())},
    )


def _figures(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = database.execute(
        """
        SELECT (SELECT count(*) FROM changes),
               (SELECT count(DISTINCT auth_user_id) FROM wanted WHERE state <> 'default_set'),
               (SELECT count(DISTINCT recipient) FROM pending SEMI JOIN changed USING (recipient)
                WHERE state <> 'default_set'),
               (SELECT count(DISTINCT recipient) FROM pending ANTI JOIN changed USING (recipient)
                WHERE state <> 'default_set'),
               (SELECT count(*) FROM wanted ANTI JOIN repeated USING (auth_user_id)
                WHERE field IS NULL AND state <> 'default_set'),
               (SELECT count(*) FROM repeated), (SELECT count(DISTINCT recipient) FROM gone)
        """
    ).fetchone()
    assert row
    names = ("changes", "recipients", "changed", "unchanged", "kept", "repeated", "left")
    return dict(zip(names, row, strict=True))
