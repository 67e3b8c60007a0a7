r"""What makes a customer, session or product id acceptable; the audience and the transactions share it.

The first rule that applies names the refusal:

- ``empty``: no character at all
- ``surrounding_blanks``: begins or ends with a Unicode space, a zero width space or a byte order mark
- ``control_character``: holds a control character (C0, delete, C1, so newlines and U+0085 too), U+2028 or U+2029
- ``too_long``: more bytes of UTF-8 than the publisher allows
- ``reserved``: the id ``default``, under which Luigi's Box publishes its generic set

Null and ``not_utf8`` are found elsewhere: a null means different things to different columns, and text that is not
UTF-8 never enters a Parquet column (``include.extract``). Ids are bytes: case and Unicode form are left alone.

One more rule needs all ids of a run: see :func:`floats_are_a_mishap`.
"""

import pyarrow as pa
import pyarrow.compute as pc

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
    if pc.all(fine).as_py():
        return None
    return pc.if_else(fine, pa.scalar(None, pa.string()), _explain(values, max_bytes, reserved))


def mark(reasons: pa.Array | None, mask: pa.Array, reason: str) -> pa.Array | None:
    """Give a reason to the rows of the mask that have none yet."""
    if not pc.any(mask).as_py():
        return reasons
    added = pc.if_else(pc.fill_null(mask, False), pa.scalar(reason), pa.scalar(None, pa.string()))
    return added if reasons is None else pc.coalesce(reasons, added)


def _plain(values: pa.Array, max_bytes: int) -> pa.Array:
    """The cheap test that nearly all ids pass: printable ASCII without blanks, short, not the reserved word."""
    length = pc.binary_length(values)
    blank = pc.or_(pc.starts_with(values, " "), pc.ends_with(values, " "))
    bad = pc.or_(pc.or_(pc.equal(length, 0), pc.greater(length, max_bytes)), pc.or_(blank, _is_reserved(values)))
    return pc.and_not(pc.ascii_is_printable(values), bad)


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


def floats_are_a_mishap(float_printed: int, integers: int, decimals: int, others: int) -> bool:
    """Whether ids such as ``17850.0`` are integers that some tool printed as floats.

    They are, when no id carries other decimals (``17850.5``) and at least nine in ten of the remaining ids are
    plain integers; also when nothing remains. The arguments count the distinct ids that pass every other rule.
    """
    return float_printed > 0 and decimals == 0 and integers >= 9 * others
