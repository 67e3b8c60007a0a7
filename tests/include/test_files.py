"""Files are hashed while they are written, and come out the same however their rows arrive."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.files import LinesFiles, RowsFile, steady


def batches(values: list[list[str]]) -> list[pa.RecordBatch]:
    return [pa.record_batch({"x": pa.array(part, pa.large_string())}) for part in values]


@given(st.lists(st.lists(st.text("ab", max_size=2), max_size=7), max_size=6), st.integers(1, 5))
def test_steady_batches_have_one_size_and_lose_nothing(parts: list[list[str]], rows: int) -> None:
    found = [batch["x"].to_pylist() for batch in steady(batches(parts), rows)]
    assert [value for part in found for value in part] == [value for part in parts for value in part]
    assert all(len(part) == rows for part in found[:-1])
    assert all(1 <= len(part) <= rows for part in found[-1:])


def lines(*values: str) -> pa.Array:
    return pa.array([f"{value}\n" for value in values], pa.large_string())


def test_lines_files_are_hashed_one_by_one_and_as_a_whole(tmp_path: Path) -> None:
    with LinesFiles(tmp_path / "chunks", "users", "json") as files:
        files.write(lines("a", "b"), sessions=1)
        files.write(lines("c"), sessions=1)
        assert (files.rows_in_open, files.bytes_in_open) == (3, 6)
        files.cut()
        files.cut()
        assert (files.rows_in_open, files.bytes_in_open) == (0, 0)
        files.write(lines("d", "e", "f")[1:], sessions=2)
        files.write(lines())
    contents = [b"a\nb\nc\n", b"e\nf\n"]
    assert [(tmp_path / entry["name"]).read_bytes() for entry in files.entries] == contents
    assert files.entries == [
        {
            "name": f"chunks/users-0000{number}.json",
            "rows": rows,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "sessions": 2,
        }
        for number, (rows, content) in enumerate(zip((3, 2), contents, strict=True))
    ]
    whole = hashlib.sha256(b"".join(contents)).hexdigest()
    assert files.whole == {"rows": 5, "bytes": 10, "sha256": whole, "sessions": 4}


def test_no_lines_no_files(tmp_path: Path) -> None:
    with LinesFiles(tmp_path / "chunks", "users", "json") as files:
        pass
    assert files.entries == []
    assert files.whole == {"rows": 0, "bytes": 0, "sha256": hashlib.sha256().hexdigest()}


def test_a_rows_file_says_what_it_is(tmp_path: Path) -> None:
    with RowsFile(tmp_path / "a.parquet", ["x", "y"]) as file:
        for _ in range(3):
            file.write(pa.array(["1", "2"], pa.large_string()), pa.array([None, "z"], pa.large_string()))
    written = (tmp_path / "a.parquet").read_bytes()
    assert file.entry == {
        "name": "a.parquet",
        "rows": 6,
        "bytes": len(written),
        "sha256": hashlib.sha256(written).hexdigest(),
    }
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.types == [pa.string(), pa.string()]
    assert table["y"].to_pylist() == [None, "z"] * 3


def test_an_error_of_the_background_surfaces(tmp_path: Path) -> None:
    (tmp_path / "users-00000.json").symlink_to("/dev/full")
    with LinesFiles(tmp_path, "users", "json") as files:
        files.write(lines("a"))
        with pytest.raises(OSError, match="No space left"):
            files.write(lines("b"))
