"""The multipart reader: whatever the file holds and however the body is cut, the same bytes come out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.sandbox.answers import Refused
from include.sandbox.multipart import FileField, boundary_of

BOUNDARY = b"XX-border"
NASTY = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"XX", b"\r\n--XX-borde", b"\r\n--", b"a", b"\x00"]))


def body(
    content: bytes, name: bytes = b"file", filename: bytes = b'; filename="a.json"', end: bytes = b"--\r\n"
) -> bytes:
    head = b'Content-Disposition: form-data; name="' + name + b'"' + filename + b"\r\nContent-Type: text/plain\r\n\r\n"
    return b"--" + BOUNDARY + b"\r\n" + head + content + b"\r\n--" + BOUNDARY + end


def read(whole: bytes, sizes: list[int]) -> bytes:
    field, out, position = FileField(BOUNDARY), b"", 0
    for size in [*sizes, len(whole)]:
        out += field.feed(whole[position : position + size])
        position += size
    field.finish()
    return out


@given(content=st.one_of(st.binary(max_size=200), NASTY.map(b"".join)), sizes=st.lists(st.integers(0, 40), max_size=60))
def test_any_content_in_any_pieces(content: bytes, sizes: list[int]) -> None:
    assert read(body(content), sizes) == content


@given(cut=st.integers(1, 30), sizes=st.lists(st.integers(0, 40), max_size=20))
def test_a_body_without_its_end_is_refused(cut: int, sizes: list[int]) -> None:
    whole = body(b"one\r\ntwo", end=b"--")
    with pytest.raises(Refused, match="closing boundary"):
        read(whole[:-cut], sizes)


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (body(b"x", name=b"users"), "must be named 'file'"),
        (body(b"x", filename=b""), "with a file name"),
        (body(b"x", end=b"\r\n") + body(b"y"), "only one form field"),
        (b"--" + BOUNDARY + b"--\r\n", "closing boundary"),
        (b"", "closing boundary"),
        (b"hello\r\n\r\n" + body(b"x"), "start with its boundary"),
        (b"--" + BOUNDARY + b"\r\n" + b"X: y\r\n" * 4000, "too long"),
    ],
)
def test_anything_else_than_one_file_is_refused(whole: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        read(whole, [len(whole) // 2])
    assert caught.value.status == 422


def test_the_name_is_read() -> None:
    field = FileField(BOUNDARY)
    field.feed(body(b"x", filename='; filename="Kundenliste für März.csv"'.encode()))
    assert field.filename == "Kundenliste für März.csv"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=" + 300 * "x",
    ],
)
def test_a_type_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(Refused):
        boundary_of(content_type)


def test_a_quoted_boundary() -> None:
    assert boundary_of('multipart/form-data; charset=utf-8; boundary="a b:c"') == b"a b:c"
