"""Purchases become whole sessions in files below a size; the books balance, the same rows give the same bytes."""

import csv
import hashlib
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.staging import read_json
from include.transactions.build import COLUMNS, build_transactions
from tests.include.transactions.shop import build, contents, rejects, rules, stage, uploaded


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "p", "u", None), "no_session"),
        (("", "p", "u", None), "no_session"),
        (("s", None, "u", None), "no_identity"),
        (("s", "", "u", None), "no_identity"),
        ((" s", "p", "u", None), "surrounding_blanks"),
        (("s", "p\u00a0", "u", None), "surrounding_blanks"),
        (("s", "p", "u ", None), "surrounding_blanks"),
        (("s\n", "p", "u", None), "control_character"),
        (("s", "p\x00", "u", None), "control_character"),
        (("s", "p", "u\r", None), "control_character"),
        (("s" * 256, "p", "u", None), "too_long"),
        (("s", b"\xff", "u", None), "not_utf8"),
        (("s", "p", "default", None), "reserved"),
        (("s", "p", "u", "yesterday"), "unreadable_time"),
        (("s", "p", "u", "epoch"), "unreadable_time"),
        (("s", "p", "u", "infinity"), "unreadable_time"),
        (("s", "p", "u", "2024-02-30 10:00:00"), "unreadable_time"),
        (("s", "p", "u", "0000-01-01"), "unreadable_time"),
        (("s", "p", "u", "0001-01-01"), "unreadable_time"),
        (("s", "p", "u", "1900-01-01"), "unreadable_time"),
        (("s", "p", "u", "24-04-21 15:04"), "unreadable_time"),
        (("s", "p", "u", "1999-12-31 23:59:59.999999"), "unreadable_time"),
        (("s", "p", "u", "9999-12-31 23:59:59-01"), "unreadable_time"),
        (("s", "p", "u", "1714557600"), "unreadable_time"),
        ((None, None, "default", "never"), "no_session"),
    ],
)
def test_each_reason(tmp_path: Path, row: tuple[Any, ...], reason: str) -> None:
    manifest = build(tmp_path, row, ("default", "default", "u", None))
    assert manifest["reasons"] == {reason: 1}
    assert manifest["books"] == {"extracted": 2, "rejected": 1, "duplicates": 0, "elsewhere": 0, "uploaded": 1}
    shown = tuple("\\xff" if value == b"\xff" else value for value in row)
    assert rejects(tmp_path) == [(*shown[:2], shown[2] or None, shown[3], reason)]


@pytest.mark.parametrize(
    ("came", "zone", "written"),
    [
        ("2024-07-01T12:00:00", "UTC", "2024-07-01 12:00:00.000000"),
        ("2024-07-01 12:00:00.5", "UTC", "2024-07-01 12:00:00.500000"),
        ("2024-07-01T12:00:00Z", "Europe/Prague", "2024-07-01 12:00:00.000000"),
        ("2024-07-01T12:00:00+02:00", "Europe/Prague", "2024-07-01 10:00:00.000000"),
        ("2024-07-01T12:00:00", "Europe/Prague", "2024-07-01 10:00:00.000000"),
        ("2024-01-01T12:00:00", "Europe/Prague", "2024-01-01 11:00:00.000000"),
        ("2024-07-01T12:00:00.123456789", "UTC", "2024-07-01 12:00:00.123456"),
        ("2024-07-01", "UTC", "2024-07-01 00:00:00.000000"),
        ("2000-01-01", "UTC", "2000-01-01 00:00:00.000000"),
        ("", "UTC", None),
        (None, "UTC", None),
    ],
)
def test_times_are_written_in_utc(tmp_path: Path, came: str | None, zone: str, written: str | None) -> None:
    build(tmp_path, ("s", "p", "u", came), time_zone=zone)
    assert uploaded(tmp_path)[0].get("created_at") == written


def test_lines_have_the_documented_fields_in_their_order(tmp_path: Path) -> None:
    rows = [("s", "1", "u", "2024-01-01"), ("s", "2", "u", None), ("s", "3", None, None), ("s", "4", "", "2024-01-02")]
    build(tmp_path, *rows)
    assert b"".join(contents(tmp_path)) == (
        b'{"session_id":"s","identity":"1","user_id":"u","created_at":"2024-01-01 00:00:00.000000"}\n'
        b'{"session_id":"s","identity":"4","created_at":"2024-01-02 00:00:00.000000"}\n'
        b'{"session_id":"s","identity":"2","user_id":"u"}\n'
        b'{"session_id":"s","identity":"3"}\n'
    )
    build(tmp_path, *rows, user_field="auth_user_id")
    assert uploaded(tmp_path)[0]["auth_user_id"] == "u"
    build(tmp_path, *rows, format="csv")
    assert contents(tmp_path) == [
        b'"s","1","u","2024-01-01 00:00:00.000000"\n"s","4","","2024-01-02 00:00:00.000000"\n"s","2","u"\n"s","3"\n'
    ]


def test_exact_duplicates_count_once(tmp_path: Path) -> None:
    same = [("s", "p", None, "2024-01-01"), ("s", "p", "", "2024-01-01T00:00:00Z"), ("s", "p", None, "2024-01-01")]
    manifest = build(tmp_path, *same, ("s", "p", "u", "2024-01-01"), ("s", "p", None, None), ("s", "p", None, None))
    assert manifest["books"] == {"extracted": 6, "rejected": 0, "duplicates": 3, "elsewhere": 0, "uploaded": 3}


def test_a_session_of_two_users_is_refused_whole(tmp_path: Path) -> None:
    rows = [("s", str(number), "uv"[number == 5], None) for number in range(6)]
    manifest = build(tmp_path, *rows, ("s", "x", None, None), ("t", "1", "u", None), ("t", "2", None, None))
    assert manifest["reasons"] == {"session_of_two_users": 7}
    assert {line["session_id"] for line in uploaded(tmp_path)} == {"t"}
    assert manifest["sessions"] == 1


@pytest.mark.parametrize("column", [0, 1, 2])
def test_integers_printed_as_floats(tmp_path: Path, column: int) -> None:
    def row(value: str) -> tuple[str | None, ...]:
        return (*(value if place == column else f"{'spu'[place]}{value}" for place in range(3)), None)

    for others in ([row("1"), row("20")], [row("1.5"), row("20.10"), row("SKU"), row("1.0.0"), row("v1.0")]):
        assert build(tmp_path, row("17850.0"), row("-3.00"), *others)["reasons"] == {"float_printed": 2}
        assert len(uploaded(tmp_path)) == len(others)
        assert build(tmp_path, row("17850.0"), row("-3.00"), *others, float_ids="keep")["reasons"] == {}


def test_files_are_cut_between_sessions_below_the_size(tmp_path: Path) -> None:
    rows = [
        (f"s{session:03d}", f"p{number}", None, None) for session in range(100) for number in range(session % 7 + 1)
    ]
    manifest = build(tmp_path, *rows, max_file_bytes=1000)
    files = contents(tmp_path)
    assert all(len(content) <= 1000 for content in files)
    sessions = [{json.loads(line)["session_id"] for line in content.splitlines()} for content in files]
    assert sum(map(len, sessions)) == len(set.union(*sessions)) == manifest["sessions"] == 100
    # Greedy: the first session of a file would not have fitted into the file before.
    sizes = {
        one: sum(len(line) + 1 for line in b"".join(files).splitlines() if b'"%s"' % one.encode() in line)
        for one in set.union(*sessions)
    }
    for content, following in zip(files, sessions[1:], strict=False):
        assert len(content) + sizes[min(following)] > 1000
    assert (
        manifest
        == read_json(tmp_path / "manifest.json")
        == {
            "kind": "transactions",
            "format": "json",
            "complete": True,
            "sessions": 100,
            "rows": len(rows),
            "bytes": sum(map(len, files)),
            "sha256": hashlib.sha256(b"".join(files)).hexdigest(),
            "chunks": [
                {
                    "name": f"chunks/transactions-{number:05d}.json",
                    "index": f"index/transactions-{number:05d}.parquet",
                    "rows": content.count(b"\n"),
                    "sessions": len(sessions[number]),
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                for number, content in enumerate(files)
            ],
            "books": {"extracted": len(rows), "rejected": 0, "duplicates": 0, "elsewhere": 0, "uploaded": len(rows)},
            "elsewhere": 0,
            "window": None,
            "now": "2024-12-01T00:00:00.000000+00:00",
            "first_day": None,
            "last_day": None,
            "reasons": {},
        }
    )


@pytest.mark.parametrize("rows_of_giant", [30, 30_000])
def test_a_session_larger_than_a_file_is_refused(tmp_path: Path, rows_of_giant: int) -> None:
    giant = [("giant", f"product-{number}", "u", None) for number in range(rows_of_giant)]
    manifest = build(tmp_path, ("a", "p", None, None), *giant, ("z", "p", None, None), max_file_bytes=1000)
    assert manifest["reasons"] == {"session_too_large": rows_of_giant}
    assert [line["session_id"] for line in uploaded(tmp_path)] == ["a", "z"]


def test_the_same_rows_in_any_order_and_parts_give_the_same_bytes(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [
        (
            f"s{chance.randrange(900)}",
            f"p{chance.randrange(50)}",
            chance.choice([None, "u"]),
            f"2024-01-0{chance.randrange(10)}",
        )
        for _ in range(20_000)
    ]
    made = []
    for run, parts in ((tmp_path / "one", 1), (tmp_path / "two", 3)):
        chance.shuffle(rows)
        for part in range(1, parts):
            stage(run, rows[part::parts], rules(), part)
        build(run, *rows[0::parts], parts=parts, max_file_bytes=100_000)
        made.append([(run / name).read_bytes() for name in ("manifest.json", "rejects.parquet")] + contents(run))
        made[-1] += [path.read_bytes() for path in sorted((run / "index").iterdir())]
    assert made[0] == made[1]


def test_too_many_rejects_stop_the_run(tmp_path: Path) -> None:
    rows = [("s", "p", None, None), ("t", None, None, None)]
    build(tmp_path, *rows, refuse_reject_percent=50)
    with pytest.raises(BadInput, match=r"1 of 2 extracted rows were rejected \(no_identity 1\)"):
        build(tmp_path, *rows, refuse_reject_percent=49)
    assert not (tmp_path / "manifest.json").exists()
    assert len(rejects(tmp_path)) == 1


def test_an_extraction_that_broke_off_is_not_built(tmp_path: Path) -> None:
    build(tmp_path, ("s", "p", None, None))
    (tmp_path / "raw" / "part-00000.json").unlink()
    with pytest.raises(BadInput, match="a part is missing or was not read to its end"):
        build_transactions(tmp_path, rules())
    stage(tmp_path, [], rules())
    with pytest.raises(BadInput, match="a part is missing"):
        build_transactions(tmp_path, rules(), parts=2)
    assert not (tmp_path / "manifest.json").exists()


def test_no_rows_make_no_files(tmp_path: Path) -> None:
    manifest = build(tmp_path)
    assert (manifest["rows"], manifest["sessions"], manifest["chunks"]) == (0, 0, [])


text = st.text('ab1.0\n "\\é', max_size=3)
value = st.one_of(st.none(), text, st.sampled_from(["a", "b", "1.0"]), st.binary(max_size=2))
time = st.one_of(st.none(), st.sampled_from(["", "x", "2024-01-01", "2024-01-01T05:00:00.25+01:00"]), st.datetimes())


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(value, value, value, time), max_size=50),
    parts=st.integers(1, 2),
    kind=st.sampled_from(["json", "csv"]),
)
def test_the_books_balance_and_lines_parse_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], parts: int, kind: str
) -> None:
    run = tmp_path_factory.mktemp("run")
    for part in range(1, parts):
        stage(run, rows[part::parts], rules(), part)
    manifest = build(run, *rows[0::parts], parts=parts, format=kind, max_file_bytes=1000, max_id_bytes=3)
    books = manifest["books"]
    assert books["extracted"] == len(rows) == books["rejected"] + books["duplicates"] + books["uploaded"]

    content = b"".join(contents(run)).decode()
    if kind == "json":
        lines = [tuple(json.loads(line).get(name) for name in COLUMNS) for line in content.split("\n")[:-1]]
    else:
        lines = [(*row, *[""] * (4 - len(row))) for row in csv.reader(content.split("\n")[:-1], strict=True)]
        lines = [tuple(field or None for field in row) for row in lines]
    assert len(lines) == len(set(lines)) == books["uploaded"]
    staged = Counter(
        tuple(field or None for field in row)
        for path in (run / "raw").glob("*.parquet")
        for row in zip(*pq.read_table(path, columns=list(COLUMNS[:3])).to_pydict().values(), strict=True)
    )
    found = Counter(line[:3] for line in lines) + Counter(
        tuple(field or None for field in row[:3]) for row in rejects(run)
    )
    assert found == staged

    users = defaultdict(set)
    for session, _, user, _ in lines:
        users[session].add(user)
    assert all(len(known - {None}) <= 1 for known in users.values())
    assert manifest["sessions"] == len(users)
