"""The fast JSON reader: stretches of whole users, decoded by msgspec into typed structs.

One object a line, or one array. Lines are cut at line ends, arrays after ``}},`` (the end of a user's data and of
the user), and each piece of an array is wrapped in brackets again. If every piece is valid by itself, so is the
whole; a piece with anything unusual goes to the exact reader, one that is not valid raises ``Odd``.
"""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from include.recommendations import json_stream
from include.recommendations.collector import Collector
from include.recommendations.json_stream import User, hand_on
from include.recommendations.rows import USER_LIMIT, Odd

PIECE = 256 * 1024
_USER_END = re.compile(rb"\}\s*\}\s*,(?=\s*\{)")
_ARRAY_HEAD = re.compile(rb"\s*\[")
_ARRAY_TAIL = re.compile(rb"\}\s*\]\s*\Z")
_LINES: msgspec.json.Decoder[User] = msgspec.json.Decoder(User)
_ARRAY: msgspec.json.Decoder[list[User]] = msgspec.json.Decoder(list[User])


class Lines:
    """One object a line."""

    @staticmethod
    def content(raw: Path) -> tuple[int, int]:
        """Where the users begin and end, in bytes."""
        return 0, raw.stat().st_size

    @staticmethod
    def border(window: bytes) -> int:
        """The end of the first whole user in ``window``; 0 if none ends there."""
        return window.find(b"\n") + 1

    @staticmethod
    def read(stretch: bytes, sink: Collector) -> None:
        """Read whole lines.

        Raises:
            Odd: not JSON, or not the documented shape.
        """
        start = 0
        while start < len(stretch):
            stop = stretch.find(b"\n", start + PIECE) + 1 or len(stretch)
            piece = _within_limit(stretch[start:stop])
            if not _take(_decode(_LINES.decode_lines, piece), piece, sink):
                json_stream.read_piece(piece, sink, array=False)
            start = stop


class Array:
    """One array of objects."""

    @staticmethod
    def content(raw: Path) -> tuple[int, int]:
        """Where the users begin and end, in bytes.

        Raises:
            Odd: not the plain beginning and end of an array.
        """
        size = raw.stat().st_size
        with raw.open("rb") as handle:
            head = _ARRAY_HEAD.match(handle.read(4096))
            handle.seek(max(0, size - 4096))
            tail = _ARRAY_TAIL.search(handle.read())
        if not head or not tail:
            raise Odd("not the plain beginning and end of an array")
        return head.end(), max(0, size - 4096) + tail.start() + 1

    @staticmethod
    def border(window: bytes) -> int:
        """The end of the first whole user in ``window``, after its comma; 0 if none ends there."""
        found = _USER_END.search(window)
        return found.end() if found else 0

    @staticmethod
    def read(stretch: bytes, sink: Collector) -> None:
        """Read whole users, each with the comma that follows it (the last may lack it).

        Raises:
            Odd: not JSON, or not the documented shape.
        """
        start = 0
        while start < len(stretch):
            found = _USER_END.search(stretch, min(start + PIECE, len(stretch)))
            stop = found.end() if found else len(stretch)
            piece = b"[" + _within_limit(stretch[start:stop]).rstrip().removesuffix(b",") + b"]"
            if not _take(_decode(_ARRAY.decode, piece), piece, sink):
                json_stream.read_piece(piece, sink, array=True)
            start = stop


def _within_limit(piece: bytes) -> bytes:
    if len(piece) > USER_LIMIT:
        raise Odd(f"more than {USER_LIMIT} bytes, perhaps of one user")
    return piece


def _decode(decode: Callable[[bytes], list[User]], piece: bytes) -> list[User]:
    try:
        return decode(piece)
    except (ValueError, RecursionError):
        raise Odd("not JSON of the documented shape by itself") from None


def _take(users: list[User], piece: bytes, sink: Collector) -> bool:
    """Hand users on if no key is unknown or comes twice and no text holds a NUL; else say no."""
    return b"\\u0000" not in piece and hand_on(users, sink, piece.count(b'":') + piece.count(b'" :'))
