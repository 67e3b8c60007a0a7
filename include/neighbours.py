"""Looking at neighbours in sorted columns: how duplicates and the borders of sessions are found in one pass."""

import pyarrow as pa
import pyarrow.compute as pc


def same_as_before(values: pa.Array, before: pa.Scalar) -> pa.Array:
    """For each value whether it equals the one before it; nulls equal nulls.

    Args:
        values: one batch of a column.
        before: the last value of the batch before; a null for the first batch.
    """
    if not len(values):
        return pa.array([], pa.bool_())
    first = values[0].equals(before)
    rest = pc.equal(values[1:], values[:-1])
    if rest.null_count:
        missing = pc.is_null(values)
        rest = pc.fill_null(rest, pc.and_(missing[1:], missing[:-1]))
    return pa.concat_arrays([pa.array([first]), rest])
