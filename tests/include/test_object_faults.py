"""A store that breaks, over real sockets: what is read is whole, what is not written whole is not there."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.engine import open_engine
from include.errors import ConfigError, StoreError
from include.object_files import BLOCK_BYTES, JUMP_BYTES, Ahead
from include.objects import ObjectPath, arrow
from include.staging import copy_file, find_json, sha256_file, to_path, write_json
from tests.object_faults import Faults
from tests.object_store import BUCKET, connection

BIG = bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"the end"
Read = Callable[[Path], Any]


@pytest.fixture
def faults(faulty_s3: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Faults:
    """What breaks in the store that is reached by the connection ``broken``, which asks few times."""
    address, told = faulty_s3
    told.forget()
    for name, value in connection(address, "broken", config_kwargs={"retries": {"max_attempts": 2}}).items():
        monkeypatch.setenv(name, value)
    return told


@pytest.fixture
def place(faults: Faults, s3_staging: Path) -> Path:
    """A folder in that store."""
    return to_path(f"s3://broken@{BUCKET}/{s3_staging.name}")


def read_file(folder: Path) -> Any:
    with (folder / "big").open("rb") as handle:
        return handle.read()


def read_duckdb(folder: Path) -> Any:
    with open_engine(folder / ".work") as engine:
        return engine.sql(f"SELECT sum(number) FROM read_parquet('{folder}/rows')").fetchall()


def read_arrow(folder: Path) -> Any:
    return pq.read_table(str(folder / "rows"), filesystem=arrow(folder)).num_rows


READS: list[Any] = [
    pytest.param(read_file, "/big", BIG, id="file"),
    pytest.param(lambda folder: find_json(folder / "note"), "/note", {"a": 1}, id="note"),
    pytest.param(read_duckdb, "/rows", [(499_500,)], id="duckdb"),
    pytest.param(read_arrow, "/rows", 1000, id="arrow"),
]


@pytest.fixture
def filled(place: Path) -> Path:
    with (place / "big").open("wb") as handle:
        handle.write(BIG)
    write_json(place / "note", {"a": 1})
    with (place / "rows").open("wb") as handle:
        pq.write_table(pa.table({"number": range(1000)}), handle)
    return place


@pytest.mark.parametrize("fault", ["cut", "503"])
@pytest.mark.parametrize(("read", "what", "content"), READS)
def test_a_read_that_breaks_once_is_tried_again(
    filled: Path, faults: Faults, read: Read, what: str, content: Any, fault: str
) -> None:
    faults.add(fault, "GET", what)
    assert read(filled) == content


@pytest.mark.parametrize(
    ("fault", "error"), [("short", StoreError), ("503", StoreError), ("403", ConfigError)], ids=["short", "503", "403"]
)
@pytest.mark.parametrize(("read", "what", "content"), READS)
def test_a_read_that_stays_broken_is_an_error_in_words(
    filled: Path, faults: Faults, read: Read, what: str, content: Any, fault: str, error: type[Exception]
) -> None:
    faults.add(fault, "GET", what, times=99)
    with pytest.raises(error, match="the object store"):
        read(filled)
    faults.forget()
    assert read(filled) == content


def test_an_object_that_is_replaced_while_it_is_read_gives_no_mixture(filled: Path) -> None:
    with (filled / "big").open("rb") as handle:
        assert handle.read(1) == BIG[:1]
        (filled / "big").write_bytes(BIG[::-1])
        with pytest.raises(StoreError, match="/big"):
            handle.read()


def unfinished(folder: Path) -> int:
    """Uploads in the bucket that were neither ended nor given up."""
    assert isinstance(folder, ObjectPath)
    return len(folder.fs.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", []))


@pytest.mark.parametrize(
    ("fault", "method", "part"),
    [("cut_body", "PUT", "partNumber=2"), ("lost", "PUT", "partNumber=1"), ("500", "POST", "uploadId")],
)
def test_a_write_that_breaks_once_is_tried_again(
    place: Path, faults: Faults, fault: str, method: str, part: str
) -> None:
    faults.add(fault, method, part)
    with (place / "new").open("wb") as handle:
        handle.write(BIG[:BLOCK_BYTES])
        handle.write(BIG[BLOCK_BYTES:])
    assert (place / "new").read_bytes() == BIG


@pytest.mark.parametrize(
    ("fault", "method", "part", "error"),
    [
        ("503", "PUT", "partNumber=2", StoreError),
        ("503", "POST", "uploadId", StoreError),
        ("404", "POST", "uploads", ConfigError),
    ],
)
def test_a_write_that_stays_broken_leaves_nothing(
    filled: Path, faults: Faults, fault: str, method: str, part: str, error: type[Exception]
) -> None:
    before = unfinished(filled)
    faults.add(fault, method, part, times=99)
    with pytest.raises(error, match="/big"), (filled / "big").open("wb") as handle:
        handle.writelines([BIG[:BLOCK_BYTES][::-1]] * 3)
    assert read_file(filled) == BIG
    assert unfinished(filled) == before


def killed_while_writing(path: Path) -> None:
    with path.open("wb") as handle:
        handle.write(BIG)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_nothing_that_can_be_seen(filled: Path) -> None:
    """In a process that was forked after the store had been used, as Airflow forks its tasks."""
    process = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=(filled / "note",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert find_json(filled / "note") == {"a": 1}
    with (filled / "note").open("wb") as handle:
        handle.write(BIG)
    assert sha256_file(filled / "note") == sha256_file(filled / "big")


def test_a_store_is_used_from_the_thread_of_an_event_loop(filled: Path) -> None:
    """As triggers do."""

    async def look() -> Any:
        return await asyncio.gather(*(asyncio.to_thread(read_file, filled) for _ in range(3)))

    assert asyncio.run(look()) == [BIG] * 3


def test_an_upload_whose_end_was_done_although_no_answer_came_is_no_missing_bucket(place: Path, faults: Faults) -> None:
    """Asked again, the store does not know that upload any more; another try may help."""
    faults.add("lost", "POST", "uploadId")
    faults.add("404", "POST", "uploadId")
    with pytest.raises(StoreError, match="/new"), (place / "new").open("wb") as handle:
        handle.write(BIG)
    assert (place / "new").read_bytes() == BIG


def test_a_file_of_which_a_piece_could_not_be_written_never_becomes_visible(place: Path, faults: Faults) -> None:
    """Although the store answers again when it is closed."""
    handle = (place / "new").open("wb")
    faults.add("503", "PUT", "partNumber=2", times=99)
    with pytest.raises(StoreError, match="/new"):
        handle.writelines([BIG[:BLOCK_BYTES]] * 3)
    faults.forget()
    with pytest.raises(StoreError, match="/new"):
        handle.write(b"the rest")
    handle.close()
    assert not (place / "new").exists()


def test_the_end_of_a_large_file_costs_little(filled: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file over several blocks is read whole, and its footer without the rest."""
    path = filled / "large"
    with path.open("wb") as handle:
        pq.write_table(pa.table({"number": range(3_000_000)}), handle, compression="none", use_dictionary=False)
    assert path.stat().st_size > 2 * BLOCK_BYTES
    assert pq.read_table(str(path), filesystem=arrow(path))["number"].to_pylist() == list(range(3_000_000))
    asked: list[int] = []
    fetch = Ahead._fetch
    monkeypatch.setattr(Ahead, "_fetch", lambda own, begins, size: asked.append(size) or fetch(own, begins, size))
    assert pq.read_metadata(str(path), filesystem=arrow(path)).num_rows == 3_000_000
    assert sum(asked) <= 2 * JUMP_BYTES


@pytest.mark.parametrize(
    ("doing", "method", "ask"),
    [
        ("delete", "DELETE", lambda folder: (folder / "note").unlink()),
        ("write", "PUT", lambda folder: write_json(folder / "note", {"a": 2})),
        ("copy", "PUT", lambda folder: copy_file(folder / "note", folder / "other")),
        ("read", "GET", lambda folder: find_json(folder / "note")),
        ("list", "GET", lambda folder: list(folder.iterdir())),
    ],
)
def test_what_the_store_refuses_is_named(filled: Path, faults: Faults, doing: str, method: str, ask: Read) -> None:
    faults.add("403", method, times=99)
    with pytest.raises(ConfigError, match=f"the object store refuses to {doing} it"):
        ask(filled)
    faults.forget()
    assert find_json(filled / "note") == {"a": 1}
