"""Profiles and contacts as the newsletter platforms send them, and how they are spelled when they are staged."""

import json
from typing import Any, NamedTuple

import pyarrow as pa

from include.spelling import shown, text_column

COLUMNS = ("key", "auth_user_id", "email", "reason")
MALFORMED = "malformed"  # the profile has no key that could be read
WRONG_TYPE = "wrong_type"  # the customer's id is true, false, a list or an object


class Row(NamedTuple):
    """One profile or contact as the platform sent it: its key there, the customer's id, perhaps why it is refused.

    ``key`` and ``auth_user_id`` may be of any JSON type; they are spelled, or refused, when the row is staged.
    """

    key: Any
    auth_user_id: Any
    email: Any = None
    reason: str | None = None


class Page(NamedTuple):
    """Rows as the stream's ``table_of`` takes them, and the cursor of the next page; None: this was the last."""

    rows: list[Any]
    cursor: str | None


def table_of(rows: list[Row]) -> pa.Table:
    """Rows as text, with a reason for those whose key or id cannot be text."""
    keys, _ = _texts("key", [row.key for row in rows])
    ids, no_id = _texts("auth_user_id", [row.auth_user_id for row in rows])
    emails, _ = _texts("email", [row.email if isinstance(row.email, str) else None for row in rows])
    reasons = [row.reason for row in rows]
    for place, reason in no_id.items():
        reasons[place] = reasons[place] or reason
    for place, key in enumerate(keys.to_pylist()):
        if not key:
            reasons[place] = MALFORMED
    return pa.table([keys, ids, emails, pa.array(reasons, pa.string())], names=list(COLUMNS))


def _texts(name: str, values: list[Any]) -> tuple[pa.Array, dict[int, str]]:
    """The one spelling of each value; what has none is shown as it is, and refused with a reason."""
    odd = {place: value for place, value in enumerate(values) if isinstance(value, bool | list | dict)}
    plain = [None if place in odd else value for place, value in enumerate(values)] if odd else values
    texts, bad = text_column(name, plain)
    reasons = dict.fromkeys(odd, WRONG_TYPE) | bad
    if reasons and name != "key":
        seen = texts.to_pylist()
        for place in reasons:
            seen[place] = json.dumps(values[place])[:1000] if place in odd else shown(values[place])
        texts = pa.array(seen, pa.string())
    return texts, reasons
