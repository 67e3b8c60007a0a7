"""Parquet files, by row groups: only the columns that are wanted, as the text of ``include.spelling``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.errors import BadInput
from include.spelling import shown, text_column
from include.staging import scratch
from include.tabular.blocks import blocks
from include.tabular.part import Part

BATCH_ROWS = 50_000
_EXACT = 2.0**53  # from here on a float has no digit behind the point, and Python writes an exponent sooner or later


def read_parquet(path: Path, zipped: bool, part: Part) -> Iterator[None]:
    """Read one Parquet file into the part; what is yielded is only the chance to stop.

    Raises:
        BadInput: it is not a whole Parquet file, a column is missing, or one holds what is no scalar.
    """
    try:
        with (
            scratch(part.workplace.parent) as folder,
            pq.ParquetFile(_unzipped(path, folder) if zipped else path) as file,
        ):
            places = part.wanted.places(file.schema_arrow.names)
            wanted = {name: file.schema_arrow.field(place) for name, place in places.items() if place is not None}
            for name, field in wanted.items():
                if pa.types.is_nested(field.type):
                    raise BadInput(
                        f"column {part.wanted.called(name)} is of type {field.type}; allowed are text, numbers, dates, "
                        "times, true and false, and bytes. Write out what is inside as columns of their own."
                    )
            columns = sorted({field.name for field in wanted.values()})
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                _take(part, {name: batch.column(field.name) for name, field in wanted.items()}, batch.num_rows)
                yield
    except pa.ArrowInvalid as error:
        raise BadInput(f"not a whole Parquet file ({str(error)[:200]}).") from error
    except OSError as error:  # Arrow's error for damaged pages
        raise BadInput(f"the Parquet file cannot be read ({str(error)[:200]}).") from error


def _unzipped(path: Path, workplace: Path) -> Path:
    plain = workplace / "plain.parquet"
    with plain.open("wb") as handle:
        for block in blocks(path, zipped=True):
            handle.write(block)
    return plain


def _take(part: Part, columns: dict[str, pa.Array], rows: int) -> None:
    """Hand on rows as text; those that cannot be text are refused."""
    texts: dict[str, pa.Array] = {}
    bad: dict[int, str] = {}
    for name, column in columns.items():
        text = _quick(column)
        if text is None:
            text, faults = text_column(part.wanted.called(name), _values(column))
            bad |= faults
        texts[name] = text
    if bad:
        numbers = pa.array(sorted(bad))
        refused = {name: [shown(value) for value in _values(column.take(numbers))] for name, column in columns.items()}
        nothing = [None] * len(bad)
        part.refuse(
            [pa.array(refused.get(name, nothing), pa.string()) for name in part.wanted.columns],
            pa.array([bad[number] for number in sorted(bad)], pa.string()),
        )
        keep = pa.array([number not in bad for number in range(rows)])
        texts = {name: text.filter(keep) for name, text in texts.items()}
    part.add(texts, rows - len(bad))


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.binary())  # text that lies about being UTF-8 must not end in an error
    if pa.types.is_float32(column.type):
        column = _short_floats(column)
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    if column.type.unit == "ns":
        column = _microseconds(column)
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return [_time(value) for value in column]


def _time(value: pa.TimestampScalar) -> Any:
    """A time, or text where its year is none of Python's: nobody can read that as a time, and the row is refused."""
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return value.cast(pa.timestamp(value.type.unit)).cast(pa.string()).as_py()


def _short_floats(column: pa.Array) -> pa.Array:
    """Floats of 32 bits as the doubles of the shortest text that gives them: ``12.1``, not ``12.100000381469727``.

    Whole ones stay exact, as :func:`_whole_floats` writes them.
    """
    exact = column.cast(pa.float64())
    return pc.if_else(_whole(exact), exact, column.cast(pa.string()).cast(pa.float64()))


def _quick(column: pa.Array) -> pa.Array | None:
    """A column as text without looking at each value in Python; None where that does not serve."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return None
        return column
    if pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _whole_floats(column)
    if pa.types.is_timestamp(kind):
        return _times(column)
    return None


def _whole_floats(column: pa.Array) -> pa.Array | None:
    """Floats that are whole numbers, as Python prints them; None if others are among them."""
    values = column.cast(pa.float64())
    if not pc.all(_whole(values), min_count=0).as_py():
        return None
    negative_zero = pc.and_(pc.equal(values, 0.0), pc.less(pc.divide(1.0, values), 0.0))
    if pc.any(negative_zero).as_py():
        return None
    return pc.binary_join_element_wise(values.cast(pa.int64()).cast(pa.string()), "0", ".")


def _whole(values: pa.Array) -> pa.Array:
    return pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), _EXACT))


def _microseconds(column: pa.Array) -> pa.Array:
    """Times cut to microseconds.

    Raises:
        pa.ArrowInvalid: one is too far off.
    """
    return pc.cast(column, options=pc.CastOptions(pa.timestamp("us", column.type.tz), allow_time_truncate=True))


def _times(column: pa.Array) -> pa.Array | None:
    """Times as ISO-8601, with the offset if the column has a zone, as Python's ``isoformat`` writes them."""
    zone = column.type.tz
    try:
        utc = _microseconds(column)
        local = pc.local_timestamp(utc) if zone else utc
        years = pc.min_max(pc.year(local)).as_py()
    except pa.ArrowInvalid:
        return None
    if years["min"] is not None and not 1 <= years["min"] <= years["max"] <= 9999:
        return None
    text = pc.replace_substring(local.cast(pa.string()), " ", "T", max_replacements=1)
    text = pc.replace_substring_regex(text, r"\.000000$", "")
    if not zone:
        return text
    ahead = pc.subtract(local.cast(pa.int64()), utc.cast(pa.int64()))
    known = pc.dictionary_encode(ahead)
    offsets = pa.array([_offset(each) for each in known.dictionary.to_pylist()], pa.string())
    return pc.binary_join_element_wise(text, offsets.take(known.indices), "")


def _offset(microseconds: int) -> str:
    seconds = abs(microseconds) // 1_000_000
    rest = f":{seconds % 60:02d}" if seconds % 60 else ""
    return f"{'-' if microseconds < 0 else '+'}{seconds // 3600:02d}:{seconds // 60 % 60:02d}{rest}"
