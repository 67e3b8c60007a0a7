"""The fast XML reader: stretches of whole users, one mebibyte at a time; expat proves them, patterns read them.

A stretch is cut after ``</user>`` tags and each piece is wrapped in ``<users>`` again. If every piece is
well-formed by itself, so is the whole, and all cuts were between users. Whatever expat has found well-formed can be
read by patterns without being less strict: they match the documented shape alone, without attributes, comments or
CDATA, and must use up every byte. A piece with anything else goes to the exact reader.
"""

import re
from pathlib import Path
from xml.parsers import expat

from include.recommendations import xml_stream
from include.recommendations.collector import Collector
from include.recommendations.rows import BLANKS, USER_LIMIT, Columns, Odd, Sizes

END = b"</user>"
PIECE = 256 * 1024
_HEAD = re.compile(
    rb"""(\xef\xbb\xbf)?(<\?xml\s+version=["']1\.0["'](\s+encoding=["'](utf-8|us-ascii)["'])?"""
    rb"""(\s+standalone=["'](yes|no)["'])?\s*\?>)?\s*<users\s*>""",
    re.IGNORECASE,
)
_TAIL = re.compile(rb"</users\s*>\s*\Z")


_FIELD = rb"([^<]*+)"
_PRODUCT = re.compile(
    rb"<result>\s*<id>%b</id>\s*<url>%b</url>\s*<title>%b</title>\s*<image_link>%b</image_link>\s*</result>\s*"
    % ((_FIELD,) * 4)
)
_MARK = b"\x01"
"""Stands for a product that was taken out; no XML can hold this character."""
_BLOCK = rb"<recommendation>\s*<recommendation_type>%b</recommendation_type>\s*<results>\s*(\x01*+)</results>\s*"
_USER = re.compile(
    rb"\s*<user>\s*<auth_user_id>%b</auth_user_id>\s*<data>\s*"
    rb"(?:<_metadata>\s*<updated_at>%b</updated_at>\s*</_metadata>\s*)?"
    rb"<recommendations>\s*((?:%b</recommendation>\s*)*+)</recommendations>\s*</data>\s*</user>\s*"
    % (_FIELD, _FIELD, _BLOCK.replace(b"(\\x01*+)", b"\\x01*+") % b"[^<]*+")
)
_BLOCKS = re.compile(_BLOCK % _FIELD)
_EMPTY = re.compile(rb"<([a-z_]+)\s*/>")
_REFERENCE = re.compile(rb"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(lt|gt|amp|quot|apos));")
_NAMED = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'"}


def content(raw: Path) -> tuple[int, int]:
    """Where the users begin and end, in bytes.

    Raises:
        Odd: the document does not begin or end in the plain way.
    """
    size = raw.stat().st_size
    with raw.open("rb") as handle:
        head = _HEAD.match(handle.read(4096))
        handle.seek(max(0, size - 4096))
        tail = _TAIL.search(handle.read())
    if not head or not tail:
        raise Odd("not the plain beginning and end of a batch")
    return head.end(), max(0, size - 4096) + tail.start()


def border(window: bytes) -> int:
    """The end of the first whole user in ``window``; 0 if none ends there."""
    return window.find(END) + len(END) if END in window else 0


def read(stretch: bytes, sink: Collector) -> None:
    """Read whole users.

    Raises:
        Odd: not well-formed, or not the documented shape.
    """
    start = 0
    while start < len(stretch):
        stop = _cut(stretch, start)
        piece = b"<users>" + stretch[start:stop] + b"</users>"
        _prove(piece)
        try:
            users, products = _users(piece[len("<users>") : -len("</users>")])
        except Odd:
            xml_stream.read_piece(piece, sink)
        else:
            for user in users:
                sink.add_user(*user)
            sink.add_products(products)
        start = stop


def _cut(stretch: bytes, start: int) -> int:
    if len(stretch) - start <= PIECE:
        return len(stretch)
    stop = stretch.rfind(END, start, start + PIECE)
    if stop < 0:
        stop = stretch.find(END, start, start + USER_LIMIT)
    if stop < 0:
        raise Odd(f"more than {USER_LIMIT} bytes without a whole user")
    return stop + len(END)


def _prove(piece: bytes) -> None:
    try:
        expat.ParserCreate("utf-8").Parse(piece, True)
    except expat.ExpatError as error:
        raise Odd(f"not well-formed by itself ({error})") from None


def _users(piece: bytes) -> tuple[list[tuple[str, str | None, Sizes]], Columns]:
    """Take the products out, then read what is left of each user."""
    if b"/>" in piece:
        piece = _EMPTY.sub(rb"<\1></\1>", piece)
    if b"\r" in piece:
        piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # as XML wants it
    texts = _PRODUCT.split(piece)
    users: list[tuple[str, str | None, Sizes]] = []
    rest, position = _MARK.join(texts[::5]), 0
    while user := _USER.match(rest, position):
        position = user.end()
        sizes = [(_text(kind), len(marks)) for kind, marks in _BLOCKS.findall(user[3])]
        users.append((_text(user[1]), _text(user[2]) if user[2] else None, sizes))
    if rest[position:].strip():
        raise Odd("something that is not in the documented shape")
    return users, (_unescape(texts[1::5]), _unescape(texts[2::5]), _unescape(texts[3::5]), _unescape(texts[4::5]))


def _text(field: bytes) -> str:
    return (_resolve(field) if b"&" in field else field).decode().strip(BLANKS)


def _unescape(fields: list[bytes]) -> list[bytes]:
    """The same fields without references; joined, so that most of them cost nothing."""
    joined = _MARK.join(fields)
    return _resolve(joined).split(_MARK) if b"&" in joined else fields


def _resolve(text: bytes) -> bytes:
    if text.count(b"&") == text.count(b"&amp;"):
        return text.replace(b"&amp;", b"&")
    return _REFERENCE.sub(_character, text)


def _character(reference: re.Match[bytes]) -> bytes:
    hexadecimal, decimal, name = reference.groups()
    if name:
        return _NAMED[name]
    return chr(int(hexadecimal, 16) if hexadecimal else int(decimal)).encode()
