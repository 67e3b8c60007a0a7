"""The exact XML reader: one pass with expat, any layout, byte offsets in every error, flat memory.

It decides what a batch may be; the fast reader only ever accepts less. Refused are a DOCTYPE (so there are no
entities of the document's own), encodings other than UTF-8 or ASCII, unknown elements above the level of
fields, and anything longer than the limits. Unknown fields of a product or of ``_metadata`` are counted and
left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from include.recommendations.collector import Collector
from include.recommendations.rows import (
    BLANKS,
    FIELD_LIMIT,
    USER_LIMIT,
    Odd,
    Refusal,
    Unfinished,
)

BLOCK = 1024 * 1024


@dataclass(frozen=True)
class _Node:
    """An element of the documented shape: what it may hold; without children it is a field."""

    children: dict[str, "_Node"] = field(default_factory=dict)
    other_fields: bool = False


_FIELD = _Node()
_RESULT = _Node(dict.fromkeys(("id", "url", "title", "image_link"), _FIELD), other_fields=True)
_RECOMMENDATION = _Node({"recommendation_type": _FIELD, "results": _Node({"result": _RESULT})})
_DATA = _Node(
    {
        "_metadata": _Node({"updated_at": _FIELD}, other_fields=True),
        "recommendations": _Node({"recommendation": _RECOMMENDATION}),
    }
)
_USER = _Node({"auth_user_id": _FIELD, "data": _DATA})
_DOCUMENT = _Node({"users": _Node({"user": _USER})})
_ONCE = {"auth_user_id", "data", "_metadata", "recommendations", "recommendation_type", "results", "updated_at"}


class XmlReader:
    """Feed it bytes; users go to the sink."""

    def __init__(self, sink: Collector) -> None:
        self._sink = sink
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration
        self._stack = [_DOCUMENT]
        self._fed = 0
        self._user_start = 0
        self._text: list[str] = []
        self._text_bytes = 0
        self._seen: list[dict[str, str]] = [{}]
        self._products: list[tuple[str | None, ...]] = []
        self._sizes: list[tuple[str, int]] = []

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes.

        Raises:
            Refusal: foreign, hostile or malformed.
            EOFError: ``last``, and the document is not closed.
        """
        if self._fed == 0 and (b"\0" in data[:4] or data[:2] in (b"\xff\xfe", b"\xfe\xff")):
            raise Refusal(0, "the encoding is not UTF-8")
        self._fed += len(data)
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError as error:
            raise Refusal(self._parser.ErrorByteIndex, f"not XML ({expat.ErrorString(error.code)})") from None
        if self._fed - self._user_start > USER_LIMIT + BLOCK:
            raise Refusal(self._user_start, f"more than {USER_LIMIT} bytes without a whole user")
        if last:
            self._close()

    def _close(self) -> None:
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise EOFError(expat.ErrorString(error.code)) from None

    def _refusal(self, reason: str) -> Refusal:
        return Refusal(self._parser.CurrentByteIndex, reason)

    def _doctype(self, *_: object) -> None:
        raise self._refusal("a DOCTYPE (an HTML page, or a document with entities of its own)")

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and encoding.lower() not in ("utf-8", "us-ascii", "ascii"):
            raise self._refusal("the declared encoding is not UTF-8")

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        parent = self._stack[-1]
        node = parent.children.get(tag)
        if node is None:
            if not parent.other_fields:
                raise self._refusal(f"element <{tag[:40]}> is not expected here")
            node = _FIELD
            self._sink.ignored_fields += 1
        elif tag in self._seen[-1] and (tag in _ONCE or node is _FIELD):
            raise self._refusal(f"a second <{tag}>")
        self._seen[-1][tag] = ""
        self._stack.append(node)
        self._text.clear()
        self._text_bytes = 0
        if node is _FIELD:
            return
        self._seen.append({})
        if node is _USER:
            self._user_start = self._parser.CurrentByteIndex

    def _characters(self, text: str) -> None:
        if self._stack[-1] is _FIELD:
            self._text_bytes += len(text.encode())
            if self._text_bytes > FIELD_LIMIT:
                raise self._refusal(f"a field longer than {FIELD_LIMIT} bytes")
            self._text.append(text)

    def _end(self, tag: str) -> None:
        node = self._stack.pop()
        if node is _FIELD:
            self._seen[-1][tag] = "".join(self._text)
            return
        seen = self._seen.pop()
        if node is _RESULT:
            self._products.append(tuple(seen.get(name) for name in _RESULT.children))
        elif node is _RECOMMENDATION:
            in_blocks = sum(size for _, size in self._sizes)
            kind = seen.get("recommendation_type", "").strip(BLANKS)
            self._sizes.append((kind, len(self._products) - in_blocks))
        elif tag == "_metadata":
            self._seen[0]["updated_at"] = seen.get("updated_at", "").strip(BLANKS)
        elif node is _USER:
            self._finish_user(seen.get("auth_user_id", "").strip(BLANKS))

    def _finish_user(self, auth_user_id: str) -> None:
        try:
            self._sink.add_user(auth_user_id, self._seen[0].pop("updated_at", None), self._sizes)
        except Odd as error:
            raise Refusal(self._user_start, str(error)) from None
        items, urls, titles, images = zip(*self._products, strict=True) if self._products else ((),) * 4
        self._sink.add_products((items, urls, titles, images))
        self._products, self._sizes = [], []
        self._user_start = self._parser.CurrentByteIndex


def read_piece(piece: bytes, sink: Collector) -> None:
    """Read whole users, wrapped in ``<users>``.

    Raises:
        Odd: they are not whole, or not of the documented shape.
    """
    try:
        XmlReader(sink).feed(piece, last=True)
    except (Refusal, EOFError) as error:
        raise Odd(str(error)) from None


def read_all(raw: Path, sink: Collector) -> Iterator[int]:
    """Hand all users to the sink; yields how many bytes were read, now and then.

    Raises:
        Refusal: foreign, hostile or malformed.
        Unfinished: the document is not closed.
    """
    reader = XmlReader(sink)
    size = 0
    with raw.open("rb") as handle:
        while block := handle.read(BLOCK):
            reader.feed(block)
            size += len(block)
            yield size
    try:
        reader.feed(b"", last=True)
    except EOFError as error:
        raise Unfinished(size, f"the XML is not closed ({error})") from None
