"""What makes an id acceptable: each rule, its order, and the one rule that needs the whole column."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.rules import count_floats, floats_are_a_mishap, refusals


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("u1", None),
        ("a b", None),
        ('q"\\', None),
        ("žluť", None),
        ("e\u0301", None),
        ("🍌" * 2, None),
        ("x" * 12, None),
        (None, None),
        ("Default", None),
        ("", "empty"),
        (" ", "surrounding_blanks"),
        (" u1", "surrounding_blanks"),
        ("u1 ", "surrounding_blanks"),
        ("u1\u00a0", "surrounding_blanks"),
        ("\u3000u1", "surrounding_blanks"),
        ("\ufeffu1", "surrounding_blanks"),
        ("u1\u200b", "surrounding_blanks"),
        (" a\nb", "surrounding_blanks"),
        ("u1\n", "control_character"),
        ("u1\r", "control_character"),
        ("\tu1", "control_character"),
        ("a\x00b", "control_character"),
        ("a\x7fb", "control_character"),
        ("a\x85b", "control_character"),
        ("a\u2028b", "control_character"),
        ("a\u2029", "control_character"),
        ("\n" * 20, "control_character"),
        ("x" * 13, "too_long"),
        ("ž" * 7, "too_long"),
        ("default", "reserved"),
    ],
)
def test_each_rule(value: str | None, reason: str | None) -> None:
    values = pa.array([None, value, "fine"], pa.large_string())
    found = refusals(values.slice(1), 12, reserved=True)
    assert (None if found is None else found.to_pylist()) == (None if reason is None else [reason, None])


def test_the_reserved_id_is_refused_only_where_it_matters() -> None:
    found = refusals(pa.array(["default", ""], pa.large_string()), 12)
    assert found.to_pylist() == [None, "empty"]


def test_no_values_no_reasons() -> None:
    assert refusals(pa.array([], pa.large_string()), 12) is None


@pytest.mark.parametrize(
    ("values", "mishap"),
    [
        (["17850.0", "1", "2"], True),
        (["17850.0", "-3.00"], True),
        (["1.0"] + ["7"] * 9 + ["guest"], True),
        (["1.0"] + ["7"] * 8 + ["guest"], False),
        (["1.0", "1.5"] + ["7"] * 9, False),
        (["1.0", "a", "b"], False),
        (["1", "2"], False),
        ([None], False),
    ],
)
def test_printed_floats_are_a_mishap_among_integers(tmp_path: Path, values: list[str], mishap: bool) -> None:
    pq.write_table(pa.table({"x": pa.array(values, pa.string())}), tmp_path / "x.parquet")
    with duckdb.connect() as engine:
        assert floats_are_a_mishap(engine, "x", [str(tmp_path / "x.parquet")]) is mishap


def test_what_looks_like_a_printed_float() -> None:
    values = ["1.0", "-17850.00", "10", "1.50", "a.0", "0", None, ".0", "1.0 "]
    assert count_floats(pa.array(values, pa.large_string())) == 2
