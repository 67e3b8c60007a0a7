r"""What makes a customer, session or product id acceptable; the audience and the transactions share it.

The first rule that applies names the refusal:

- ``empty``: no character at all
- ``surrounding_blanks``: begins or ends with a Unicode space, a zero width space or a byte order mark
- ``control_character``: holds a control character (C0, delete, C1, so newlines and U+0085 too), U+2028 or U+2029
- ``too_long``: more bytes of UTF-8 than the publisher allows
- ``reserved``: the id ``default``, under which Luigi's Box publishes its generic set

Null and ``not_utf8`` are found elsewhere: a null means different things to different columns, and text that is not
UTF-8 never enters a Parquet column (``include.extract``). Ids are bytes: case and Unicode form are left alone.

One more rule of the audience needs all ids of a run: see :func:`floats_are_a_mishap`. Purchases are told apart from one
run to the next by their content, so there ids such as ``17850.0`` are refused or kept whatever else came.
"""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.lines import text_bytes

RESERVED_ID = "default"
FLOAT_PRINTED = r"^-?[0-9]+\.0+$"
_BLANK = r"[\p{Zs}\x{200B}\x{FEFF}]"
_CONTROL = r"[\p{Cc}\x{2028}\x{2029}]"


def refusals(values: pa.Array, max_bytes: int, reserved: bool = False) -> pa.Array | None:
    """The reason for each value, null where it is acceptable or null itself; None if all are acceptable.

    Args:
        values: an array of ``large_string``.
        max_bytes: the longest acceptable value, in bytes of UTF-8.
        reserved: whether the reserved id is refused here.
    """
    fine = pc.fill_null(_plain(values, max_bytes), True)
    if pc.all(fine, min_count=0).as_py():
        return None
    reasons = pc.if_else(fine, pa.scalar(None, pa.string()), _explain(values, max_bytes, reserved))
    return reasons if reasons.null_count < len(reasons) else None


def mark(reasons: pa.Array | None, mask: pa.Array, reason: str) -> pa.Array | None:
    """Give a reason to the rows of the mask that have none yet; a null in the mask is no."""
    if not pc.any(mask).as_py():
        return reasons
    return first_reason(reasons, pc.if_else(pc.fill_null(mask, False), pa.scalar(reason), pa.scalar(None, pa.string())))


def first_reason(reasons: pa.Array | None, later: pa.Array | None) -> pa.Array | None:
    """Row by row the first reason there is; None stands for no reason in any row."""
    if reasons is None or later is None:
        return later if reasons is None else reasons
    return pc.coalesce(reasons, later)


def _plain(values: pa.Array, max_bytes: int) -> pa.Array:
    """The cheap test that nearly all ids pass: printable ASCII without blanks at the ends, short, not reserved."""
    length = pc.binary_length(values)
    fine = pc.and_not(pc.and_(pc.greater(length, 0), pc.less_equal(length, max_bytes)), _is_reserved(values))
    text = np.frombuffer(text_bytes(values), np.uint8)
    if len(text) and text.min() > ord(" ") and text.max() <= ord("~"):
        return fine  # no blank anywhere, so no need to look at each id
    blank = pc.or_(pc.starts_with(values, " "), pc.ends_with(values, " "))
    return pc.and_(pc.and_not(pc.ascii_is_printable(values), blank), fine)


def _explain(values: pa.Array, max_bytes: int, reserved: bool) -> pa.Array:
    rules = {
        "empty": pc.equal(pc.binary_length(values), 0),
        "surrounding_blanks": pc.match_substring_regex(values, f"^{_BLANK}|{_BLANK}$"),
        "control_character": pc.match_substring_regex(values, _CONTROL),
        "too_long": pc.greater(pc.binary_length(values), max_bytes),
        "reserved": pc.and_(_is_reserved(values), pa.scalar(reserved)),
    }
    masks = pc.make_struct(*(pc.fill_null(mask, False) for mask in rules.values()), field_names=list(rules))
    return pc.case_when(masks, *(pa.scalar(reason) for reason in rules))


def _is_reserved(values: pa.Array) -> pa.Array:
    return pc.equal(values, pa.scalar(RESERVED_ID, values.type))


def count_floats(values: pa.Array) -> int:
    """How many values look like ``17850.0``; hardly ever is one looked at closely."""
    if b".0" not in bytes(text_bytes(values)):
        return 0
    candidates = values.filter(pc.and_not(pc.ends_with(values, "0"), pc.ascii_is_decimal(values)))
    return int(pc.sum(pc.match_substring_regex(candidates, FLOAT_PRINTED)).as_py() or 0)


def floats_are_a_mishap(engine: duckdb.DuckDBPyConnection, column: str, files: list[str]) -> bool:
    """Whether values such as ``17850.0`` are integers that some tool printed as floats.

    They are, when no value carries other decimals (``17850.5``) and at least nine in ten of the remaining values are
    plain integers; also when nothing remains. Looks at the whole column of Parquet files.
    """
    counted = engine.execute(
        f"""
        SELECT count(*) FILTER (float_printed), count(*) FILTER (NOT float_printed AND decimal),
               count(*) FILTER (NOT decimal AND integer), count(*) FILTER (NOT decimal AND NOT integer)
        FROM (SELECT regexp_matches({column}, ?) AS float_printed,
                     regexp_matches({column}, '^-?[0-9]+\\.[0-9]+$') AS decimal,
                     regexp_matches({column}, '^-?[0-9]+$') AS integer
              FROM read_parquet(?) WHERE {column} IS NOT NULL)
        """,
        [FLOAT_PRINTED, files],
    ).fetchall()
    float_printed, decimals, integers, others = counted[0]
    return bool(float_printed > 0 and decimals == 0 and integers >= 9 * others)
