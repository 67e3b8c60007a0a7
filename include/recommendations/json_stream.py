"""The exact JSON reader: finds every user of a batch by scanning, in any layout, with its byte offset.

It decides what a batch may be; the fast reader only ever accepts less. Refused are keys that come twice, NULs,
lone surrogates, unknown keys of a user, deep nesting, and anything longer than the limits. Unknown fields of a
product are counted and left out.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from include.recommendations.collector import Collector
from include.recommendations.rows import FIELD_LIMIT, USER_LIMIT, Field, Odd, Refusal, Unfinished

BLOCK = 1024 * 1024
DEPTH_LIMIT = 12
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|"|[{}\[\],]|[^\s"{}\[\],]+', re.DOTALL)


Text = str | None | msgspec.UnsetType


class Product(msgspec.Struct):
    """A product as it comes; a field may be missing or null."""

    id: Text = msgspec.UNSET
    url: Text = msgspec.UNSET
    title: Text = msgspec.UNSET
    image_link: Text = msgspec.UNSET


class User(msgspec.Struct):
    """A user as it comes, in the shape of SmartEmailing's collections."""

    id: str
    data: dict[str, list[Product]]


_DECODER: msgspec.json.Decoder[User] = msgspec.json.Decoder(User)


def hand_on(users: list[User], sink: Collector, keys_written: int | None = None) -> bool:
    """Give users to the sink, unless the keys that were written are not those that are known.

    Returns:
        whether they were taken.
    """
    products = [product for user in users for own in user.data.values() for product in own]
    columns = [
        [product.id for product in products],
        [product.url for product in products],
        [product.title for product in products],
        [product.image_link for product in products],
    ]
    missing = [column.count(msgspec.UNSET) for column in columns]
    keys = sum(2 + len(user.data) for user in users) + len(columns) * len(products) - sum(missing)
    if keys_written not in (None, keys):
        return False
    for user in users:
        sink.add_user(user.id, None, [(kind, len(own)) for kind, own in user.data.items()])
    items, urls, titles, images = map(_with_nulls, columns, missing)
    sink.add_products((items, urls, titles, images))
    return True


def _with_nulls(column: list[Text], missing: int) -> list[Field]:
    if not missing:
        return cast("list[Field]", column)
    return [None if isinstance(text, msgspec.UnsetType) else text for text in column]


def read_all(raw: Path, sink: Collector, *, array: bool) -> Iterator[int]:
    """Hand all users to the sink; yields the byte offset of each after it was taken.

    Raises:
        Refusal: foreign, hostile or malformed.
        Unfinished: the file ends before the array or the last object does.
    """
    scanner = _Scanner(array)
    with raw.open("rb") as handle:
        while block := handle.read(BLOCK):
            for offset, item in scanner.feed(block):
                _take(offset, item, sink)
                yield offset
    for offset, item in scanner.close():
        _take(offset, item, sink)
        yield offset


def read_piece(piece: bytes, sink: Collector, *, array: bool) -> None:
    """Read whole users; those of an array lie in its brackets.

    Raises:
        Odd: they are not whole, or not of the documented shape.
    """
    scanner = _Scanner(array)
    try:
        for offset, item in (*scanner.feed(piece), *scanner.close()):
            _take(offset, item, sink)
    except Refusal as error:
        raise Odd(error.reason) from None


class _Scanner:
    """Cuts bytes into objects by counting brackets outside of strings; gives byte offset and text of each."""

    def __init__(self, array: bool) -> None:
        self._array = array
        self._expect = b"[" if array else b"{"
        self._data = b""
        self._base = 0
        self._position = 0
        self._start = -1
        self._depth = 0

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        self._data += block
        for token in _TOKEN.finditer(self._data, self._position):
            text = token.group()
            if text == b'"' or (token.end() == len(self._data) and text[:1] not in b'{}[],"'):
                break  # a string or a word that goes on in the next block
            self._position = token.end()
            if self._start < 0:
                self._between(text, token.start())
                continue
            self._inside(text)
            if self._depth == 0:
                yield self._base + self._start, self._data[self._start : token.end()]
                self._start = -1
        self._forget()

    def _inside(self, text: bytes) -> None:
        self._depth += (text in (b"{", b"[")) - (text in (b"}", b"]"))
        if self._depth > DEPTH_LIMIT:
            raise Refusal(self._base + self._position - 1, f"nested deeper than {DEPTH_LIMIT}")

    def _between(self, text: bytes, start: int) -> None:
        """What stands between objects: the array's brackets and commas, nothing else."""
        if len(text) != 1 or text not in self._expect:
            raise Refusal(self._base + start, "not the documented JSON: a user, or the end, is expected here")
        if text == b"{":
            self._start, self._depth = start, 1
            self._expect = b",]" if self._array else b"{"
        else:
            self._expect = {b"[": b"{]", b",": b"{", b"]": b""}[text]

    def _forget(self) -> None:
        """Drop what is done with, and refuse what grows without end."""
        keep = self._start if self._start >= 0 else self._position
        if len(self._data) - keep > USER_LIMIT + BLOCK:
            raise Refusal(self._base + keep, f"more than {USER_LIMIT} bytes without a whole user")
        self._data = self._data[keep:]
        self._base += keep
        self._position -= keep
        self._start = min(self._start, 0)

    def close(self) -> Iterator[tuple[int, bytes]]:
        """The end of the file; what a last word was can be told now."""
        end = self._base + len(self._data)
        yield from self.feed(b"\n")
        if self._start >= 0 or self._data[self._position :].strip():
            raise Unfinished(end, "inside a user")
        if self._array and self._expect:
            raise Unfinished(end, "the array is not closed")


def _take(offset: int, item: bytes, sink: Collector) -> None:
    try:
        user = _user(item, sink)
        _check_limits(user)
        hand_on([user], sink)
    except Odd as error:
        raise Refusal(offset, str(error)) from None


def _user(item: bytes, sink: Collector) -> User:
    if len(item) > USER_LIMIT:
        raise Odd(f"a user longer than {USER_LIMIT} bytes")
    try:
        content = json.loads(item.decode(), object_pairs_hook=_object)
        user = _DECODER.decode(item)
    except msgspec.ValidationError as error:
        raise Odd(f"not the documented shape ({error})") from None
    except UnicodeDecodeError:
        raise Odd("not UTF-8") from None
    except ValueError as error:
        raise Odd(f"not JSON ({error})") from None
    if len(content) != len(User.__struct_fields__):
        raise Odd("a user with other keys than id and data")
    products = (product for products in content["data"].values() for product in products)
    sink.ignored_fields += sum(len(product.keys() - set(Product.__struct_fields__)) for product in products)
    return user


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise Odd("a key that comes twice in one object")
    if any(isinstance(text, str) and "\0" in text for pair in pairs for text in pair):
        raise Odd("a NUL in a text")
    return content


def _check_limits(user: User) -> None:
    products = (product for own in user.data.values() for product in own)
    fields = (field for product in products for field in msgspec.structs.astuple(product) if field)
    for text in (user.id, *user.data, *fields):
        if len(text) > FIELD_LIMIT // 4 and len(text.encode()) > FIELD_LIMIT:
            raise Odd(f"a field longer than {FIELD_LIMIT} bytes")
