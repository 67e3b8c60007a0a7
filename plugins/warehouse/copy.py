"""Arrow columns into a table of PostgreSQL by ``COPY … FROM STDIN``, within the transaction of the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.errors import PipelineError

if TYPE_CHECKING:
    import pyarrow as pa

_OLDEST = 100_000  # of PostgreSQL itself: Redshift speaks its protocol as version 8, and copies from files only
_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


def is_postgres(connection: Any, *drivers: str) -> bool:
    """Whether this is a connection to PostgreSQL itself, by one of these drivers."""
    return type(connection).__module__.partition(".")[0] in drivers and connection.info.server_version >= _OLDEST


def copies(connection: Any) -> bool:
    """Whether this is a connection of psycopg 3 to PostgreSQL."""
    return is_postgres(connection, "psycopg")


def copy_in(cursor: Any, table: str, columns: Sequence[str], batches: Iterable[Sequence[pa.Array | pa.Scalar]]) -> None:
    """Append rows to a table.

    Args:
        cursor: of psycopg 3.
        table: as it may stand in SQL.
        columns: names of its columns.
        batches: for each column an array, or a scalar that all rows have; at least one is an array.

    Raises:
        PipelineError: the server counted other rows than were sent.
        psycopg.Error: what the server says.
    """
    sent = 0
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (ENCODING 'UTF8')") as copy:
        for batch in batches:
            text, rows = _lines(batch)
            copy.write(text)
            sent += rows
    if cursor.rowcount != sent:
        raise PipelineError(f"table {table}: {cursor.rowcount:,} rows arrived of {sent:,}")


def plain(value: Any) -> Any:
    """A value that every driver takes the same way."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value


def _lines(columns: Sequence[pa.Array | pa.Scalar]) -> tuple[bytes, int]:
    """Rows in COPY's own text format, and how many they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tab, newline, nothing = (pa.scalar(mark, pa.large_string()) for mark in ("\t", "\n", ""))
    *firsts, last = map(_text, columns)
    lines = pc.binary_join_element_wise(*firsts, pc.binary_join_element_wise(last, newline, nothing), tab)
    _, offsets, data = lines.buffers()
    end = memoryview(offsets).cast("q")[len(lines)]
    return bytes(memoryview(data)[:end]), len(lines)


def _text(column: pa.Array | pa.Scalar) -> pa.Array | pa.Scalar:
    """The values as COPY reads them; NULL is its own mark."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.Scalar):
        return _text(pa.array([column.as_py()]))[0]
    if not pa.types.is_string(column.type):
        coded = column.dictionary_encode()
        texts = [None if value is None else str(plain(value)) for value in coded.dictionary.to_pylist()]
        column = pa.array(texts, pa.string()).take(coded.indices)
    column = column.cast(pa.large_string())
    for mark, escaped in _ESCAPES:
        if pc.any(pc.match_substring(column, mark)).as_py():
            column = pc.replace_substring(column, mark, escaped)
    return pc.fill_null(column, "\\N")
