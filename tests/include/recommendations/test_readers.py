"""The fast readers never take what the exact ones refuse, and never read anything else out of it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include.recommendations import json_pieces, json_stream, xml_pieces, xml_stream
from include.recommendations.collector import Collector
from include.recommendations.rows import Odd, Refusal
from tests.include.recommendations.documents import Product, User, json_array, json_lines, products, xml

USERS = [
    User(
        "ž&1", {"basket": products(2), "other": [Product("<p>", "https://x/?a=1&recommendation_id=2", 'a "b"', None)]}
    ),
    User("u2", {"basket": []}, None),
    User("default", {"basket": products(1)}),
]


def rows_of(sink: Collector) -> list[dict[str, Any]]:
    rows, users = sink.by_part()
    return [*pa.Table.from_batches(rows).to_pylist(), *pa.Table.from_batches(users).to_pylist()]


def exactly(raw: bytes, form: str) -> list[dict[str, Any]] | None:
    """What the exact reader makes of a file; None if it refuses it."""
    sink = Collector(2, "UTC")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw"
        path.write_bytes(raw)
        readers = {
            "xml": lambda: xml_stream.read_all(path, sink),
            "lines": lambda: json_stream.read_all(path, sink, array=False),
            "array": lambda: json_stream.read_all(path, sink, array=True),
        }
        try:
            list(readers[form]())
            return rows_of(sink)
        except (Refusal, Odd):
            return None


def quickly(raw: bytes, form: str) -> list[dict[str, Any]] | None:
    """What the fast reader makes of a file; None if it leaves it to the exact one."""
    plain: Any = {"xml": xml_pieces, "lines": json_pieces.Lines(), "array": json_pieces.Array()}[form]
    sink = Collector(2, "UTC")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw"
        path.write_bytes(raw)
        try:
            begin, end = plain.content(path)
            plain.read(raw[begin:end], sink)
            return rows_of(sink)
        except Odd:
            return None


WRITERS: dict[str, Callable[[list[User]], bytes]] = {"xml": xml, "lines": json_lines, "array": json_array}
SCRAPS = [
    *(b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?x ", b"?>", b"</user>", b"<user>", b"<users>", b"</users>", b"<a/>"),
    *(b"<id>", b"</id>", b"<id/>", b"<result>", b"</result>", b"<title/>", b"&amp;", b"&#38;", b"&lt;", b"&x;", b"&"),
    *(b"\r\n", b"\r", b"\0", b"\x01", b"\xff", b" ", b"<", b">", b" x='1'", b"<!DOCTYPE a>", b"<results/>"),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"\\u0000", b"\\ud800", b'"id": "x", ', b"}},{", b"\n"),
]


@pytest.mark.parametrize("form", WRITERS)
def test_both_readers_agree_on_what_is_written(form: str) -> None:
    raw = WRITERS[form](USERS)
    assert quickly(raw, form) == exactly(raw, form) is not None


@pytest.mark.parametrize("form", WRITERS)
@hypothesis_settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(SCRAPS) | st.binary(max_size=3), st.integers(0, 30)),
        min_size=1,
        max_size=3,
    )
)
@example(changes=[(0.640625, b"\x80", 0)])
def test_the_fast_reader_takes_nothing_that_the_exact_one_would_not(
    form: str, changes: list[tuple[float, bytes, int]]
) -> None:
    raw = WRITERS[form](USERS)
    for where, scrap, dropped in changes:
        position = int(where * len(raw))
        raw = raw[:position] + scrap + raw[position + dropped :]
    found = quickly(raw, form)
    assert found is None or found == exactly(raw, form)


@pytest.mark.parametrize(
    "change",
    [
        (b"", b""),
        (b"\n", b"\r\n"),
        (b"><", b">\r\n  <"),
        (b"<image_link></image_link>", b"<image_link/>"),
        (b"<results></results>", b"<results />"),
        (b"&amp;", b"&#38;"),
        (b"&amp;", b"&#x26;"),
        (b'"b"', b"&quot;b&apos;"),
        (b"a &", b"&amp;lt;&#60;&amp;#39;"),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n', b""),
        (b'<?xml version="1.0" encoding="UTF-8"?>', b"\xef\xbb\xbf<?xml version='1.0' standalone='yes' ?>"),
        (b"Title 1", "Ťitle \U0001f600".encode()),
        (b"Title 1", b"a > b ]] c"),
    ],
)
def test_plain_variants_are_read_fast(change: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    raw = xml(USERS).replace(*change) if change[0] else xml(USERS)
    expected = exactly(raw, "xml")
    monkeypatch.setattr(xml_stream, "read_piece", lambda *_: pytest.fail("left to the exact reader"))
    assert quickly(raw, "xml") == expected is not None


@pytest.mark.parametrize(
    "change",
    [
        (b"<result>", b"<!-- <result> --><result>"),
        (b"<results><result>", b"<results><!--<result>"),
        (b"Title 1", b"<![CDATA[<result></result>]]>"),
        (b"<user>", b"<user x='1'>"),
        (b"<user>", b"some text<user>"),
        (b"<title>Title 1</title>", b""),
    ],
)
def test_unusual_pieces_are_read_exactly(change: tuple[bytes, bytes]) -> None:
    raw = xml(USERS).replace(*change)
    assert quickly(raw, "xml") == exactly(raw, "xml")


def users(count: int) -> list[User]:
    return [User(f"user-{number}", {"t": products(3)}) for number in range(count)]


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("piece", [1, 100, 1000])
def test_pieces_of_any_size_give_the_same(form: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = WRITERS[form](users(9))
    whole = quickly(raw, form)
    monkeypatch.setattr(xml_pieces, "PIECE", piece)
    monkeypatch.setattr(json_pieces, "PIECE", piece)
    assert quickly(raw, form) == whole is not None


@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_json_scanner_does_not_care_where_blocks_end(
    form: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = WRITERS[form](USERS)
    whole = exactly(raw, form)
    monkeypatch.setattr(json_stream, "BLOCK", block)
    assert exactly(raw, form) == whole is not None


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_xml_reader_does_not_care_where_blocks_end(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = xml(USERS)
    whole = exactly(raw, "xml")
    monkeypatch.setattr(xml_stream, "BLOCK", block)
    assert exactly(raw, "xml") == whole is not None
