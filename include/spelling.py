"""The one spelling that a value of a database gets as text.

Integers and whole decimals as digits, floats as Python prints them (``17850.0`` stays visible), bytes as UTF-8, dates
and times as ISO-8601 with the offset they carry, booleans as ``true`` and ``false``, NULL and NaN as null.
"""

import datetime as dt
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.errors import BadInput

LONGEST = 65_535  # bytes; no id may be longer, whatever the publisher's limit, so nothing longer is carried on


def text_column(name: str, values: Sequence[Any] | pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """One column as text, with the numbers of the rows that cannot be text and why: ``not_utf8``, ``too_long``.

    An array is text already.

    Raises:
        BadInput: a value is no scalar; the sentence names the column and the type.
    """
    if isinstance(values, pa.Array):
        longest = pc.max(pc.binary_length(values)).as_py() or 0
        if longest <= LONGEST:
            return values, {}
        values = values.to_pylist()
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
    return None if math.isnan(value) else float.__repr__(value)  # not NumPy's repr


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
    ((dt.date, dt.time), lambda value: value.isoformat()),
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
    if getattr(value, "shape", None) == ():  # a NumPy scalar
        return _text(value.item())
    raise TypeError(type(value).__name__)


def shown(value: Any) -> str | None:
    """A value for the file of rejects, whatever it is; at most 1,000 characters of it."""
    if isinstance(value, pa.StringScalar):
        value = value.as_py()
    try:
        text = _text(value)
        return None if text is None else text[:1000].encode("utf-8", "backslashreplace").decode()
    except UnicodeError:
        return bytes(value)[:1000].decode("utf-8", "backslashreplace")
    except ValueError:
        return f"an integer of {value.bit_length()} bits"
