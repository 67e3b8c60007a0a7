"""Reading an index of units: in the order of the keys, in pieces, with little memory however long it is."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from include.engine import open_engine
from include.errors import BadInput
from include.objects import arrow

KEY_BYTES = 16
PIECE = 50_000
_AT_ONCE = 4 * PIECE
_MEMORY = "256MB"
PLACED = pa.schema(
    {
        "place": pa.int64(),
        "key": pa.binary(KEY_BYTES),
        "content": pa.int64(),
        "rows": pa.int64(),
        "day": pa.int32(),
    }
)
_SORTED = """
    SELECT file_row_number::BIGINT AS place, key, content::BIGINT AS content, rows::BIGINT AS rows, day::INTEGER AS day
    FROM read_parquet(?, file_row_number = true) ORDER BY key
"""


def count(index: Path | pa.Table) -> int:
    """How many units an index lists.

    Raises:
        BadInput: it is missing or unreadable.
    """
    if isinstance(index, pa.Table):
        return int(index.num_rows)
    try:
        return int(pq.read_metadata(str(index), filesystem=arrow(index)).num_rows)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise BadInput(f"{index}: not readable as an index ({error}). Clear the step that builds it.") from error


def pieces(index: Path | pa.Table) -> Iterator[pa.Table]:
    """The units of an index in the order of their keys, some ten thousand at a time.

    Neighbours in the index of the database lie together, so each of its pages is touched once.

    Args:
        index: a Parquet file or a table with the columns key, content, rows and day.

    Returns:
        Tables with these columns and ``place``, the row's number in the index.

    Raises:
        BadInput: it has other columns, or a unit without a key.
    """
    whole = index if isinstance(index, pa.Table) else None
    try:
        if whole is None and count(index) <= _AT_ONCE:
            whole = pq.read_table(str(index), filesystem=arrow(index), columns=PLACED.names[1:])
        sorted_pieces = _of_table(whole) if whole is not None else _of_file(index)
        for piece in sorted_pieces:
            if piece["key"].null_count:
                raise BadInput(f"index {_name(index)}: a unit has no key; nothing was changed")
            yield piece
    except (duckdb.OutOfMemoryException, duckdb.IOException):  # nothing is wrong with the index
        raise
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError, duckdb.Error) as error:
        raise BadInput(f"index {_name(index)}: not as it should be ({error}); nothing was changed") from error


def _of_table(table: pa.Table) -> Iterator[pa.Table]:
    columns = [_places(table.num_rows), *(table[name] for name in PLACED.names[1:])]
    placed = pa.table(columns, names=PLACED.names).cast(PLACED).sort_by("key").combine_chunks()
    for start in range(0, placed.num_rows, PIECE):
        yield placed.slice(start, PIECE)


def _places(number: int) -> pa.Array:
    return pa.array(np.arange(number))


def _of_file(path: Path) -> Iterator[pa.Table]:
    with open_engine(path.with_name(f".{path.name}.{secrets.token_hex(6)}.sort"), _MEMORY) as engine:
        for batch in engine.sql(_SORTED, params=[str(path)]).to_arrow_reader(PIECE):
            yield pa.table(batch).cast(PLACED)


def _name(index: Path | pa.Table) -> str:
    return "in memory" if isinstance(index, pa.Table) else str(index)


def packed(keys: pa.ChunkedArray) -> bytes:
    """Keys, one behind the other."""
    return b"".join(
        chunk.buffers()[1][chunk.offset * KEY_BYTES : (chunk.offset + len(chunk)) * KEY_BYTES].to_pybytes()
        for chunk in keys.chunks
    )


def unpacked(keys: bytes) -> pa.Table:
    """What :func:`packed` gave, as a piece that has keys alone."""
    number = len(keys) // KEY_BYTES
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), number, [None, pa.py_buffer(keys)])
    nothing = [pa.nulls(number, PLACED.field(name).type) for name in ("content", "rows", "day")]
    return pa.table([_places(number), array, *nothing], schema=PLACED)


def columns(piece: pa.Table) -> tuple[list[int], list[bytes], list[int | None], list[int | None]]:
    """Places, keys, contents and days of a piece as lists; not by ``to_pylist``, which takes four times as long."""
    keys = packed(piece["key"])
    return (
        piece["place"].to_numpy().tolist(),
        [keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)],
        _integers(piece["content"]),
        _integers(piece["day"]),
    )


def _integers(column: pa.ChunkedArray) -> list[int | None]:
    found: list[int | None] = column.to_pylist() if column.null_count else column.to_numpy().tolist()
    return found
