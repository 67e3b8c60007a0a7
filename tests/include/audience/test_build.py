"""An audience is checked, de-duplicated and cut; its books balance, and the same rows give the same bytes."""

import csv
import hashlib
import json
import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.audience.build import build_audience
from include.errors import BadInput
from include.extract import write_rows
from include.publishers.audiences import Audience
from include.staging import read_json

NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


def stage(run: Path, rows: list[tuple[Any, Any]], part: int = 0) -> None:
    write_rows([rows], ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], run / "raw", part)


def audience(**values: Any) -> Audience:
    return Audience(**values)


def chunk_bytes(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((run / "chunks").iterdir())]


def rejects(run: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(run / "rejects.parquet").to_pylist()]


def test_each_reason_once(tmp_path: Path) -> None:
    bad = [None, "", " a", "a\nb", b"\xff", "x" * 256, "default", "fine"]
    stage(tmp_path, [("fine", None), *((one, "r") for one in bad)])
    manifest = build_audience(tmp_path, audience(), NOON, 1)
    reasons = ["null_id", "empty", "surrounding_blanks", "control_character", "not_utf8", "too_long", "reserved"]
    assert manifest["reasons"] == dict.fromkeys(sorted([*reasons, "duplicate"]), 1)
    assert manifest["books"] == {"extracted": 9, "rejected": 7, "duplicates": 1, "uploaded": 1}
    assert sorted(reason for *_, reason in rejects(tmp_path)) == sorted([*reasons, "duplicate"])
    assert ("\\xff", "r", "not_utf8") in rejects(tmp_path)
    assert chunk_bytes(tmp_path) == [b'{"auth_user_id":"fine"}\n']


def test_the_manifest_says_what_lies_there(tmp_path: Path) -> None:
    ids = ["b", "a", "c", "12", "a@b.cz", "00000000-0000-0000-0000-000000000001"]
    stage(tmp_path, [(one, None) for one in ids])
    manifest = build_audience(tmp_path, audience(chunk_rows=4, format="csv"), NOON, 1)
    contents = chunk_bytes(tmp_path)
    assert contents == [b'"00000000-0000-0000-0000-000000000001"\n"12"\n"a"\n"a@b.cz"\n', b'"b"\n"c"\n']
    whole = b"".join(contents)
    accepted = (tmp_path / "accepted.parquet").read_bytes()
    assert (
        manifest
        == read_json(tmp_path / "manifest.json")
        == {
            "kind": "audience",
            "format": "csv",
            "as_of": "2026-03-01T12:00:00.000000+00:00",
            "complete": True,
            "rows": 6,
            "bytes": len(whole),
            "sha256": hashlib.sha256(whole).hexdigest(),
            "chunks": [
                {
                    "name": f"chunks/users-0000{number}.csv",
                    "rows": rows,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                for number, (rows, content) in enumerate(zip((4, 2), contents, strict=True))
            ],
            "accepted": {
                "name": "accepted.parquet",
                "rows": 6,
                "bytes": len(accepted),
                "sha256": hashlib.sha256(accepted).hexdigest(),
            },
            "books": {"extracted": 6, "rejected": 0, "duplicates": 0, "uploaded": 6},
            "reasons": {},
            "shapes": {"digits": 1, "email": 1, "uuid": 1, "other": 3},
        }
    )
    assert not (tmp_path / ".work").exists()


def test_of_one_id_the_smallest_recipient_stays(tmp_path: Path) -> None:
    stage(tmp_path, [("a", None), ("a", "z"), ("a", "y"), ("b", None), ("b", None), ("c", "")])
    build_audience(tmp_path, audience(), NOON, 1)
    accepted = pq.read_table(tmp_path / "accepted.parquet").to_pylist()
    assert [tuple(row.values()) for row in accepted] == [("a", "y"), ("b", None), ("c", "")]
    assert rejects(tmp_path) == [("a", "z", "duplicate"), ("a", None, "duplicate"), ("b", None, "duplicate")]


def test_ids_are_sorted_as_bytes(tmp_path: Path) -> None:
    ids = ["é", "z", "e\u0301", "Z", "10", "9", "🍌", "\uffee"]
    stage(tmp_path, [(one, None) for one in ids])
    build_audience(tmp_path, audience(), NOON, 1)
    found = [json.loads(line)["auth_user_id"] for line in chunk_bytes(tmp_path)[0].splitlines()]
    assert found == sorted(ids, key=str.encode)


def test_the_same_rows_in_any_order_and_parts_give_the_same_bytes(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [(chance.choice([f"u{chance.randrange(9000)}", " x", None]), chance.choice("ab")) for _ in range(30_000)]
    made = []
    for run, parts in ((tmp_path / "one", 1), (tmp_path / "two", 3)):
        chance.shuffle(rows)
        for part in range(parts):
            stage(run, rows[part::parts], part)
        build_audience(run, audience(chunk_rows=1000), NOON, parts)
        names = ["manifest.json", "accepted.parquet", "rejects.parquet"]
        made.append([(run / name).read_bytes() for name in names] + chunk_bytes(run))
    assert made[0] == made[1]


def test_a_rerun_leaves_nothing_of_the_run_before(tmp_path: Path) -> None:
    stage(tmp_path, [(str(number), None) for number in range(10)])
    build_audience(tmp_path, audience(chunk_rows=2), NOON, 1)
    manifest = build_audience(tmp_path, audience(chunk_rows=6), NOON, 1)
    assert len(chunk_bytes(tmp_path)) == len(manifest["chunks"]) == 2


@pytest.mark.parametrize(
    ("ids", "uploaded"),
    [
        (["17850.0", "17850", "3"], ["17850", "3"]),
        (["1.0", "2.0"], []),
        (["1.0", "2.5", "3"], ["1.0", "2.5", "3"]),
        (["1.0", "a", "b"], ["1.0", "a", "b"]),
    ],
)
def test_integers_printed_as_floats(tmp_path: Path, ids: list[str], uploaded: list[str]) -> None:
    stage(tmp_path, [(one, None) for one in ids])
    manifest = build_audience(tmp_path, audience(), NOON, 1)
    assert pq.read_table(tmp_path / "accepted.parquet")["auth_user_id"].to_pylist() == uploaded
    assert manifest["reasons"].get("float_printed", 0) == len(ids) - len(uploaded)


def test_complete_means_every_part_with_a_record_that_agrees(tmp_path: Path) -> None:
    for part in (0, 1):
        stage(tmp_path, [(f"u{part}", None)], part)
    assert build_audience(tmp_path, audience(), NOON, 2)["complete"]
    assert not build_audience(tmp_path, audience(), NOON, 3)["complete"]
    record = tmp_path / "raw" / "part-00001.json"
    record.write_text(record.read_text().replace('"rows": 1', '"rows": 2'))
    assert not build_audience(tmp_path, audience(), NOON, 2)["complete"]
    record.unlink()
    assert not build_audience(tmp_path, audience(), NOON, 2)["complete"]
    stage(tmp_path, [("u1", None)], 1)
    (tmp_path / "raw" / "part-00000.parquet").unlink()
    assert not build_audience(tmp_path, audience(), NOON, 2)["complete"]


def test_parts_of_an_earlier_try_that_was_cut_into_more_are_left_alone(tmp_path: Path) -> None:
    for part in (0, 1):
        stage(tmp_path, [(f"u{part}", None)], part)
    manifest = build_audience(tmp_path, audience(), NOON, 1)
    assert (manifest["complete"], manifest["rows"]) == (True, 1)


def test_no_rows_make_an_empty_list(tmp_path: Path) -> None:
    stage(tmp_path, [])
    manifest = build_audience(tmp_path, audience(), NOON, 1)
    assert (manifest["rows"], manifest["chunks"], manifest["complete"]) == (0, [], True)


def test_nothing_staged_and_damaged_parts_are_errors_that_leave_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the extraction did not finish"):
        build_audience(tmp_path, audience(), NOON, 1)
    stage(tmp_path, [("a", None)])
    build_audience(tmp_path, audience(), NOON, 1)
    (tmp_path / "raw" / "part-00000.parquet").write_bytes(b"PAR1PAR1")
    with pytest.raises(BadInput, match="not a whole Parquet file"):
        build_audience(tmp_path, audience(), NOON, 1)
    assert not (tmp_path / "manifest.json").exists()


def test_a_moment_without_a_zone_is_refused(tmp_path: Path) -> None:
    stage(tmp_path, [("a", None)])
    with pytest.raises(BadInput, match="carries no time zone"):
        build_audience(tmp_path, audience(), NOON.replace(tzinfo=None), 1)


def test_files_larger_than_a_row_group(tmp_path: Path) -> None:
    count = 300_000
    stage(tmp_path, [(number // 2, None) for number in range(2 * count)])
    manifest = build_audience(tmp_path, audience(chunk_rows=100_000), NOON, 1)
    assert manifest["books"] == {"extracted": 600_000, "rejected": 0, "duplicates": 300_000, "uploaded": 300_000}
    assert [chunk["rows"] for chunk in manifest["chunks"]] == [100_000] * 3
    written = [json.loads(line)["auth_user_id"] for line in b"".join(chunk_bytes(tmp_path)).splitlines()]
    assert written == sorted(map(str, range(count)))


plain = st.text("ab1.0 \n\x00é\u00a0", max_size=4)
ids = st.one_of(
    st.none(),
    plain,
    st.just("default"),
    st.integers(0, 30),
    st.floats(0, 5).map(round).map(float),
    st.binary(max_size=2),
    st.text(st.characters(), max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(ids, st.none() | st.sampled_from("xyz")), max_size=25),
    parts=st.integers(1, 3),
    chunk_rows=st.integers(1, 7),
    kind=st.sampled_from(["json", "csv"]),
)
def test_the_books_balance_and_lines_parse_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, Any]], parts: int, chunk_rows: int, kind: str
) -> None:
    run = tmp_path_factory.mktemp("run")
    for part in range(parts):
        stage(run, rows[part::parts], part)
    manifest = build_audience(run, audience(chunk_rows=chunk_rows, format=kind, max_id_bytes=5), NOON, parts)

    staged = Counter(
        row
        for path in (run / "raw").glob("part-*.parquet")
        for row in map(tuple, zip(*pq.read_table(path).to_pydict().values(), strict=True))
    )
    accepted = [tuple(row.values()) for row in pq.read_table(run / "accepted.parquet").to_pylist()]
    refused = rejects(run)
    kept_or_refused = Counter(accepted) + Counter(row[:2] for row in refused if row[2] != "not_utf8")
    assert kept_or_refused == staged
    assert len(accepted) + len(refused) == len(rows)

    content = b"".join(chunk_bytes(run)).decode()
    lines = content.split("\n")[:-1]
    written = (
        [json.loads(line)["auth_user_id"] for line in lines]
        if kind == "json"
        else [row[0] for row in csv.reader(lines)]
    )
    assert written == [one for one, _ in accepted] == sorted(set(written), key=str.encode)
    assert "default" not in written
    assert all(len(chunk.splitlines()) <= chunk_rows for chunk in chunk_bytes(run))
    assert manifest["rows"] == len(written) == sum(manifest["shapes"].values())
