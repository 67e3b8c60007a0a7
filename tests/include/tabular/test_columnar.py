"""Parquet files get the spelling that a query's values get."""

import datetime as dt
import gzip
import io
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.errors import BadInput
from include.spelling import text_column

from .test_delimited import stage

MOMENT = dt.datetime(2017, 3, 26, 0, 59, 59, 120000, dt.UTC)
PRAGUE = ZoneInfo("Europe/Prague")


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=2)
    return out.getvalue()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["x", "", None, "é"], pa.string()),
        (["x", None], pa.large_string()),
        (["x", None, "x"], pa.dictionary(pa.int8(), pa.string())),
        ([1, None, -(2**62)], pa.int64()),
        ([255], pa.uint8()),
        ([17850.0, None, -3.0, 9e15], pa.float64()),
        ([1.5, 1e16, 0.1, float("nan"), float("inf"), -0.0], pa.float64()),
        ([17850.0], pa.float32()),
        ([True, False, None], pa.bool_()),
        ([Decimal("17850.00"), Decimal("1.50"), None], pa.decimal128(9, 2)),
        ([dt.date(2017, 1, 2), None], pa.date32()),
        ([MOMENT.replace(tzinfo=None), dt.datetime(1, 1, 1), None], pa.timestamp("us")),
        ([MOMENT.replace(microsecond=0, tzinfo=None)], pa.timestamp("s")),
        ([MOMENT, None], pa.timestamp("us", "UTC")),
        ([uuid.UUID(int=5).bytes.hex().encode()], pa.binary()),
        ([None, None], pa.null()),
    ],
)
def test_values_are_spelled_as_those_of_a_query(values: list[Any], kind: pa.DataType, tmp_path: Path) -> None:
    array = pa.array(values, kind)
    rows, refused = stage(tmp_path, ("x.parquet", parquet(a=array, c=array)))
    assert [row[0] for row in rows] == text_column("a", array.to_pylist())[0].to_pylist()
    assert refused == []


def test_times_with_a_zone(tmp_path: Path) -> None:
    moments = [MOMENT, MOMENT + dt.timedelta(seconds=1), dt.datetime(1800, 1, 1, tzinfo=dt.UTC), None]
    content = parquet(a=pa.array(moments, pa.timestamp("us", "Europe/Prague")))
    rows, _ = stage(tmp_path, ("x.parquet", content))
    assert [row[0] for row in rows] == [moment and moment.astimezone(PRAGUE).isoformat() for moment in moments]


@pytest.mark.parametrize(
    ("kind", "far"),
    [
        (pa.timestamp("us"), "12000-01-06 06:36:00.000000"),
        (pa.timestamp("us", "Europe/Prague"), "12000-01-06 06:36:00.000000"),
        (pa.timestamp("s", "+02:00"), "12000-01-06 06:36:00.000"),
        (pa.timestamp("ms"), "12000-01-06 06:36:00.000"),
        (pa.date32(), "12000-01-06"),
        (pa.date64(), "12000-01-06"),
    ],
)
def test_a_year_that_python_does_not_know_is_text(kind: pa.DataType, far: str, tmp_path: Path) -> None:
    """So the row is refused later as any that has no time, and the others are read."""
    moments = pa.array([316_516_660_560, 0], pa.timestamp("s")).cast(kind)
    rows, refused = stage(tmp_path, ("x.parquet", parquet(a=moments)))
    assert rows[0] == (far, None)
    assert rows[1][0].startswith("1970-01-01")
    assert refused == []


def test_times_too_far_off_for_microseconds_do_not_come_round(tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("x.parquet", parquet(a=pa.array([2**60], pa.timestamp("ms")))))
    assert "out of range" in rows[0][0] or rows[0][0].startswith("36")


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([12.1, 0.1, 1e20, None, 123456792.0], pa.float32(), ["12.1", "0.1", "1e+20", None, "123456792.0"]),
        ([float("nan"), float("-inf"), 17850.0, 0.5], pa.float32(), [None, "-inf", "17850.0", "0.5"]),
    ],
)
def test_floats_of_32_bits_are_short(values: list[Any], kind: pa.DataType, texts: list[Any], tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("x.parquet", parquet(a=pa.array(values, pa.float64()).cast(kind))))
    assert [row[0] for row in rows] == texts


def test_nanoseconds_are_cut_to_microseconds(tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("x.parquet", parquet(a=pa.array([1_001_500], pa.timestamp("ns")))))
    assert rows == [("1970-01-01T00:00:00.001001", None)]


def test_other_columns_may_be_nested_and_files_gzipped(tmp_path: Path) -> None:
    content = parquet(b=["2", None, "4"], c=[[1], [2], None], A=[1, 2, 3])
    rows, _ = stage(tmp_path, ("1.parquet", content), ("2.parquet.gz", gzip.compress(content)))
    assert rows == [("1", "2"), ("2", None), ("3", "4")] * 2


def test_text_that_lies_about_being_utf8_is_refused(tmp_path: Path) -> None:
    lie = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"x\xffz"))
    rows, refused = stage(tmp_path, ("x.parquet", parquet(a=lie, b=[1, 2, 3])))
    assert (rows, refused) == ([("x", "1"), ("z", "3")], [("\\xff", "not_utf8")])


WHOLE = parquet(a=["1"] * 1000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", WHOLE[:-20], r"x.parquet: not a whole Parquet file"),
        ("x.parquet", b"", r"x.parquet: not a whole Parquet file"),
        ("x.parquet.gz", gzip.compress(WHOLE)[:-20], r"x.parquet.gz: not a whole gzip file"),
        ("x.parquet", parquet(b=["1"]), r"x.parquet: columns: found b; missing: a"),
        ("x.parquet", parquet(a=[[1]]), r"x.parquet: column a is of type list<.*; allowed are text, numbers"),
        ("x.parquet", parquet(a=[{"x": 1}]), r"x.parquet: column a is of type struct<"),
    ],
)
def test_files_that_end_the_run(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        stage(tmp_path, (name, content))
    assert str(caught.value).count("Nothing was staged") == 1
    assert not list(tmp_path.glob(".tabular"))
