"""JSON Lines: each line is a row, is refused, or is blank; values keep what they say."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.tabular import blocks

from .test_delimited import stage

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=6),
    st.integers(-9999, 9999).map(lambda cents: cents / 100),
)
PIECES = [b"{", b"}", b'"a"', b":", b"1", b",", b"\n", b"\n", b" ", b"\r", b"\xff", b'{"a":1}', b'{"b":"x"}']


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"a": VALUES}, optional={"b": VALUES, "c/~d": VALUES}), min_size=1, max_size=9),
    size=st.sampled_from([16, 64, 4096]),
    ascii_only=st.booleans(),
)
def test_what_a_writer_writes_comes_back(
    rows: list[dict[str, Any]], size: int, ascii_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", size)
    rows = [{"a": "first", "c/~d": "it's"}, *rows]
    content = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    names = {"b": "c/~d"}
    got, refused = stage(tmp_path, ("x.jsonl.gz", gzip.compress(content.encode())), names=names)
    assert got == [(text(row["a"]), text(row.get("c/~d"))) for row in rows]
    assert refused == []


def text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), size=st.sampled_from([3, 4096]))
def test_no_line_is_lost(data: bytes, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", size)
    data = b'{"a":0}\n' + data
    rows, refused = stage(tmp_path, ("x.json", data))
    lines = [line for line in data.replace(b"\r", b"\n").split(b"\n") if line.strip()]
    assert len(rows) + len(refused) == len(lines)
    assert sum(line in (b'{"a":1}', b'{"b":"x"}') for line in lines) <= len(rows)


def test_numbers_are_spelled_as_they_are_meant(tmp_path: Path) -> None:
    content = b'{"a": 17850.0, "b": 12345678901234567890123}\r\n{"a": 900, "b": -0.5}\n{"a": true, "b": NaN}'
    rows, refused = stage(tmp_path, ("x.jsonl", content))
    assert rows == [("17850.0", "12345678901234567890123"), ("900", "-0.5"), ("true", None)]
    assert refused == []


def test_lines_that_are_no_objects_are_refused(tmp_path: Path) -> None:
    bad = [b"[1]", b"5", b'{"a": 1', b'{"a": 1} {"a": 2}', b"{'a': 1}", b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"null"]
    content = b"\xef\xbb\xbf" + b"\n".join([b'{"a": "x"}', *bad, b" \t", b'{"b": 1}', b'{"a": "' + b"x" * 2_000_000])
    rows, refused = stage(tmp_path, ("x.ndjson", content))
    assert rows == [("x", None), (None, "1")]
    assert refused == [(f"x.ndjson, line {line}", "unreadable_line") for line in (*range(2, 10), 12)]


def test_a_value_longer_than_any_id_is_refused(tmp_path: Path) -> None:
    rows, refused = stage(tmp_path, ("x.jsonl", json.dumps({"a": "x", "b": "é" * 40_000}).encode() + b'\n{"a": 1}'))
    assert (rows, refused) == ([("1", None)], [("x", "too_long")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},\n{"a": 2}]', r"x.jsonl: it begins with \[, so it is one JSON array"),
        (b'{"b": 1}\n{"A": 2}', r"x.jsonl: no line has the key a; the first object has b\."),
        (b'{"a": 1}\n\n{"a": {"x": 1}}', r"x.jsonl: line 3: a is an object or an array"),
    ],
)
def test_files_that_end_the_run(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        stage(tmp_path, ("x.jsonl", content))


def test_a_file_without_lines_is_no_rows(tmp_path: Path) -> None:
    assert stage(tmp_path, ("x.jsonl", b"\n")) == ([], [])
    assert stage(tmp_path, ("x.jsonl", b"")) == ([], [])
