"""What users of a batch become: the row schema, the limits, the hash that cuts parts, and the collector of rows.

Readers of every format hand each user to ``Collector.add``; nothing here knows XML or JSON.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.errors import BadInput, NotReady

DEFAULT_USER = "default"
BLANKS = " \t\r\n"
"""What XML may put around an id, a type or a time without meaning it."""
FIELD_LIMIT = 64 * 1024
"""Longest text of one field, in bytes of UTF-8."""
USER_LIMIT = 4 * 1024 * 1024
"""Longest user in a raw batch, in bytes as received."""
PRODUCT_LIMIT = 10_000
"""Most products of one user in one recommendation type."""

SCHEMA = pa.schema(
    [
        ("auth_user_id", pa.string()),
        ("recommendation_type", pa.string()),
        ("rank", pa.int16()),
        ("item_id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("image_link", pa.string()),
        ("recommendation_id", pa.string()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
    ]
)
USERS_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("auth_user_id", pa.string()),
        ("rows", pa.int32()),
        ("repeated", pa.int32()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
    ]
)
RECOMMENDATION_ID = "recommendation_id="
_BEFORE_ID = r"^[^?#]*\?(?:[^#]*[&;])?$"
_ANY_ID = r"^[^?#]*\?(?:[^#]*?[&;])?recommendation_id=(?P<value>[^&;#]+)"


Field = str | bytes | None


class Block(NamedTuple):
    """A recommendation type and its products, best first: one list a field, all of the same length.

    Bytes are UTF-8.
    """

    kind: str
    items: Sequence[Field]
    urls: Sequence[Field]
    titles: Sequence[Field]
    images: Sequence[Field]


class Odd(Exception):
    """This piece of a batch is not the plain documented shape: look at it with the exact reader."""


class Refusal(Exception):
    """A foreign or hostile batch: what is wrong, and at which byte."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Unfinished(Refusal):
    """A batch that ends before it is whole; ``offset`` is where it ends."""


def refused(raw: Path, offset: int, reason: str) -> BadInput:
    """The error of a foreign or hostile batch; ``offset`` in bytes from its start."""
    return BadInput(
        f"{raw.name}: refused at byte {offset}: {reason}. Nothing of this batch is used. "
        f"If the result link is right, report the file to Luigi's Box: {raw}"
    )


def incomplete(raw: Path, offset: int, reason: str) -> NotReady:
    """The error of a batch that is not whole yet; ``offset`` in bytes from its start."""
    return NotReady(f"{raw.name}: not whole, ends at byte {offset}: {reason}. Nothing of it is used; look again later.")


def user_key(auth_user_id: str) -> int:
    """A stable 64-bit hash of an id, modulo the number of parts that of its part; DuckDB's ``md5_number_upper``."""
    digest = hashlib.md5(auth_user_id.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little")


@lru_cache(maxsize=65_536)
def instant(text: str, zone: str) -> int:
    """Microseconds since 1970 UTC of an ISO time; one without an offset is in ``zone``.

    Raises:
        Odd: not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        seconds = int(moment.replace(microsecond=0).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        raise Odd("updated_at is not an ISO time") from None
    return seconds * 1_000_000 + moment.microsecond


class Collector:
    """Users of one stretch of a batch, kept by part until they are written down together.

    The last bucket, number ``parts``, is the default set's.
    """

    def __init__(self, parts: int, zone: str) -> None:
        self.parts = parts
        self._zone = zone
        self.ignored_fields = 0
        self.empty()

    def empty(self) -> None:
        """Forget the users, which have been written down."""
        self.buckets = [_Bucket() for _ in range(self.parts + 1)]

    def add(self, auth_user_id: str, updated_at: str | None, blocks: Sequence[Block]) -> None:
        """Take one user.

        Raises:
            Odd: the id or a type is empty, a type holds too many products, or the time is not a time.
        """
        if not auth_user_id:
            raise Odd("a user without auth_user_id")
        moment = instant(updated_at, self._zone) if updated_at else None
        key = user_key(auth_user_id)
        bucket = self.buckets[self.parts if auth_user_id == DEFAULT_USER else key % self.parts]
        bucket.add(auth_user_id, key, moment, blocks)


class _Bucket:
    """The users of one part, column by column."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._keys: list[int] = []
        self._moments: list[int | None] = []
        self._rows: list[int] = []
        self._repeated: list[int] = []
        self._kinds: list[str] = []
        self._sizes: list[int] = []
        self._ranks: list[int] = []
        self._items: list[Field] = []
        self._urls: list[Field] = []
        self._titles: list[Field] = []
        self._images: list[Field] = []

    def add(self, auth_user_id: str, key: int, moment: int | None, blocks: Sequence[Block]) -> None:
        rows = repeated = 0
        ranks: dict[str, int] = {}
        for kind, items, urls, titles, images in blocks:
            size = len(items)
            first = ranks.get(kind, 1)
            if not kind:
                raise Odd("a recommendation without recommendation_type")
            if first + size > PRODUCT_LIMIT + 1:
                raise Odd(f"more than {PRODUCT_LIMIT} products in one recommendation type")
            ranks[kind] = first + size
            rows += size
            repeated += size - len(set(items))
            self._kinds.append(kind)
            self._sizes.append(size)
            self._ranks.append(first)
            self._items += items
            self._urls += urls
            self._titles += titles
            self._images += images
        self._ids.append(auth_user_id)
        self._keys.append(key)
        self._moments.append(moment)
        self._rows.append(rows)
        self._repeated.append(repeated)

    def users(self) -> pa.RecordBatch:
        """One row a user (``USERS_SCHEMA``), in the order of the batch."""
        columns = (np.array(self._keys, np.uint64), self._ids, self._rows, self._repeated, self._moments)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, USERS_SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=USERS_SCHEMA)

    def rows(self) -> pa.RecordBatch:
        """One row a product (``SCHEMA``), in the order of the batch.

        Raises:
            Odd: a field is longer than the limit.
        """
        user_rows = np.array(self._rows, np.int64)
        sizes = np.array(self._sizes, np.int64)
        owner = pa.array(np.repeat(np.arange(len(user_rows)), user_rows))
        block = pa.array(np.repeat(np.arange(len(sizes)), sizes))
        starts = np.repeat(np.cumsum(sizes) - sizes - np.array(self._ranks, np.int64), sizes)
        rank = pa.array((np.arange(len(starts)) - starts).astype(np.int16))
        urls = _text(self._urls)
        columns = [
            _text(self._ids).take(owner),
            _text(self._kinds).take(block),
            rank,
            _text(self._items),
            urls,
            _text(self._titles),
            _text(self._images),
            recommendation_ids(urls),
            pa.array(self._moments, SCHEMA.field("updated_at").type).take(owner),
        ]
        return pa.record_batch(columns, schema=SCHEMA)


def _text(values: Sequence[Field]) -> pa.Array:
    """Text without empty strings (they become null) and within the limit."""
    array = pa.array(values, pa.string())
    lengths = pc.min_max(pc.binary_length(array)).as_py()
    if lengths["max"] is not None and lengths["max"] > FIELD_LIMIT:
        raise Odd(f"a field longer than {FIELD_LIMIT} bytes")
    if lengths["min"] == 0:
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
    return array


def recommendation_ids(urls: pa.Array) -> pa.Array:
    """The value of ``recommendation_id`` in each query string, as it stands there; null where there is none."""
    halves = pc.split_pattern(urls, RECOMMENDATION_ID, max_splits=1)
    if pc.min(pc.list_value_length(halves)).as_py() == 2:
        values = pc.list_element(pc.split_pattern(pc.list_element(halves, 1), "&", max_splits=1), 0)
        plain = pc.all(pc.match_substring_regex(pc.list_element(halves, 0), _BEFORE_ID)).as_py()
        if plain and not pc.any(pc.match_substring_regex(values, "[;#]|^$")).as_py():
            return values
    return pc.struct_field(pc.extract_regex(urls, _ANY_ID), "value")
