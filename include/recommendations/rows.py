"""What a batch becomes and what it may be: the schema of the rows, the limits, the hash that cuts parts, the errors."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

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
