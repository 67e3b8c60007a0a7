"""Foreign, broken and hostile batches: refused with byte and reason, in bounded memory, never swallowed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from include.errors import BadInput, NotReady
from include.recommendations import stretches
from include.recommendations.parse import parse_batch
from include.staging import PROJECT_ROOT
from tests.include.recommendations.documents import (
    Product,
    User,
    batch_of,
    json_array,
    json_lines,
    products,
    settings,
    xml,
)

SMALL = [User("ž1", {"t": [Product("p", "https://x/?a=1&recommendation_id=2", "Kůň", None)]}), User("u2", {})]
PLAIN = xml([User("u1"), User("u2")])
DOCTYPE = b'<!DOCTYPE users [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


def refusal(folder: Path, raw: bytes, suffix: str = "xml") -> str:
    """The sentence of a batch that must be refused; nothing but the raw file is left."""
    batch = batch_of(folder, raw, suffix)
    with pytest.raises(BadInput) as caught:
        parse_batch(batch, settings())
    assert [path.name for path in batch.iterdir()] == [f"raw.{suffix}"]
    assert "byte" in str(caught.value)
    return str(caught.value)


def into_first_user(text: bytes) -> bytes:
    return PLAIN.replace(b"<title>Title 1", b"<title>" + text, 1)


@pytest.mark.parametrize(
    ("raw", "suffix"), [(xml(SMALL), "xml"), (json_lines(SMALL), "json"), (json_array(SMALL), "json")]
)
def test_a_batch_cut_anywhere_is_never_a_batch(
    tmp_path: Path, raw: bytes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_lines = {len(raw), raw.index(b"\n"), raw.index(b"\n") + 1} if b"\n" in raw and suffix == "json" else set()
    for length in range(len(raw.rstrip())):
        if length in whole_lines:
            continue  # a batch of fewer lines: only the announced length can tell
        batch = batch_of(tmp_path, raw[:length], suffix)
        with pytest.raises(NotReady, match=f"ends at byte {length}|byte 0: the file is empty"):
            parse_batch(batch, settings())


@pytest.mark.parametrize("length", range(0, len(json_lines(SMALL)), 7))
def test_lines_cut_anywhere_are_caught_by_the_announced_length(tmp_path: Path, length: int) -> None:
    raw = json_lines(SMALL)
    batch = batch_of(tmp_path, raw[:length], "json")
    (batch / "fetch.json").write_text(json.dumps({"bytes": length, "content_length": len(raw)}))
    with pytest.raises(NotReady, match="not whole"):
        parse_batch(batch, settings())


@pytest.mark.parametrize(
    "raw", [b"", b"   \n", b'<?xml version="1.0"?>\n', b"<users>\n", b"<users></users>", b"<users/>"]
)
def test_nothing_yet_is_not_ready(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(NotReady):
        parse_batch(batch_of(tmp_path, raw), settings())


@pytest.mark.parametrize("raw", [b"", b" \n\n", b"[", b"[]", b" [ ] "])
def test_no_json_yet_is_not_ready(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(NotReady):
        parse_batch(batch_of(tmp_path, raw, "json"), settings())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<!DOCTYPE html><html><body>Error</body></html>", "a DOCTYPE (an HTML page"),
        (b"<html><body>Error</body></html>", "byte 0: element <html>"),
        (b"Service unavailable", "byte 0: not XML"),
        (b"<rss><users></users></rss>", "element <rss>"),
        (b'{"id": "u1", "data": {}}', "byte 0: not XML"),
        (PLAIN.replace(b"<users>", DOCTYPE + b"<users>"), "a DOCTYPE"),
        (PLAIN.replace(b"<users>", b'<!DOCTYPE users SYSTEM "file:///etc/passwd"><users>'), "a DOCTYPE"),
        (b"\xef\xbb\xbf<!-- x -->" + DOCTYPE + b"<users></users>", "a DOCTYPE"),
        (PLAIN.replace(b"<user>", DOCTYPE + b"<user>", 1), "not XML"),
        (PLAIN.decode().encode("utf-16"), "byte 0: the encoding is not UTF-8"),
        (PLAIN.decode().encode("utf-16-le"), "byte 0: the encoding is not UTF-8"),
        (PLAIN.decode().encode("utf-32-be"), "byte 0: the encoding is not UTF-8"),
        (PLAIN.replace(b"UTF-8", b"iso-8859-2"), "the declared encoding is not UTF-8|unknown encoding"),
        (PLAIN.replace(b"UTF-8", b"UTF-16"), "not XML|not UTF-8"),
        (PLAIN.replace(b"UTF-8", b"UTF-7"), "the declared encoding is not UTF-8|unknown encoding"),
        (into_first_user(b"\0"), "not XML"),
        (into_first_user(b"\xff"), "not XML"),
        (into_first_user(b"\xed\xa0\x80"), "not XML"),
        (into_first_user(b"&#0;"), "not XML"),
        (into_first_user(b"&#xD800;"), "not XML"),
        (into_first_user(b"&unknown;"), "undefined entity"),
        (into_first_user(b"a & b"), "not XML"),
        (into_first_user(b"<b>bold</b>"), "element <b> is not expected"),
        (into_first_user(b"<a>" * 10_000), "element <a> is not expected"),
        (PLAIN.replace(b"<data>", b"<email>x</email><data>", 1), "byte 84: element <email> is not expected"),
        (PLAIN.replace(b"<user>", b"<user xmlns='urn:x'><y/>", 1), "element <y> is not expected"),
        (PLAIN.replace(b"<user>", b"<group><user>", 1).replace(b"</user>", b"</user></group>", 1), "element <group>"),
        (
            PLAIN.replace(b"</auth_user_id>", b"</auth_user_id><auth_user_id>x</auth_user_id>", 1),
            "second <auth_user_id>",
        ),
        (PLAIN.replace(b"<url>", b"<url>x</url><url>", 1), "second <url>"),
        (PLAIN.replace(b"u1</auth", b"</auth"), "without auth_user_id"),
        (PLAIN.replace(b"mail-basket", b" ", 1), "without recommendation_type"),
        (PLAIN.replace(b"2026-11-20T10:00:00", b"yesterday", 1), "updated_at is not an ISO time"),
        (PLAIN.replace(b"2026-11-20T10:00:00", b"0001-01-01T00:00:00+14:00", 1), "updated_at is not an ISO time"),
        (into_first_user(b"x" * 70_000), "a field longer than 65536 bytes"),
        (into_first_user("ž".encode() * 35_000), "a field longer than 65536 bytes"),
        (PLAIN + b"<users></users>", "not XML"),
        (PLAIN + b"trailing", "not XML"),
        (PLAIN + b"\0" * 100, "not XML"),
        (xml([User("u", {"t": products(10_001)})]), "more than 10000 products"),
        (xml([User("u", {str(n): products(9_000) for n in range(5)})]), "more than 4194304 bytes without a whole user"),
    ],
)
def test_refused_xml(tmp_path: Path, raw: bytes, reason: str) -> None:
    sentence = refusal(tmp_path, raw)
    assert any(part in sentence for part in reason.split("|"))


def line(text: str) -> bytes:
    return f'{{"id": "u1", "data": {{"t": [{{"id": "p", "title": "{text}"}}]}}}}\n'.encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<html></html>", "byte 0: JSON begins with { or ["),
        (b"\n\nnot json", "byte 2: JSON begins with { or ["),
        (b"\xef\xbb\xbf{}", "byte 0: JSON begins with { or ["),
        (b'"text"', "byte 0: JSON begins with { or ["),
        (line("\\ud800"), "byte 0: not JSON"),
        (line("\\udc00\\ud800"), "byte 0: not JSON"),
        (line("a\\u0000b"), "byte 0: a NUL in a text"),
        (line("a\0b"), "byte 0: not JSON"),
        (line("\\x"), "byte 0: not JSON"),
        (line("x" * 70_000), "a field longer than 65536 bytes"),
        (line("ok") + line("ok").replace(b'"u1"', b"5"), "Expected `str`, got `int`"),
        (line("ok") + b'{"id": "u2"}\n', "missing required field `data`"),
        (line("ok") + b'{"id": "u2", "data": {"t": {}}}\n', "Expected `array`"),
        (line("ok") + b'{"id": "u2", "data": {}, "email": "x"}\n', "other keys than id and data"),
        (line("ok") + b'{"id": "", "data": {}}\n', "without auth_user_id"),
        (line("ok") + b'{"id": "u2", "data": {"": []}}\n', "without recommendation_type"),
        (line("ok") + b'{"id": "u2", "id": "u3", "data": {}}\n', "a key that comes twice"),
        (line("ok") + b'{"id": "u2", "data": {"t": [], "t": []}}\n', "a key that comes twice"),
        (line("ok") + b'{"id": "u2", "data": {"t": [{"id": "1", "id": "2"}]}}\n', "a key that comes twice"),
        (line("ok") + b'{"id": "u2", "data": {"t": [{"id": "1", "\\u0069d": "2"}]}}\n', "a key that comes twice"),
        (line("ok") + b'{"id": "u2", "data": {"t": [{"id": "1", "x": NaN}]}}\n', "not JSON"),
        (line("ok") + b'{"id": "u2", "data": {"t": [{"id": "1", "x": "\xff"}]}}\n', "not UTF-8"),
        (line("ok") + b'{"id": "u2", "data": {"t": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n", "nested deeper"),
        (line("ok") + b"]\n", "a user, or the end, is expected"),
        (line("ok").strip() + b",\n" + line("ok"), "a user, or the end, is expected"),
        (b"[" + line("ok") + b",]", "a user, or the end, is expected"),
        (b"[" + line("ok") + b"]]", "a user, or the end, is expected"),
        (b"[" + line("ok") + b"] x", "a user, or the end, is expected"),
        (b"[" + line("ok") + line("ok") + b"]", "a user, or the end, is expected"),
        (b"[,]", "byte 1: not the documented JSON"),
        (b"[1, 2]", "byte 1: not the documented JSON"),
        (json_lines([User("u", {"t": products(10_001)})]), "more than 10000 products"),
        (json_lines([User("u", {str(n): products(9_000) for n in range(5)})]), "4194304 bytes"),
        (json_array([User("u", {str(n): products(9_000) for n in range(5)})]), "4194304 bytes"),
    ],
)
def test_refused_json(tmp_path: Path, raw: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, raw, "json")


def test_the_byte_is_that_of_the_broken_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 5_000)
    users = [User(f"user-{n}") for n in range(100)]
    offset = xml(users).index(b"user-77")
    broken = xml(users).replace(b"user-77</auth_user_id>", b"user-77</auth>")
    assert f"refused at byte {offset + 9}: not XML" in refusal(tmp_path / "xml", broken)
    text = json_lines(users)
    offset = text.index(b'{"id": "user-77"')
    assert f"refused at byte {offset}: " in refusal(tmp_path / "json", text.replace(b'"user-77"', b"77"), "json")


def test_errors_name_no_customer(tmp_path: Path) -> None:
    raw = json_lines([User("jana@example.com", {"t": [Product("p\0")]})])
    assert "jana" not in refusal(tmp_path, raw, "json")


GIANTS = {
    "one text": (b"<users><user><auth_user_id>", b"a", b"</auth_user_id></user></users>", "xml"),
    "one tag": (b"<users><user><", b"a", b"/></user></users>", "xml"),
    "one attribute": (b'<users><user x="', b"a", b'"/></users>', "xml"),
    "one comment": (b"<users><!--", b"a", b"--></users>", "xml"),
    "many elements": (b"<users><user><data>", b"<_metadata/>", b"</data></user></users>", "xml"),
    "many products": (
        b"<users><user><auth_user_id>u</auth_user_id><data><recommendations><recommendation><results>",
        b"<result/>",
        b"</results></recommendation></recommendations></data></user></users>",
        "xml",
    ),
    "blanks": (b"<users>", b" ", b"</users>", "xml"),
    "prologue": (b"<!--", b"a", b"--><users></users>", "xml"),
    "deep": (b"<users>", b"<user>", b"", "xml"),
    "JSON text": (b'{"id": "', b"a", b'", "data": {}}', "json"),
    "JSON word": (b"[", b"1", b"]", "json"),
    "JSON brackets": (b'{"id": "u", "data": {"t": ', b"[", b"", "json"),
    "JSON products": (b'{"id": "u", "data": {"t": [{}', b',{"id": "12345678901234567890123456789"}', b"]}}", "json"),
    "JSON array of one": (b'[{"id": "u", "data": {"t": [{}', b",{}", b"]}}]", "json"),
    "JSON blanks": (b"[", b" ", b"]", "json"),
}
_PARSE = """
import resource, sys
from pathlib import Path
from include.errors import BadInput
from include.publishers.batches import LinkBatch as Batch
from include.recommendations.parse import parse_batch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    parse_batch(Path(sys.argv[1]), Batch(link="https://x/"))
except BadInput as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("giant", GIANTS)
def test_a_hundred_megabytes_in_one_line_take_no_memory(tmp_path: Path, giant: str) -> None:
    begin, middle, end, suffix = GIANTS[giant]
    with (tmp_path / f"raw.{suffix}").open("wb") as raw:
        raw.write(begin)
        for _ in range(100):
            raw.write(middle * (1_000_000 // len(middle)))
        raw.write(end)
    command = [sys.executable, "-c", _PARSE, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT_ROOT).stdout.splitlines()
    assert "byte" in found[0]
    assert int(found[-1]) < 150, "MB more than before"
