"""Whatever acceptable text comes in, each line parses back to it."""

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lines import csv_lines, json_lines, lines_of, text_bytes

text = st.text(st.one_of(st.sampled_from("\"\\,'/{}"), st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
rows = st.lists(st.tuples(text.filter(bool), text, st.none() | text, st.none() | text.filter(bool)), max_size=20)
NAMES = ("session_id", "identity", "user_id", "created_at")


def columns(found: list[tuple[Any, ...]]) -> dict[str, pa.Array]:
    return {name: pa.array([row[place] for row in found], pa.large_string()) for place, name in enumerate(NAMES)}


def as_text(lines: pa.Array) -> str:
    return bytes(text_bytes(lines)).decode()


@given(rows)
def test_json_lines_parse_back(found: list[tuple[Any, ...]]) -> None:
    written = as_text(json_lines(columns(found)))
    assert written == "".join(line + "\n" for line in written.split("\n")[:-1])
    parsed = [json.loads(line) for line in written.split("\n")[:-1]]
    assert parsed == [
        {name: value for name, value in zip(NAMES, row, strict=True) if value is not None} for row in found
    ]
    assert all(list(line) == [name for name in NAMES if name in line] for line in parsed)


@given(rows)
def test_csv_lines_parse_back(found: list[tuple[Any, ...]]) -> None:
    parsed = list(csv.reader(io.StringIO(as_text(csv_lines(columns(found))), newline=""), strict=True))
    for row, line in zip(found, parsed, strict=True):
        fields = list(row)
        while fields[-1] is None:
            fields.pop()
        assert line == [field or "" for field in fields]


def test_the_documented_spelling() -> None:
    ids = {"auth_user_id": pa.array(["u123", 'a"b'], pa.large_string())}
    assert as_text(lines_of("json")(ids)) == '{"auth_user_id":"u123"}\n{"auth_user_id":"a\\"b"}\n'
    assert as_text(lines_of("csv")(ids)) == '"u123"\n"a""b"\n'


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_slices_and_emptiness(kind: str) -> None:
    ids = pa.array(["a", "b", "c"], pa.large_string())
    assert as_text(lines_of(kind)({"i": ids})[1:2]) == as_text(lines_of(kind)({"i": ids[1:2]}))
    assert as_text(lines_of(kind)({"i": ids[:0]})) == ""
