"""Text columns become the lines of an upload: JSON Lines, or CSV without a header.

The columns hold no control characters (``include.rules`` refuses them), so only quotes and backslashes are escaped.
What is written to files is in ``include.files``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Columns = Mapping[str, pa.Array]


def lines_of(kind: str) -> Callable[[Columns], pa.Array]:
    """The function that writes lines of a format: ``json`` or ``csv``."""
    return {"json": json_lines, "csv": csv_lines}[kind]


def json_lines(columns: Columns) -> pa.Array:
    """One JSON object a row, fields in the order given, those that are null left out; the first is never null.

    Args:
        columns: arrays of ``large_string``, by field name.
    """
    pieces: list[Any] = []
    for place, (name, values) in enumerate(columns.items()):
        opening = ("{" if place == 0 else ",") + f'"{name}":"'
        escaped = _replace(_replace(values, "\\", "\\\\"), '"', '\\"')
        pieces += [opening, escaped, '"'] if values.null_count == 0 else [_join(opening, escaped, '"')]
    return _join(*pieces, "}\n", skip_nulls=True)


def csv_lines(columns: Columns) -> pa.Array:
    """One row of quoted fields a row; nulls at the end are left out, a null before a value is an empty field.

    Args:
        columns: arrays of ``large_string``, by field name.
    """
    first, *others = (_join('"', _replace(values, '"', '""'), '"') for values in columns.values())
    rest: pa.Array | None = None
    for field in reversed(others):
        last = _join(",", field)
        rest = last if rest is None else pc.coalesce(_join(",", pc.fill_null(field, '""'), rest), last)
    return _join(first, *([] if rest is None else [rest]), "\n", skip_nulls=True)


def _join(*pieces: Any, skip_nulls: bool = False) -> pa.Array:
    typed = [pa.scalar(piece, pa.large_string()) if isinstance(piece, str) else piece for piece in (*pieces, "")]
    return pc.binary_join_element_wise(*typed, null_handling="skip" if skip_nulls else "emit_null")


def _replace(values: pa.Array, old: str, new: str) -> pa.Array:
    """Replace a character that hardly ever occurs."""
    return pc.replace_substring(values, old, new) if old.encode() in bytes(text_bytes(values)) else values


def text_bytes(values: pa.Array) -> memoryview:
    """All text of a ``large_string`` array, end to end, without a copy."""
    borders = text_borders(values)
    data = values.buffers()[2]
    return memoryview(data)[borders[0] : borders[-1]] if data else memoryview(b"")


def text_borders(values: pa.Array) -> npt.NDArray[np.int64]:
    """Where each text of a ``large_string`` array begins in its buffer, and where the last one ends."""
    if not len(values):
        return np.zeros(1, np.int64)  # an empty array may have no buffer
    return np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
