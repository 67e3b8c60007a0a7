"""The entrance: rows of any cursor or list file become Parquet columns of text, batch by batch.

Here values of databases get their one spelling as text, and rows that cannot be text at all are set aside with
their reason. Whether an id is *acceptable* is decided later, in ``include.audience.build`` and
``include.transactions.build``. Memory is that of one batch, whatever the number of rows.

Spelling: integers and whole decimals as digits, floats as Python prints them (``17850.0`` stays visible), bytes
as UTF-8, dates and times as ISO-8601 with the offset they carry, booleans as ``true`` and ``false``, NULL and NaN
as null.
"""

import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.errors import BadInput
from include.staging import atomic_write, write_json

LONGEST = 65_535  # bytes; no id may be longer, whatever the publisher's limit, so nothing longer is carried on
Batches = Iterable[Sequence[Sequence[Any]]]


class Record(TypedDict):
    """What one part holds; it is written last, so its existence is the commit."""

    rows: int
    refused: int
    complete: bool
    columns: list[str]


def write_rows(
    batches: Batches,
    columns: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    raw: Path,
    part: int,
    ignore: Sequence[str] = (),
) -> Record:
    """Write rows as ``part-NNNNN.parquet`` with its ``refused-`` sister and its record; a rerun replaces all three.

    Args:
        batches: rows as a cursor gives them, some at a time.
        columns: names of the rows' values, in order; upper and lower case are the same.
        required: columns that must be there.
        optional: columns that are written as null where they are missing.
        raw: the folder ``raw`` of a run.
        part: number of this part, from 0.
        ignore: columns that may come and are not kept, such as a partition key.

    Raises:
        BadInput: columns are missing, unknown or doubled, or a value has a type that is no scalar.
    """
    places = _match(columns, required, optional, ignore)
    record_path = raw / f"part-{part:05d}.json"
    record_path.unlink(missing_ok=True)
    rows = refused = 0
    with (
        atomic_write(raw / f"part-{part:05d}.parquet") as part_path,
        atomic_write(raw / f"refused-{part:05d}.parquet") as refused_path,
        pq.ParquetWriter(part_path, _schema(places)) as part_file,
        pq.ParquetWriter(refused_path, _schema([*places, "reason"])) as refused_file,
    ):
        for batch in batches:
            good, bad = _as_text(batch, places)
            part_file.write_table(good)
            if bad.num_rows:
                refused_file.write_table(bad)
            rows += good.num_rows
            refused += bad.num_rows
    record: Record = {"rows": rows, "refused": refused, "complete": True, "columns": list(columns)}
    write_json(record_path, dict(record))
    return record


def _schema(names: Iterable[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _match(
    columns: Sequence[str], required: Sequence[str], optional: Sequence[str], ignore: Sequence[str]
) -> dict[str, int | None]:
    """For each wanted column its place among those that came, or None."""
    came = [name.casefold() for name in columns]
    known = {name.casefold() for name in (*required, *optional, *ignore)}
    missing = [name for name in required if name.casefold() not in came]
    unknown = [name for name in columns if name.casefold() not in known]
    doubled = sorted({name for name in came if came.count(name) > 1})
    if missing or unknown or doubled:
        wanted = ", ".join(required) + (f" and, if there, {', '.join(optional)}" if optional else "")
        found = ", ".join(columns) or "none"
        raise BadInput(
            f"columns: found {found}; wanted {wanted}"
            + "".join(
                f"; {what}: {', '.join(names)}"
                for what, names in (("missing", missing), ("unknown", unknown), ("twice", doubled))
                if names
            )
            + ". Nothing was staged. Name the columns in the query (SELECT … AS …)."
        )
    return {name: came.index(name.casefold()) if name.casefold() in came else None for name in (*required, *optional)}


def _as_text(batch: Sequence[Sequence[Any]], places: dict[str, int | None]) -> tuple[pa.Table, pa.Table]:
    """One batch as a table of text, and the rows that cannot be text."""
    try:
        values = list(zip(*batch, strict=True))
    except ValueError:
        raise BadInput("rows of one batch differ in their number of values; the source is not a table") from None
    arrays: dict[str, pa.Array] = {}
    bad: dict[int, str] = {}
    for name, place in places.items():
        if place is None or not batch:
            arrays[name] = pa.nulls(len(batch), pa.string())
        else:
            arrays[name], faults = _column(name, values[place])
            bad |= faults
    refused = [
        {name: None if place is None else _shown(values[place][row]) for name, place in places.items()}
        | {"reason": bad[row]}
        for row in sorted(bad)
    ]
    table = pa.table(arrays)
    if bad:
        table = table.filter(pa.array([row not in bad for row in range(len(batch))]))
    return table, pa.Table.from_pylist(refused, _schema([*places, "reason"]))


def _column(name: str, values: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    """One column as text, with the numbers of the rows that cannot be, and why."""
    quick = _quick(values)
    if quick is not None:
        return quick, {}
    texts: list[str | None] = []
    bad: dict[int, str] = {}
    for row, value in enumerate(values):
        text = None
        try:
            text = _text(value)
            if text is not None and len(text.encode()) > LONGEST:
                text, bad[row] = None, "too_long"
        except UnicodeError:
            text, bad[row] = None, "not_utf8"
        except ValueError:  # an integer of more digits than Python prints
            bad[row] = "too_long"
        except TypeError:
            raise BadInput(
                f"column {name}: came a value of type {type(value).__name__}; allowed are text, numbers, dates, "
                "UUIDs and bytes. Nothing was staged. Cast the column to text in the query."
            ) from None
        texts.append(text)
    return pa.array(texts, pa.string()), bad


def _quick(values: Sequence[Any]) -> pa.Array | None:
    """A column all of text, or all of integers; None if it must be looked at value by value."""
    types = set(map(type, values)) - {type(None)}
    try:
        if types == {int}:
            return pa.array(values, pa.int64()).cast(pa.string())
        if types <= {str}:
            texts = pa.array(values, pa.large_string())
            longest = pc.max(pc.binary_length(texts)).as_py() or 0
            return texts.cast(pa.string()) if longest <= LONGEST else None
    except (OverflowError, UnicodeEncodeError):
        pass  # an integer of more than 64 bits, or a lone surrogate somewhere
    return None


def _float(value: float) -> str | None:
    return None if math.isnan(value) else repr(value)


def _decimal(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if not value.is_finite() or abs(value.adjusted()) > 1000:  # never a million zeros
        return str(value)
    whole = value.to_integral_value()
    return format(whole if value == whole else value, "f")


_SPELLINGS: list[tuple[type | tuple[type, ...], Callable[[Any], str | None]]] = [
    (str, str),
    (bool, lambda value: "true" if value else "false"),
    (int, int.__str__),
    (float, _float),
    (Decimal, _decimal),
    ((bytes, bytearray, memoryview), lambda value: bytes(value).decode()),
    ((dt.date, dt.time), lambda value: value.isoformat()),  # a datetime is a date
    (uuid.UUID, str),
]


def _text(value: Any) -> str | None:
    """The one spelling of a value.

    Raises:
        UnicodeError: bytes that are not UTF-8.
        ValueError: an integer of more digits than Python prints.
        TypeError: not a scalar.
    """
    if value is None:
        return None
    for kinds, spell in _SPELLINGS:
        if isinstance(value, kinds):
            return spell(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return _text(value.item())
    raise TypeError(type(value).__name__)


def _shown(value: Any) -> str | None:
    """A value for the file of rejects, whatever it is; at most 1,000 characters of it."""
    try:
        text = _text(value)
        return None if text is None else text[:1000].encode("utf-8", "backslashreplace").decode()
    except UnicodeError:
        return bytes(value)[:1000].decode("utf-8", "backslashreplace")
    except ValueError:
        return f"an integer of {value.bit_length()} bits"
