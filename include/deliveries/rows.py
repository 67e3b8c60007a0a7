"""One part of a batch as rows, recipient by recipient: what every delivery starts from.

Recipients come sorted by id, their products in the order of the batch. A recipient without recommendations of the
wanted types counts as not personalised here, and gets the default set where a delivery wants one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.engine import open_engine
from include.errors import BadInput
from include.objects import arrow
from include.recommendations import layout
from include.staging import local_copy, scratch

SCHEMA = pa.schema(
    [
        ("recipient", pa.string()),
        ("auth_user_id", pa.string()),
        ("personalised", pa.bool_()),
        ("recommendation_type", pa.string()),
        ("rank", pa.int16()),
        ("item_id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("image_link", pa.string()),
        ("recommendation_id", pa.string()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
    ]
)
RECIPIENT = pa.schema(list(SCHEMA)[:3])
BATCH_ROWS = 20_000
_NO_PRODUCTS = pa.schema(list(SCHEMA)[3:]).empty_table()


def part_table(batch: Path, recon: Path, part: int, types: list[str] | None, use_default_set: bool) -> pa.Table:
    """All rows of a part (``SCHEMA``), in memory: those with recommendations of their own first.

    Args:
        batch: a parsed batch.
        recon: its ``for-{user set}`` folder.
        part: number of the part.
        types: only these recommendation types; all if None.
        use_default_set: recipients without recommendations get the rows of the default set.

    Raises:
        BadInput: the part is not there.
    """
    with open_part(batch, recon, part, types) as rows:
        tables = [pa.Table.from_batches(rows.own(), SCHEMA)]
        if use_default_set:
            tables += [_with_default_set(others, rows.default_set) for others in rows.others()]
    return pa.concat_tables(tables)


@dataclass(frozen=True)
class PartRows:
    """One part, opened: streams of Arrow batches, and the default set."""

    database: duckdb.DuckDBPyConnection
    default_set: pa.Table

    def own(self) -> Iterator[pa.RecordBatch]:
        """The recommendations of the recipients who have some (``SCHEMA``), by id, then in the order of the batch."""
        yield from self._stream(
            """
            SELECT recipient, auth_user_id, personalised, own.* EXCLUDE (auth_user_id, file_row_number)
            FROM own JOIN everybody USING (auth_user_id) WHERE personalised
            ORDER BY auth_user_id, file_row_number
            """,
            SCHEMA,
        )

    def others(self) -> Iterator[pa.RecordBatch]:
        """``recipient``, ``auth_user_id`` and ``personalised`` (false) of all who have none, by id."""
        yield from self._stream(
            """
            SELECT recipient, auth_user_id, false AS personalised
            FROM everybody WHERE NOT personalised OR auth_user_id NOT IN (SELECT auth_user_id FROM own)
            ORDER BY auth_user_id
            """,
            RECIPIENT,
        )

    def _stream(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self.database.sql(query).to_arrow_reader(BATCH_ROWS):
            yield batch.cast(schema)


@contextmanager
def open_part(batch: Path, recon: Path, part: int, types: list[str] | None) -> Iterator[PartRows]:
    """Open a part, narrowed to the wanted types; out of core. Its files are read many times: a store gives them once.

    Raises:
        BadInput: the part is not there.
    """
    files = {
        "own": batch / layout.PARTS / layout.part_name(part),
        "everybody": recon / layout.RECIPIENTS / layout.part_name(part),
    }
    for path in files.values():
        if not path.is_file():
            raise BadInput(f"{path}: not there; the step that writes it did not finish. Clear the steps before.")
    with (
        local_copy(files["own"]) as own,
        local_copy(files["everybody"]) as everybody,
        scratch(recon) as work,
        open_engine(work / "engine") as database,
    ):
        everything = database.read_parquet(str(own), file_row_number=True)
        wanted = duckdb.ConstantExpression(True)
        if types is not None:
            wanted = duckdb.ColumnExpression("recommendation_type").isin(*map(duckdb.ConstantExpression, types))
        everything.filter(wanted).create_view("own")
        database.read_parquet(str(everybody)).create_view("everybody")
        yield PartRows(database, _default_set(batch, types))


def _default_set(batch: Path, types: list[str] | None) -> pa.Table:
    path, rows = batch / layout.DEFAULT_SET, _NO_PRODUCTS
    if path.is_file():
        rows = pq.read_table(str(path), filesystem=arrow(path)).select(SCHEMA.names[len(RECIPIENT) :])
    return rows if types is None else rows.filter(pc.is_in(rows["recommendation_type"], pa.array(types, pa.string())))


def _with_default_set(others: pa.RecordBatch, default_set: pa.Table) -> pa.Table:
    """Each of the recipients with each row of the default set."""
    people = pa.Table.from_batches([others]).take(pa.array(np.repeat(np.arange(len(others)), len(default_set))))
    products = default_set.take(pa.array(np.tile(np.arange(len(default_set)), len(others))))
    return pa.table([*people.columns, *products.columns], schema=SCHEMA)
