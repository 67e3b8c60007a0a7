"""What customer ids look like; a list whose shapes moved away from the live list's is probably of other ids."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.lines import text_borders

SHAPES = ("digits", "email", "uuid", "other")
_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_HYPHENS = (8, 13, 18, 23)


def count_shapes(ids: pa.Array) -> dict[str, int]:
    """How many ids have each shape.

    ``digits``: ASCII digits only; ``uuid``: 36 bytes with hyphens where a UUID has them; ``email``: something before
    and after one @, with a dot after it; ``other``: the rest.

    Args:
        ids: a ``large_string`` array without nulls and without empty texts.
    """
    left = ids.filter(pc.invert(pc.ascii_is_decimal(ids)))
    counts = {"digits": len(ids) - len(left)}
    like_uuid = _uuids(left)
    left = left.filter(pa.array(~like_uuid))
    counts["uuid"] = int(like_uuid.sum())
    left = left.filter(pc.invert(pc.match_substring_regex(left, _EMAIL)))
    counts["email"] = len(ids) - counts["digits"] - counts["uuid"] - len(left)
    return {**counts, "other": len(left)}


def _uuids(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Which ids are laid out as a UUID; looks at bytes, much faster than a pattern."""
    borders = text_borders(ids)
    found: npt.NDArray[np.bool_] = np.diff(borders) == 36
    if found.any():
        text = np.frombuffer(ids.buffers()[2], np.uint8)
        starts = np.where(found, borders[:-1], 0)
        for place in _HYPHENS:
            found &= text[starts + place] == ord("-")
    return found
