"""CSV files: nothing a file may hold is lost, whatever it is and wherever the blocks are cut."""

import csv
import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.tabular import blocks, delimited, stage_files

LINES = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
RECORD = re.compile(rb'(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,(?:"(?:[^"]|"")*"|[^",\r\n]*))*(?:\r\n|\r|\n)?')
Got = tuple[list[tuple[Any, ...]], list[tuple[str, str]]]


def stage(folder: Path, *files: tuple[str, bytes], columns: Sequence[str] = ("a", "b"), **options: Any) -> Got:
    """Stage files of these bytes; the rows, and of the refused ones where they were and why."""
    paths = []
    for name, content in files:
        (folder / name).write_bytes(content)
        paths.append((name, folder / name))
    record = stage_files(paths, columns[:1], columns[1:], folder / "raw", **{"names": {}, **options})
    rows = [tuple(row.values()) for row in pq.read_table(folder / "raw" / "part-00000.parquet").to_pylist()]
    refused = [tuple(row.values()) for row in pq.read_table(folder / "raw" / "refused-00000.parquet").to_pylist()]
    assert (record["rows"], record["refused"]) == (len(rows), len(refused))
    assert not list(folder.glob(".tabular*"))
    return rows, [(str(row[0]).partition(": ")[0], row[-1]) for row in refused]


def expected(data: bytes, width: int) -> tuple[list[tuple[str, ...]], list[int]]:
    """The same by a slow way: rows, and numbers of the lines that are refused."""
    rows: list[tuple[str, ...]] = []
    refused: list[int] = []
    lines = LINES.findall(data)
    at = 0
    while at < len(lines):
        tries = (b"".join(lines[at : at + count]) for count in range(1, 101) if at + count <= len(lines))
        found = next((each for each in tries if RECORD.fullmatch(each)), lines[at])
        whole = _values(found, width)
        values = whole or _values(lines[at], width)
        if values and not any("\udc80" <= character <= "\udcff" for character in "".join(values)):
            rows.append(values)
        elif lines[at].strip(b"\r\n"):
            refused.append(at + 1)
        at += len(LINES.findall(found)) if whole else 1
    return rows, refused


def _values(record: bytes, width: int) -> tuple[str, ...] | None:
    try:
        text = re.sub(r"(\r\n|\r|\n)$", "", record.decode(errors="surrogateescape"))
        rows = (
            list(csv.reader(io.StringIO(text, newline=""), strict=True))
            if "\n" in text or "\r" in text
            else [*csv.reader([text], strict=True)]
        )
    except csv.Error:
        return None
    return tuple(rows[0]) if len(rows) == 1 and len(rows[0]) == width else None


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(size: int) -> None:
        monkeypatch.setattr(blocks, "BLOCK", size)
        monkeypatch.setattr(delimited, "_SMALL", max(1, size // 2))

    return make


HOSTILE = st.lists(
    st.sampled_from(
        [b"a", b"1", b",", b",", b'"', b'"', b"\n", b"\n", b"\r\n", b"\r", b"\xff", b"\0", "é".encode(), b" "]
    ),
    max_size=60,
).map(b"".join)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=HOSTILE, size=st.sampled_from([1, 2, 3, 7, 64, 4096]))
def test_any_bytes_come_as_the_slow_way_says(data: bytes, size: int, tmp_path: Path, small_blocks: Any) -> None:
    small_blocks(size)
    rows, refused = stage(tmp_path, ("x.csv", b"a,b\n" + data))
    wanted_rows, wanted_refused = expected(data, 2)
    assert rows == wanted_rows
    assert refused == [(f"x.csv, line {line + 1}", "unreadable_line") for line in wanted_refused]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=8)] * 3), max_size=12),
    # with one of them alone, Python's writer does not quote a value that has the other
    written=st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL), ("\r", csv.QUOTE_ALL)]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    size=st.sampled_from([1, 5, 64, 4096]),
)
def test_what_a_csv_writer_writes_comes_back(
    rows: list[tuple[str, ...]], written: Any, delimiter: str, size: int, tmp_path: Path, small_blocks: Any
) -> None:
    small_blocks(size)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=written[0], quoting=written[1], delimiter=delimiter)
    writer.writerows([("c", "b", "a"), *rows])
    got, refused = stage(tmp_path, ("x.csv.gz", gzip.compress(out.getvalue().encode())), delimiter=delimiter)
    assert got == [(row[2], row[1]) for row in rows]
    assert refused == []


@pytest.mark.parametrize(
    ("content", "rows", "refused"),
    [
        pytest.param(b"\xef\xbb\xbfa,b\n1,2\n", [("1", "2")], [], id="byte order mark"),
        pytest.param(b"a,b\r\n1,2\n3,4\r5,6", [("1", "2"), ("3", "4"), ("5", "6")], [], id="all line ends"),
        pytest.param(b"\n\na,b\n\n1,2\n\n", [("1", "2")], [], id="blank lines"),
        pytest.param(b'"A","B "\n"1","x\r\n""y"""\n', [("1", 'x\r\n"y"')], [], id="quotes"),
        pytest.param(b'a,b\n1,5" pipe\n', [("1", '5" pipe')], [], id="a quote inside an unquoted value"),
        pytest.param(b"a,b\n1,\0\n", [("1", "\0")], [], id="NUL"),
        pytest.param(b"a,b", [], [], id="only a header"),
        pytest.param(b"b,c,a,c\n2,x,1,y\n", [("1", "2")], [], id="other columns, one of them twice"),
        pytest.param(b"a\n1\n\n2\n", [("1", None), ("2", None)], [], id="an optional column is missing"),
        pytest.param(b"a,b\n1\n1,2,3\n1,2\n", [("1", "2")], [2, 3], id="too few and too many"),
        pytest.param(b"a,b\n1,\xff\n1,2\n\xe9\n", [("1", "2")], [2, 4], id="not UTF-8"),
        pytest.param(b'a,b\n1,"x\n3,4\n5,6\n', [("3", "4"), ("5", "6")], [2], id="a quote stays open"),
        pytest.param(b'a,b\n1,"x"y\n3,4\n', [("3", "4")], [2], id="text after a quote"),
        pytest.param(b'a,b\n1,"x\n' + b"3,4\n" * 200 + b'5,"y"\n', [("3", "4")] * 200 + [("5", "y")], [2], id="long"),
    ],
)
def test_shapes(content: bytes, rows: Any, refused: list[int], tmp_path: Path) -> None:
    got = stage(tmp_path, ("x.csv", content))
    assert got == (rows, [(f"x.csv, line {line}", "unreadable_line") for line in refused])


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_only_wanted_columns_must_be_utf8(tmp_path: Path, caplog: pytest.LogCaptureFixture, line_end: str) -> None:
    text = line_end.join(
        ["name,a,b", "tričko,1,2", '"čaj, ""černý""",3,4', '"č', '5",5,"6"', "x,č,7", 'čaj" x,8,9', ""]
    )
    rows, refused = stage(tmp_path, ("x.csv", text.encode("windows-1250")))
    assert rows == [("1", "2"), ("3", "4"), ("5", "6"), ("8", "9")]
    assert refused == [("x.csv, line 6", "unreadable_line")]
    assert "4 rows, 1 refused; the first unreadable lines are 6; 1 are not UTF-8, probably it is Windows" in caplog.text
    caplog.clear()
    stage(tmp_path, ("y.csv", b"a,b\n1\n"))
    assert "UTF-8" not in caplog.text


@pytest.mark.parametrize("first", [b"sep=;\r\n", b"\xef\xbb\xbfSEP=;\n", b'"sep=;"\r'])
@pytest.mark.parametrize("header", [True, False])
def test_a_first_line_may_name_the_delimiter(first: bytes, header: bool, tmp_path: Path, small_blocks: Any) -> None:
    small_blocks(5)
    rows, refused = stage(tmp_path, ("x.csv", first + b"a;b\n" * header + b'1;2\n\n"3";4\n5\n'), header=header)
    assert rows == [("1", "2"), ("3", "4")]
    assert refused == [(f"x.csv, line {5 + header}", "unreadable_line")]


def test_lines_that_are_too_long(tmp_path: Path) -> None:
    """One in the middle of a block, one over several blocks, and a value that no id may be."""
    huge, long, wide = (b"1," + b"x" * size + b"\n" for size in (20_000_000, 2_000_000, 70_000))
    content = b"a,b\n1,2\n" + long + b"3,4\n" + huge + b"5,6\n" + wide + b'7,"' + b"y\n" * 90 + huge
    rows, refused = stage(tmp_path, ("x.csv", content))
    assert rows == [("1", "2"), ("3", "4"), ("5", "6")]
    bad = [f"x.csv, line {line}" for line in (3, 5, *range(8, 99))]
    assert sorted(refused) == sorted([("1", "too_long"), *((line, "unreadable_line") for line in bad)])


def test_files_have_columns_of_their_own(tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("1.csv", b"a,b\n1,2\n"), ("2.csv", b"B,x,A\n4,-,3\n"), ("3.tsv", b"a\n5\n"))
    assert rows == [("1", "2"), ("3", "4"), ("5", None)]


def test_names_of_the_source(tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("x.csv", b"InvoiceNo,a,b\nC1,no,2\n"), names={"a": "invoiceno"})
    assert rows == [("C1", "2")]
    with pytest.raises(BadInput, match=r"x.csv: columns: found a, b; missing: InvoiceNo. Wanted are InvoiceNo"):
        stage(tmp_path, ("x.csv", b"a,b\n1,2\n"), names={"a": "InvoiceNo"})


@pytest.mark.parametrize(
    ("content", "rows", "refused"),
    [
        (b"1,2\n3,4\n", [("1", "2", None), ("3", "4", None)], []),
        (b"1,2\n1,2,3\n1,2,3", [("1", "2", "3")] * 2, [1]),
        (b"", [], []),
    ],
)
def test_without_a_header(content: bytes, rows: Any, refused: list[int], tmp_path: Path) -> None:
    got = stage(tmp_path, ("x.csv", content), columns=("a", "b", "c"), header=False)
    assert got == (rows, [(f"x.csv, line {line}", "unreadable_line") for line in refused])


def test_the_order_of_columns_without_a_header(tmp_path: Path) -> None:
    rows, _ = stage(tmp_path, ("x.csv", b"2,1\n"), header=False, order=("b", "a", "c"), names={"a": "other"})
    assert rows == [("1", "2")]


WHOLE = gzip.compress(b"a,b\n" + b"1,2\n" * 50_000)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.csv.gz", WHOLE[: len(WHOLE) // 2], {}, r"x.csv.gz: not a whole gzip file"),
        ("x.csv.gz", WHOLE[:-4], {}, r"x.csv.gz: not a whole gzip file"),
        ("x.csv.gz", WHOLE[:-8] + b"\0" * 8, {}, r"x.csv.gz: not a whole gzip file"),
        ("x.csv.gz", b"a,b\n", {}, r"x.csv.gz: not a whole gzip file"),
        ("x.csv.gz", b"", {}, r"x.csv.gz: it ends with .gz and holds no byte"),
        ("x.csv", b"", {}, r"x.csv: it is empty, without even a header"),
        ("x.csv", b"\xef\xbb\xbf\n\n", {}, r"x.csv: it is empty, without even a header"),
        ("x.csv", b"77,88\n99,11\n", {}, r"x.csv: its first line has 2 values and none of the wanted columns \(a, b\)"),
        ("x.csv", b"a;b\n1;2\n", {}, r"the delimiter is another"),
        ("x.csv", b"b,c\n1,2\n", {}, r"x.csv: columns: found b, c; missing: a\."),
        ("x.csv", b"a,b,A\n", {}, r"twice: a"),
        ("x.csv", b'a,"b\n1,2\n', {}, r"x.csv: its first line cannot be read: a quote"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), {}, r"x.csv: its first line cannot be read as CSV in UTF-8"),
        ("x.csv", "a,b,č\n".encode("windows-1250"), {}, r"probably it is Windows-1250: write the file as UTF-8"),
        ("x.csv", b"sep=;\n", {}, r"x.csv: it is empty, without even a header"),
        ("x.csv", b"x" * 20_000_000, {}, r"x.csv: its first line is longer than a mebibyte"),
        ("x.csv", b"a,b\n1,2\n", {"header": False}, r"x.csv: its first line names columns"),
        (
            "x.csv",
            b"1,2,3\n",
            {"header": False},
            r"its lines have 3 values; without a header there are at most 2: a, b",
        ),
        ("x.csv", b"a,b\n", {"delimiter": "→"}, r"one ASCII character"),
        ("x.zip", b"a,b\n", {}, r"x.zip: files are read by their extension: .csv, .*came .zip"),
    ],
)
def test_files_that_end_the_run(name: str, content: bytes, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        stage(
            tmp_path,
            ("good.csv", b"a,b\n1,2\n" if options.get("header", True) else b"1,2\n"),
            (name, content),
            **options,
        )
    assert "Nothing was staged" in str(caught.value)
    assert "99" not in str(caught.value)  # values may be customers' ids
    assert "77" not in str(caught.value)
    assert not list((tmp_path / "raw").glob("*"))
