"""What ids look like."""

import pyarrow as pa
import pytest

from include.audience.shapes import count_shapes


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ("digits", ["1", "007", "1" * 36]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000", "ABCDEFAB-0000-0000-0000-ABCDEFABCDEF"]),
        ("email", ["a@b.cz", "first.last+tag@sub.example.org", "žluť@kůň.cz"]),
        ("other", ["u1", "-1", "17850.0", "a@b", "@b.cz", "a b@c.cz", "x" * 8 + "-" * 28 + "y", "\uff11\uff12"]),
    ],
)
def test_shapes(shape: str, values: list[str]) -> None:
    expected = {**dict.fromkeys(["digits", "email", "uuid", "other"], 0), shape: len(values)}
    padded = pa.array(["before", *values, "after"], pa.large_string())
    assert count_shapes(padded[1:-1]) == expected


def test_all_rows_are_counted_once() -> None:
    values = ["1", "a@b.cz", "123e4567-e89b-12d3-a456-426614174000", "u1", "2"]
    assert count_shapes(pa.array(values, pa.large_string())) == {"digits": 2, "email": 1, "uuid": 1, "other": 1}
    assert sum(count_shapes(pa.array([], pa.large_string())).values()) == 0
