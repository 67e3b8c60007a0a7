"""The index beside a file: hashes that never change, and what lies where."""

import hashlib
import json
import logging
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.transactions.index import INDEX, contents_of, keys_of
from tests.include.transactions.shop import build, contents, rejects, sent, units

ROWS: list[tuple[Any, ...]] = [
    ("b", "p2", "u", "2024-05-01T23:59:59.999999Z"),
    ("b", "p1", None, "2024-05-01T22:00:00+02:00"),
    ("b", "p3", None, None),
    ('é\\"', "p", None, None),
    ("a", "p", "u", "2000-01-01T00:00:00Z"),
]


def key(session: str) -> bytes:
    return hashlib.blake2b(session.encode(), digest_size=16).digest()


def content(*rows: tuple[str, str, str]) -> int:
    text = "".join("\x1f".join(row) + "\x1f\n" for row in rows)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def test_hashes_are_those_of_years_ago() -> None:
    assert [value.hex() for value in keys_of(pa.array(["session-1", ""])).to_pylist()] == [
        "fa154dd08f2e447e793c17b48ae2a445",
        "cae66941d9efbd404e4d88758ea67670",
    ]
    assert contents_of(pa.array(["p\x1fu\x1f2024-05-01 10:00:00.000000\x1f\n", ""])).to_pylist() == [
        -6935089391826159686,
        -5426141060434712860,
    ]


def test_one_row_a_session_in_the_order_of_the_file(tmp_path: Path) -> None:
    manifest = build(tmp_path, *ROWS)
    table = pq.read_table(tmp_path / manifest["chunks"][0]["index"])
    assert table.schema.equals(INDEX)
    lines = contents(tmp_path)[0].splitlines(keepends=True)
    assert table.to_pylist() == [
        {
            "key": key("a"),
            "content": content(("p", "u", "2000-01-01 00:00:00.000000")),
            "rows": 1,
            "bytes": len(lines[0]),
            "day": 10957,
        },
        {
            "key": key("b"),
            "content": content(
                ("p1", "", "2024-05-01 20:00:00.000000"),
                ("p2", "u", "2024-05-01 23:59:59.999999"),
                ("p3", "", ""),
            ),
            "rows": 3,
            "bytes": sum(map(len, lines[1:4])),
            "day": 19844,
        },
        {"key": key('é\\"'), "content": content(("p", "", "")), "rows": 1, "bytes": len(lines[4]), "day": None},
    ]
    assert (manifest["first_day"], manifest["last_day"]) == ("2000-01-01", "2024-05-01")


@pytest.mark.parametrize(
    "values",
    [
        {"format": "csv"},
        {"user_field": "auth_user_id"},
        {"max_file_bytes": 1000},
        {"time_zone": "Asia/Tokyo"},
        {"window": {"start": "1960-01-01T00:00:00+00:00", "end": "2025-01-01T00:00:00+00:00"}},
    ],
)
def test_content_is_what_is_sent_however_it_is_written(tmp_path: Path, values: dict[str, Any]) -> None:
    rows = [(f"s{number % 40}", f"p{number}", "u", "2024-05-01T10:00:00Z") for number in range(100)]
    build(tmp_path / "usual", *ROWS, *rows)
    chance = random.Random(2)
    mixed = chance.sample([*ROWS, *rows, *ROWS], k=110)
    build(tmp_path / "other", *mixed, **values)
    # A session of which no time is known belongs to no window.
    wanted = [unit for unit in units(tmp_path / "usual") if unit["day"] is not None or "window" not in values]
    assert sent(tmp_path / "other") == {unit["key"]: unit["content"] for unit in wanted}


def test_another_row_user_product_or_time_is_another_content(tmp_path: Path) -> None:
    row = ("s", "p", "u", "2024-05-01")
    others = [
        [("s", "p", None, "2024-05-01")],
        [("s", "p", "u", None)],
        [("s", "p", None, None)],
        [("s", "u", "p", "2024-05-01")],
        [("s", "pu", None, "2024-05-01")],
        [("s", "p", "u", "2024-05-01 00:00:00.000001")],
        [row, ("s", "p", None, "2024-05-01")],
        [row, ("s", "p", "u", None)],
    ]
    found = set()
    for number, rows in enumerate([[row], *others]):
        build(tmp_path / str(number), *rows)
        found.update(sent(tmp_path / str(number)).values())
    assert len(found) == len(others) + 1


def test_every_file_has_its_own_index_whose_bytes_are_the_file(tmp_path: Path) -> None:
    rows = [(f"s{session:03d}", f"p{n}", None, "2024-05-01") for session in range(90) for n in range(session % 5 + 1)]
    manifest = build(tmp_path, *rows, max_file_bytes=1000)
    assert len(manifest["chunks"]) > 10
    for chunk in manifest["chunks"]:
        lines = (tmp_path / chunk["name"]).read_bytes()
        index = pq.read_table(tmp_path / chunk["index"]).to_pylist()
        assert [len(index), sum(unit["rows"] for unit in index)] == [chunk["sessions"], chunk["rows"]]
        begin = 0
        for unit in index:
            session = [json.loads(line)["session_id"] for line in lines[begin : begin + unit["bytes"]].splitlines()]
            assert {key(name) for name in session} == {unit["key"]}
            assert len(session) == unit["rows"]
            begin += unit["bytes"]
        assert begin == len(lines)
    assert len(units(tmp_path)) == 90


def test_a_second_build_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    rows = [(f"s{number}", "p", None, None) for number in range(60)]
    build(tmp_path, *rows, max_file_bytes=1000)
    (tmp_path / "rest").mkdir()
    (tmp_path / "rest" / "transactions-00000-000.json").write_text("of a file that is no more")
    build(tmp_path, *rows[:3])
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["transactions-00000.parquet"]
    assert not (tmp_path / "rest").exists()
    build(tmp_path)
    assert not (tmp_path / "index").exists()


def test_sessions_too_large_are_told_by_their_hash_and_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = [("giant", f"product-{number}", None, None) for number in range(30)]
    large = [("titan", f"product-{number}", None, None) for number in range(135_000)]
    with caplog.at_level(logging.WARNING):
        manifest = build(tmp_path, ("a", "p", None, None), *small, *large, max_file_bytes=1000)
    assert manifest["reasons"] == {"session_too_large": 135_030}
    assert len(rejects(tmp_path)) == 135_030
    size = sum(
        len(json.dumps({"session_id": row[0], "identity": row[1]})) - 2 for row in large
    )  # no blanks, but a newline
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(f"session {key('giant').hex()[:12]}… has ")
    assert told[1].startswith(f"session {key('titan').hex()[:12]}… has {size:,} bytes")
    assert "giant" not in caplog.text


def test_at_most_twenty_such_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [(f"s{session}", f"product-{n}", None, None) for session in range(50) for n in range(30)]
    with caplog.at_level(logging.WARNING):
        build(tmp_path, *rows, max_file_bytes=1000)
    assert len(caplog.records) == 20
    assert "31 more" in caplog.text
