"""The rest of a file: whole sessions by their bytes, with an index, and never from a file that was changed."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.staging import read_json
from include.transactions.rest import write_rest
from tests.include.transactions.shop import build


@pytest.fixture(scope="module", params=["json", "csv"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    rows = [(f"sé{session:02d}", f"p{n}", None, "2024-05-01") for session in range(30) for n in range(session % 4 + 1)]
    build(run, *rows, format=request.param)
    return run


@settings(max_examples=25, deadline=None)
@given(kept=st.lists(st.booleans(), min_size=30, max_size=30))
def test_the_sessions_kept_and_nothing_else(run: Path, kept: list[bool]) -> None:
    chunk = read_json(run / "manifest.json")["chunks"][0]
    entry, index = write_rest(run, chunk, pa.array(kept, pa.bool_()), 3)
    whole, units = (run / chunk["name"]).read_bytes(), pq.read_table(run / chunk["index"])
    borders = [0]
    for size in units["bytes"].to_pylist():
        borders.append(borders[-1] + size)
    wanted = b"".join(whole[start:stop] for start, stop, keep in zip(borders, borders[1:], kept, strict=False) if keep)
    suffix = Path(chunk["name"]).suffix
    assert (run / entry["name"]).read_bytes() == wanted
    assert pq.read_table(index).equals(units.filter(pa.array(kept, pa.bool_())))
    assert index == run / entry["index"]
    assert entry == {
        "name": f"rest/transactions-00000-003{suffix}",
        "index": "rest/transactions-00000-003.parquet",
        "rows": wanted.count(b"\n"),
        "sessions": sum(kept),
        "bytes": len(wanted),
        "sha256": hashlib.sha256(wanted).hexdigest(),
    }


def test_a_large_file_is_copied_block_by_block(tmp_path: Path) -> None:
    rows = [(f"s{number % 35_000:05d}", f"product-{number}", None, "2024-05-01") for number in range(70_000)]
    chunk = build(tmp_path, *rows)["chunks"][0]
    assert chunk["bytes"] > 1 << 22  # more than a block
    entry, _ = write_rest(tmp_path, chunk, pa.array([True] * 35_000), 0)
    assert {**entry, "name": "", "index": ""} == {**chunk, "name": "", "index": ""}
    entry, _ = write_rest(tmp_path, chunk, pa.array([number % 2 == 1 for number in range(35_000)]), 1)
    assert (entry["sessions"], entry["rows"]) == (17_500, 35_000)
    lines = (tmp_path / entry["name"]).read_bytes().splitlines()
    assert all(line[20:21] in b"13579" for line in lines)


@pytest.mark.parametrize("block", [7, 100, 10_000])
def test_sessions_larger_than_a_block_are_copied_in_pieces(
    run: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    chunk = read_json(run / "manifest.json")["chunks"][0]
    keep = pa.array([number % 3 != 1 for number in range(30)])
    wanted, _ = write_rest(run, chunk, keep, 5)
    monkeypatch.setattr("include.transactions.rest._BLOCK", block)
    assert write_rest(run, chunk, keep, 5)[0] == wanted


def test_a_file_that_was_changed_is_not_copied(tmp_path: Path) -> None:
    chunk = build(tmp_path, *((f"s{n}", "p", None, None) for n in range(3)))["chunks"][0]
    path = tmp_path / chunk["name"]
    whole, keep = path.read_bytes(), pa.array([False, True, False])
    for damaged in (whole[:-1], whole + b"\n", b"X" + whole[1:], b""):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="not the file that was built"):
            write_rest(tmp_path, chunk, keep, 0)
    path.write_bytes(whole)
    assert not list((tmp_path / "rest").iterdir())
    with pytest.raises(BadInput, match="told about 2 sessions"):
        write_rest(tmp_path, chunk, keep[:2], 0)
    pq.write_table(pq.read_table(tmp_path / chunk["index"])[:2], tmp_path / chunk["index"])
    with pytest.raises(BadInput, match="2 sessions instead of 3"):
        write_rest(tmp_path, chunk, keep, 0)
    assert not list((tmp_path / "rest").iterdir())
