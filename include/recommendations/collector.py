"""Users of a batch on their way from a reader to Arrow: lists while a stretch is read, then sorted by part.

Readers of every format fill the same ``Collector``; nothing here knows XML or JSON.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.recommendations.rows import (
    DEFAULT_USER,
    FIELD_LIMIT,
    PRODUCT_LIMIT,
    SCHEMA,
    USERS_SCHEMA,
    Columns,
    Field,
    Odd,
    Sizes,
    instant,
    user_key,
)

RECOMMENDATION_ID = "recommendation_id="
_BEFORE_ID = r"^[^?#]*\?(?:[^#]*[&;])?$"
_ANY_ID = r"^[^?#]*\?(?:[^#]*?[&;])?recommendation_id=(?P<value>[^&;#]+)"


class Collector:
    """Users of one stretch and their products; they come separately, but in the same order."""

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
        self._blocks: list[int] = []
        self._kinds: list[str] = []
        self._sizes: list[int] = []
        self._first_ranks: list[int] = []
        self._products: tuple[list[Field], ...] = ([], [], [], [])

    def add_products(self, columns: Columns) -> None:
        """Take products, best first within each type of each user."""
        for own, column in zip(self._products, columns, strict=True):
            own.extend(column)

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
        self._ids.append(auth_user_id)
        self._keys.append(user_key(auth_user_id))
        self._moments.append(instant(updated_at, self._zone) if updated_at else None)
        self._blocks.append(len(sizes))

    def by_part(self) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
        """Rows (``SCHEMA``) and users (``USERS_SCHEMA``), a batch a part, in the order they came.

        The default set comes last, as if it were part number ``parts``.

        Raises:
            Odd: a field is longer than the limit.
        """
        sizes = np.array(self._sizes, np.int64)
        block_users = np.repeat(np.arange(len(self._ids)), np.array(self._blocks, np.int64))
        row_blocks = np.repeat(np.arange(len(sizes)), sizes)
        row_users = block_users[row_blocks]
        items, urls, titles, images = map(_text, self._products)
        starts = np.cumsum(sizes) - sizes - np.array(self._first_ranks, np.int64)
        moments = pa.array(self._moments, SCHEMA.field("updated_at").type)
        ids = _text(self._ids)
        rows = [
            ids.take(pa.array(row_users)),
            _text(self._kinds).take(pa.array(row_blocks)),
            pa.array((np.arange(len(row_blocks)) - starts[row_blocks]).astype(np.int16)),
            *(items, urls, titles, images),
            recommendation_ids(urls),
            moments.take(pa.array(row_users)),
        ]
        count = len(self._ids)
        users = [
            pa.array(np.array(self._keys, np.uint64)),
            ids,
            pa.array(np.bincount(row_users, minlength=count).astype(np.int32)),
            pa.array(np.bincount(row_users[_repeated(items, row_blocks)], minlength=count).astype(np.int32)),
            moments,
        ]
        parts = self._parts_of_users()
        return (
            _split(pa.record_batch(rows, schema=SCHEMA), parts[row_users], self.parts + 1),
            _split(pa.record_batch(users, schema=USERS_SCHEMA), parts, self.parts + 1),
        )

    def _parts_of_users(self) -> Any:
        parts = (np.array(self._keys, np.uint64) % np.uint64(self.parts)).astype(np.int64)
        parts[[number for number, name in enumerate(self._ids) if name == DEFAULT_USER]] = self.parts
        return parts


def _split(batch: pa.RecordBatch, parts: Any, count: int) -> list[pa.RecordBatch]:
    """The rows of each part, in their order."""
    order = np.argsort(parts, kind="stable")
    ends = np.searchsorted(parts[order], np.arange(count + 1))
    whole = batch.take(pa.array(order))
    return [whole.slice(ends[part], ends[part + 1] - ends[part]) for part in range(count)]


def _repeated(items: pa.Array, row_blocks: Any) -> Any:
    """Rows whose item came before in the same block."""
    codes = items.dictionary_encode("encode").indices.to_numpy().astype(np.int64)
    pairs = (row_blocks << 32) + codes
    order = np.argsort(pairs, kind="stable")
    return order[1:][pairs[order][1:] == pairs[order][:-1]]


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
