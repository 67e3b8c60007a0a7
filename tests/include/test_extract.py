"""Rows of cursors and list files become text columns; what cannot be text is set aside, nothing is lost."""

import datetime as dt
import decimal
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.extract import read_ids, write_rows


def written(raw: Path, *rows: tuple[Any, ...], columns: tuple[str, ...] = ("auth_user_id", "recipient")) -> list[Any]:
    write_rows([rows], columns, ["auth_user_id"], ["recipient"], raw, 0)
    return pq.read_table(raw / "part-00000.parquet").to_pylist()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("žluť 🍌", "žluť 🍌"),
        ("", ""),
        ("a\x00b", "a\x00b"),
        (17850, "17850"),
        (-(10**30), "-1" + "0" * 30),
        (17850.0, "17850.0"),
        (np.float64(17850.0), "17850.0"),
        (np.int64(5), "5"),
        (float("nan"), None),
        (decimal.Decimal("17850.000"), "17850"),
        (decimal.Decimal("1E+3"), "1000"),
        (decimal.Decimal("0.50"), "0.50"),
        (decimal.Decimal("1E+999999999"), "1E+999999999"),
        (decimal.Decimal("NaN"), None),
        (True, "true"),
        ("č".encode(), "č"),
        (memoryview(b"abc"), "abc"),
        (dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2024-05-01T12:00:00+02:00"),
        (dt.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (dt.date(2024, 5, 1), "2024-05-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (None, None),
    ],
)
def test_each_value_has_one_spelling(tmp_path: Path, value: Any, text: str | None) -> None:
    assert written(tmp_path, (value, value)) == [{"auth_user_id": text, "recipient": text}]


@pytest.mark.parametrize(
    ("value", "shown", "reason"),
    [
        (b"caf\xe9", "caf\\xe9", "not_utf8"),
        ("lone \ud800", "lone \\ud800", "not_utf8"),
        (10**5000, "an integer of 16610 bits", "too_long"),
        ("x" * 65_536, "x" * 1000, "too_long"),
        (b"\xff" * 10**6, "\\xff" * 1000, "not_utf8"),
    ],
    ids=["bytes", "surrogate", "integer", "text", "many bytes"],
)
@pytest.mark.parametrize("bad_column", [0, 1])
def test_what_cannot_be_text_is_set_aside_with_its_reason(
    tmp_path: Path, value: Any, shown: str, reason: str, bad_column: int
) -> None:
    row = ["other", "other"]
    row[bad_column] = value
    assert written(tmp_path, ("fine", None), tuple(row)) == [{"auth_user_id": "fine", "recipient": None}]
    names = ["auth_user_id", "recipient"]
    refused = pq.read_table(tmp_path / "refused-00000.parquet").to_pylist()
    assert refused == [{names[bad_column]: shown, names[1 - bad_column]: "other", "reason": reason}]


def test_the_record_counts_and_a_rerun_replaces_everything(tmp_path: Path) -> None:
    for rows in ([("a", 1), (b"\xff", 2)], [("b", 1)]):
        written(tmp_path, *rows)
    assert pq.read_table(tmp_path / "part-00000.parquet").num_rows == 1
    assert pq.read_table(tmp_path / "refused-00000.parquet").num_rows == 0
    record = json.loads((tmp_path / "part-00000.json").read_text())
    assert record == {"rows": 1, "refused": 0, "complete": True, "columns": ["auth_user_id", "recipient"]}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_source_that_breaks_off_leaves_no_record(tmp_path: Path) -> None:
    def cursor() -> Any:
        yield [("a",)]
        raise ConnectionError("gone")

    written(tmp_path, ("an earlier attempt", None))
    with pytest.raises(ConnectionError):
        write_rows(cursor(), ["auth_user_id"], ["auth_user_id"], [], tmp_path, 0)
    assert not (tmp_path / "part-00000.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_columns_match_whatever_their_case_and_order(tmp_path: Path) -> None:
    columns = ("RECIPIENT", "bucket", "Auth_User_Id")
    write_rows([[("r", 1, "u")]], columns, ["auth_user_id"], ["recipient"], tmp_path, 3, ignore=["BUCKET"])
    assert pq.read_table(tmp_path / "part-00003.parquet").to_pylist() == [{"auth_user_id": "u", "recipient": "r"}]


def test_a_missing_optional_column_is_null(tmp_path: Path) -> None:
    assert written(tmp_path, ("u",), columns=("auth_user_id",)) == [{"auth_user_id": "u", "recipient": None}]


def test_no_rows_still_make_a_whole_part(tmp_path: Path) -> None:
    assert written(tmp_path) == []
    assert pq.read_table(tmp_path / "refused-00000.parquet").column_names == ["auth_user_id", "recipient", "reason"]


@pytest.mark.parametrize(
    ("columns", "part_of_sentence"),
    [
        (("customer", "recipient"), "found customer, recipient; wanted auth_user_id and, if there, recipient"),
        (("auth_user_id", "email"), "unknown: email"),
        (("auth_user_id", "AUTH_USER_ID"), "twice: auth_user_id"),
    ],
)
def test_wrong_columns_name_those_found_and_those_wanted(
    tmp_path: Path, columns: tuple[str, ...], part_of_sentence: str
) -> None:
    with pytest.raises(BadInput, match=part_of_sentence):
        written(tmp_path, ("a", "b"), columns=columns)
    assert not list(tmp_path.iterdir())


def test_a_value_that_is_no_scalar_names_the_column_and_no_data(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="column recipient: came a value of type dict") as caught:
        written(tmp_path, ("a", {"secret": 1}))
    assert "secret" not in str(caught.value)


def test_rows_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="differ in their number of values"):
        written(tmp_path, ("a", "b"), ("c",))


scalars = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.booleans(),
    st.binary(max_size=8),
    st.text(st.characters(), max_size=8),  # surrogates too
    st.datetimes(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(scalars, scalars), max_size=5), max_size=4))
def test_every_row_is_kept_or_refused(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Any]]) -> None:
    raw = tmp_path_factory.mktemp("raw")
    record = write_rows(batches, ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], raw, 0)
    assert record["rows"] + record["refused"] == sum(map(len, batches))
    assert pq.read_table(raw / "part-00000.parquet").num_rows == record["rows"]
    assert pq.read_table(raw / "refused-00000.parquet").num_rows == record["refused"]


def listed(path: Path, content: bytes) -> tuple[list[Any], list[str]]:
    path.write_bytes(content)
    batches, columns = read_ids(path)
    return [row for batch in batches for row in batch], columns


@pytest.mark.parametrize(
    ("name", "content", "columns", "rows"),
    [
        ("a.txt", b"u1\r\n u2\n\nu3", ["auth_user_id"], [["u1"], [" u2"], [""], ["u3"]]),
        ("a.txt", b"\xef\xbb\xbfAUTH_USER_ID\nu1\n", ["auth_user_id"], [["u1"]]),
        ("a.txt", b"", ["auth_user_id"], []),
        ("a.txt", b"\xff\x00\n", ["auth_user_id"], [["\udcff\x00"]]),
        ("a.csv", b'u1\n"u""2"\n\n', ["auth_user_id"], [["u1"], ['u"2'], [""]]),
        ("a.csv", b"u1,r1\nu2,\n", ["auth_user_id", "recipient"], [["u1", "r1"], ["u2", ""]]),
        ("a.CSV", b"Recipient,Auth_User_Id\r\nr1,u1\r\n", ["recipient", "auth_user_id"], [["r1", "u1"]]),
        ("a.csv", b"", ["auth_user_id"], []),
        (
            "a.jsonl",
            b'{"auth_user_id": "u1"}\n{"recipient": "r", "auth_user_id": 17850.0}\n\n',
            ["auth_user_id", "recipient"],
            [["u1", None], [17850.0, "r"], ["", None]],
        ),
    ],
)
def test_list_files(tmp_path: Path, name: str, content: bytes, columns: list[str], rows: list[Any]) -> None:
    assert listed(tmp_path / name, content) == (rows, columns)


def test_a_list_in_parquet_may_lie_about_its_text(tmp_path: Path) -> None:
    liar = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 3], np.int32)), pa.py_buffer(b"u1\xff")]
    )
    pq.write_table(pa.table({"auth_user_id": liar, "recipient": pa.array([1, None])}), tmp_path / "a.parquet")
    batches, columns = read_ids(tmp_path / "a.parquet")
    record = write_rows(batches, columns, ["auth_user_id"], ["recipient"], tmp_path / "raw", 0)
    assert (record["rows"], record["refused"]) == (1, 1)


def test_a_line_of_100_mb_is_one_refused_row(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"u1\n" + b"x" * 100_000_000 + b"\nu2\n")
    batches, columns = read_ids(path)
    record = write_rows(batches, columns, ["auth_user_id"], ["recipient"], tmp_path / "raw", 0)
    assert (record["rows"], record["refused"]) == (2, 1)
    assert (tmp_path / "raw" / "refused-00000.parquet").stat().st_size < 10_000


@pytest.mark.parametrize(
    ("name", "content", "part_of_sentence"),
    [
        ("a.xlsx", b"", "came .xlsx"),
        ("list", b"", "came no extension"),
        ("a.csv", b"u1,r1\nu2\n", "row 2: 1 values; wanted 2"),
        ("a.csv", b'u1\n"u2\n', "line 2: not readable as CSV"),
        ("a.csv", b"x" * 200_000, "line 1: not readable as CSV"),
        ("a.jsonl", b'{"auth_user_id": "u1"}\n{"auth', "line 2: not readable as JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: not readable as JSON"),
        ("a.jsonl", b'["u1"]', "line 1: wanted an object"),
        ("a.jsonl", b'{"id": 1}', "came an object with 1 keys"),
        ("a.parquet", b"PAR1", "not a whole Parquet file"),
    ],
)
def test_a_bad_list_file_names_the_line(tmp_path: Path, name: str, content: bytes, part_of_sentence: str) -> None:
    with pytest.raises(BadInput, match=part_of_sentence):
        listed(tmp_path / name, content)


def test_a_list_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_ids(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "customer_id\nu1\n", "a header without auth_user_id"),
        ("a.csv", "Email,id\na@b,u1\n", "a header without auth_user_id"),
        ("a.txt", "user_id\nu1\n", "a header without auth_user_id"),
        ("a.csv", "x;u1\ny;u2\n", "semicolon or tab"),
        ("a.txt", "x\tu1\n", "semicolon or tab"),
    ],
)
def test_a_header_of_other_words_does_not_become_a_customer(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=said):
        read_ids(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "u1\n\nu2\n"),
        ("a.txt", "u1\n\nu2\n"),
        ("a.jsonl", '{"auth_user_id": "u1"}\n\n{"auth_user_id": "u2"}\n'),
    ],
)
def test_a_blank_line_is_a_row_like_any_other(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    batches, columns = read_ids(tmp_path / name)
    assert [row[columns.index("auth_user_id")] for batch in batches for row in batch] == ["u1", "", "u2"]


def test_an_error_names_no_key_of_an_unusable_object(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"jane@shop.example": 1}\n')
    batches, _ = read_ids(tmp_path / "a.jsonl")
    with pytest.raises(BadInput, match="line 1: wanted an object") as caught:
        list(batches)
    assert "jane" not in str(caught.value)
