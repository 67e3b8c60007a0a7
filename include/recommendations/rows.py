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
"""A text; bytes are UTF-8."""
Columns = tuple[Sequence[Field], Sequence[Field], Sequence[Field], Sequence[Field]]
"""Item ids, urls, titles and image links of products, in the same order."""
Sizes = Sequence[tuple[str, int]]
"""Recommendation types of a user, and how many products each holds."""


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
    """Users of one stretch of a batch, and their products, until they are written down together.

    Users and products come separately, but in the same order.
    """

    def __init__(self, parts: int, zone: str) -> None:
        self.parts = parts
        self._zone = zone
        self.ignored_fields = 0
        self.empty()

    def empty(self) -> None:
        """Forget all, which has been written down."""
        self._ids: list[str] = []
        self._keys: list[int] = []
        self._moments: list[int | None] = []
        self._rows: list[int] = []
        self._kinds: list[str] = []
        self._sizes: list[int] = []
        self._first_ranks: list[int] = []
        self._products: tuple[list[Field], ...] = ([], [], [], [])

    def add_products(self, columns: Columns) -> None:
        """Take products, best first within each type of each user."""
        for own, column in zip(self._products, columns, strict=True):
            own += column

    def add_user(self, auth_user_id: str, updated_at: str | None, sizes: Sizes) -> None:
        """Take one user.

        Raises:
            Odd: the id or a type is empty, a type holds too many products, or the time is not a time.
        """
        if not auth_user_id:
            raise Odd("a user without auth_user_id")
        next_ranks: dict[str, int] = {}
        for kind, size in sizes:
            rank = next_ranks.get(kind, 1)
            if not kind:
                raise Odd("a recommendation without recommendation_type")
            if rank + size > PRODUCT_LIMIT + 1:
                raise Odd(f"more than {PRODUCT_LIMIT} products in one recommendation type")
            next_ranks[kind] = rank + size
            self._kinds.append(kind)
            self._sizes.append(size)
            self._first_ranks.append(rank)
        self._moments.append(instant(updated_at, self._zone) if updated_at else None)
        self._ids.append(auth_user_id)
        self._keys.append(user_key(auth_user_id))
        self._rows.append(sum(size for _, size in sizes))

    def by_part(self) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Rows (``SCHEMA``) and users (``USERS_SCHEMA``) of each part in turn, in the order of the batch.

        The default set comes last, as if it were part number ``parts``.

        Raises:
            Odd: a field is longer than the limit.
        """
        parts = np.array(self._keys, np.uint64) % np.uint64(self.parts)
        parts[[number for number, name in enumerate(self._ids) if name == DEFAULT_USER]] = self.parts
        row_parts = np.repeat(parts, self._rows)
        rows, users = _sorted(self._row_batch(), row_parts), _sorted(self._user_batch(), parts)
        bounds = range(self.parts + 2)
        row_ends, user_ends = (np.searchsorted(np.sort(numbers), bounds) for numbers in (row_parts, parts))
        for part in bounds[:-1]:
            yield (
                rows.slice(row_ends[part], row_ends[part + 1] - row_ends[part]),
                users.slice(user_ends[part], user_ends[part + 1] - user_ends[part]),
            )

    def _user_batch(self) -> pa.RecordBatch:
        repeated = np.bincount(self._block_users(), self._repeated_in_blocks(), len(self._ids)).astype(np.int32)
        columns = (np.array(self._keys, np.uint64), self._ids, self._rows, repeated, self._moments)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, USERS_SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=USERS_SCHEMA)


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
