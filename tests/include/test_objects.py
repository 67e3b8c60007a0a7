"""Objects with the manners of a path, over a real socket."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include import staging
from include.engine import open_engine
from include.errors import BadInput, ConfigError
from include.objects import ObjectPath, arrow


def test_the_connection_is_in_the_uri_only() -> None:
    path = staging.to_path("s3://store@shop/a/b") / "c.json"
    assert (str(path), path.as_uri()) == ("s3://shop/a/b/c.json", "s3://store@shop/a/b/c.json")
    assert staging.to_path(path.as_uri()) == path
    assert (path.name, path.stem, path.suffix, path.parent.name) == ("c.json", "c", ".json", "b")


@pytest.mark.parametrize("uri", ["s3://key:SECRET@shop/a", "s3:///a", "s3://", "s3://@shop/a"])
def test_a_password_or_no_bucket_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match="scheme://connection@bucket/prefix") as caught:
        ObjectPath.from_uri(uri)
    assert "SECRET" not in str(caught.value)


def test_what_is_written_is_read(s3_staging: Path) -> None:
    path = s3_staging / "folder" / "note.json"
    with pytest.raises(BadInput, match="did not finish"):
        staging.read_json(path)
    staging.write_json(path, {"name": "š"})
    assert staging.read_json(path) == {"name": "š"}
    assert [at.exists() for at in (path, path.parent, s3_staging / "fold")] == [True, True, False]
    with staging.local_copy(path) as copy:
        assert copy.read_bytes() == path.read_bytes()
    staging.copy_file(path, s3_staging / "copy.json")
    assert staging.sha256_file(s3_staging / "copy.json") == staging.sha256_file(path)
    staging.remove_folder(path.parent)
    assert not path.exists()
    assert (s3_staging / "copy.json").stat().st_size == len('{\n  "name": "š"\n}\n'.encode())


def failing(handle: Any, size: int) -> None:
    handle.write(bytes(size))
    raise ZeroDivisionError


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_what_fails_half_way_never_becomes_visible(s3_staging: Path, size: int) -> None:
    path = s3_staging / "chunk.json"
    with pytest.raises(ZeroDivisionError), path.open("wb") as handle:
        failing(handle, size)
    with pytest.raises(ZeroDivisionError), staging.atomic_write(path) as temporary, temporary.open("wb") as handle:
        failing(handle, size)
    with pytest.raises(ZeroDivisionError), staging.open_whole(path) as handle:
        failing(handle, size)
    assert not path.exists()


def test_what_another_worker_removed_at_the_same_time_is_gone(
    s3_staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (s3_staging / "run" / "note").write_text("x")
    (s3_staging / "run" / "note").unlink()
    monkeypatch.setattr(type(s3_staging), "exists", lambda _: True)  # a moment ago
    staging.remove_folder(s3_staging / "run")


def test_lines_are_read_as_of_a_local_file(s3_staging: Path) -> None:
    path = s3_staging / "lines.txt"
    with staging.open_whole(path) as out:
        out.write(b"first\n" + b"second " * 400_000 + b"\nthird")
    with path.open("rb") as handle:
        assert (handle.readline(), handle.readline(10), handle.seek(2_800_006)) == (
            b"first\n",
            b"second sec",
            2_800_006,
        )
        assert list(handle) == [b"\n", b"third"]


def test_a_store_that_does_not_answer_has_not_said_no(s3_staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(s3_staging.fs, "info", deny)  # type: ignore[attr-defined]
    for ask in (
        s3_staging.exists,
        s3_staging.is_file,
        lambda: pq.read_metadata(str(s3_staging), filesystem=arrow(s3_staging)),
        lambda: pq.read_table(str(s3_staging), filesystem=arrow(s3_staging)),
    ):
        with pytest.raises(ConfigError, match=f"{s3_staging}: the object store refuses"):
            ask()


def test_duckdb_and_pyarrow_use_the_same_file_system(s3_staging: Path) -> None:
    path = s3_staging / "numbers.parquet"
    pq.write_table(pa.table({"number": range(1000)}), str(path), filesystem=arrow(path))
    with open_engine(s3_staging / ".work") as database:
        assert database.sql("SELECT sum(number) FROM read_parquet(?)", params=[str(path)]).fetchall() == [(499_500,)]
    assert arrow(Path("/")) is None
