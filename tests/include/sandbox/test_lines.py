"""The lines of uploads: what is in order is stored as it came, what is not is found, with its line."""

import csv
import io
import json
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.sandbox.database import Database
from include.sandbox.lines import MAX_LINE, BadLine, Kind, load

FIELDS = {"users": ("auth_user_id",), "transactions": ("session_id", "identity", "user_id", "bought_at")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module")
def database(folder: Path) -> Database:
    return Database(folder, "500MB")


def stored(folder: Path, database: Database, content: bytes, kind: Kind, form: str) -> list[tuple[object, ...]]:
    (folder / "in").write_bytes(content)
    rows = load(folder / "in", kind, form, folder / "out.parquet", database)  # type: ignore[arg-type]
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {', '.join(FIELDS[kind])} FROM '{folder}/out.parquet'").fetchall()
    assert len(found) == rows
    return found


def refusal(folder: Path, database: Database, content: bytes, kind: Kind, form: str) -> tuple[int | None, str]:
    with pytest.raises(BadLine) as caught:
        stored(folder, database, content, kind, form)
    assert not (folder / "out.parquet").exists()
    return caught.value.line, str(caught.value)


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0"))
slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(ids=st.lists(text.filter(lambda each: each != "default"), min_size=1, max_size=20), ascii_only=st.booleans())
def test_users_come_back_as_they_were_sent(folder: Path, database: Database, ids: list[str], ascii_only: bool) -> None:
    names = ["auth_user_id" if number % 2 else "user_id" for number in range(len(ids))]
    lines = [json.dumps({name: each}, ensure_ascii=ascii_only) for name, each in zip(names, ids, strict=True)]
    assert [row[0] for row in stored(folder, database, "\n".join(lines).encode(), "users", "json")] == ids
    lines = ['"' + each.replace('"', '""') + '"\n' for each in ids]
    assert [row[0] for row in stored(folder, database, "".join(lines).encode(), "users", "csv")] == ids


@slow
@given(
    rows=st.lists(
        st.tuples(text, text, st.one_of(st.none(), text), st.one_of(st.none(), times)), min_size=1, max_size=9
    )
)
def test_purchases_come_back_as_they_were_sent(folder: Path, database: Database, rows: list[tuple[str, ...]]) -> None:
    names = ("session_id", "identity", "user_id", "created_at")
    lines = [json.dumps({name: v for name, v in zip(names, row, strict=True) if v is not None}) for row in rows]
    found = stored(folder, database, "\n".join(lines).encode(), "transactions", "json")
    assert [row[:3] for row in found] == [row[:3] for row in rows]
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert stored(folder, database, buffer.getvalue().encode(), "transactions", "csv") == found
    for sent, kept in zip(rows, found, strict=True):
        assert (sent[3] or "None")[:19] == str(kept[3])[:19]


GOOD = '{"auth_user_id": "u"}\n'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"auth_user_id": 17850}', "not a string"),
        ('{"auth_user_id": 17850.0}', "not a string"),
        ('{"auth_user_id": ["u"]}', "not a string"),
        ('{"auth_user_id": true}', "not a string"),
        ('{"auth_user_id": null}', "missing or empty"),
        ('{"auth_user_id": ""}', "missing or empty"),
        ('{"id": "u"}', "missing or empty"),
        ('{"auth_user_id": "default"}', "reserved"),
        ('{"auth_user_id": "a\\u0000b"}', "control character"),
        ('{"auth_user_id": "a\\nb"}', "control character"),
        ('{"auth_user_id": "\\ud800"}', "JSON object"),
        ('["u"]', "JSON object"),
        ('"u"', "JSON object"),
        ('{"auth_user_id": "u"', "JSON object"),
        ('{"auth_user_id": "u"}{"auth_user_id": "v"}', "JSON object"),
        ("nonsense", "JSON object"),
        ("[" * 50_000, "JSON object"),
        ('{"auth_user_id": "' + "x" * 50 * MAX_LINE + '"}', "longer than"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_a_bad_user_is_found(folder: Path, database: Database, before: int, line: str, reason: str) -> None:
    content = GOOD * before + line + "\n" + GOOD + line + "\n"
    number, sentence = refusal(folder, database, content.encode(), "users", "json")
    assert number == before + 1
    assert reason in sentence
    assert sentence.startswith(f"line {before + 1}: ")


@pytest.mark.parametrize(
    "bad", [b'{"auth_user_id": "\xff"}', b'{"auth_user_id": "\xed\xa0\x80"}', b"\x00", b"\xef\xbb\xbf{}"]
)
def test_what_is_not_text_is_found(folder: Path, database: Database, bad: bytes) -> None:
    number, _ = refusal(folder, database, GOOD.encode() * 2 + bad + b"\n", "users", "json")
    assert number == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'"u1","u2"', "2 fields"),
        (b'""', "missing or empty"),
        (b"", "missing or empty"),
        (b'"default"', "reserved"),
        (b'"a\x01b"', "control character"),
        (b'"open', "quote"),
        (b'"a"b', "quote"),
        (b'"\xff"', "UTF-8"),
    ],
)
def test_a_bad_user_in_csv_is_found(folder: Path, database: Database, line: bytes, reason: str) -> None:
    number, sentence = refusal(folder, database, b'"u1"\nu2\n' + line + b'\n"u3"\n', "users", "csv")
    assert number == 3
    assert reason in sentence


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"s"', "identity is missing"),
        ('"","p"', "session_id is missing"),
        ('"s","p","u","2023-04-22 15:04:30","more"', "5 fields"),
        ('"s","p","u","2023-04-22T15:04:30Z"', "created_at"),
        ('"s","p","u","2023-04-22 15:04:30+02:00"', "created_at"),
        ('"s","p","u","22.4.2023 15:04"', "created_at"),
        ('"s","p","u","2023-02-30 15:04:30"', "created_at"),
        ('"s","p","u","2023-4-2 5:04:30"', "created_at"),
        ('"s","p","u","1682175870"', "created_at"),
        ('"s","p","u\x7f"', "control character"),
    ],
)
def test_a_bad_purchase_in_csv_is_found(folder: Path, database: Database, line: str, reason: str) -> None:
    number, sentence = refusal(folder, database, f'"s","p"\n{line}\n"s","p"\n'.encode(), "transactions", "csv")
    assert number == 2
    assert reason in sentence


def test_two_three_or_four_fields(folder: Path, database: Database) -> None:
    content = b'"s","p"\n"s","p","u"\ns,p,u,2023-04-22 15:04:30.12312\n"s","p",,""\n'
    found = stored(folder, database, content, "transactions", "csv")
    assert [[str(value) for value in row] for row in found] == [
        ["s", "p", "None", "None"],
        ["s", "p", "u", "None"],
        ["s", "p", "u", "2023-04-22 15:04:30.123120"],
        ["s", "p", "None", "None"],
    ]


@pytest.mark.parametrize(
    "line", ['{"session_id": "s", "identity": 7}', '{"session_id": "s", "identity": "p", "user_id": 7}']
)
def test_a_number_for_a_string_is_found(folder: Path, database: Database, line: str) -> None:
    good = '{"session_id": "s", "identity": "p", "auth_user_id": "u"}\n'
    number, sentence = refusal(folder, database, (good + line).encode(), "transactions", "json")
    assert (number, "not a string" in sentence) == (2, True)


@pytest.mark.parametrize("form", ["json", "csv"])
@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_refused(folder: Path, database: Database, form: str, content: bytes) -> None:
    refusal(folder, database, content, "users", form)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_line_ends_of_windows(folder: Path, database: Database, form: str) -> None:
    lines = {"json": b'{"auth_user_id": "u1"}\r\n{"user_id": "u2"}\r\n', "csv": b'"u1"\r\n"u2"\r\n'}
    assert stored(folder, database, lines[form], "users", form) == [("u1",), ("u2",)]


def test_a_reason_never_repeats_the_line(folder: Path, database: Database) -> None:
    for line in ('{"auth_user_id": ["secret-7"]}', '{"auth_user_id": "secret-7', '{"auth_user_id": "secret-7\\u0001"}'):
        assert "secret" not in refusal(folder, database, line.encode(), "users", "json")[1]
