"""Recommendations that lie in the profiles of a newsletter platform: one profile's properties become one user's data.

The values may have been written by anybody, so nothing is taken for granted: what is odd is counted by reason, and the
rest of the profile is used.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from include.recommendations.json_stream import Product
from include.recommendations.rows import FIELD_LIMIT, PRODUCT_LIMIT, USER_LIMIT

FIELDS = Product.__struct_fields__
_ID_ROOM = FIELD_LIMIT * 2


class Carried(NamedTuple):
    """What one profile carries.

    ``data`` is JSON, type by type, best first; None if there is nothing to use. ``digest`` differs when any product,
    url (with its ``recommendation_id``) or the order does. ``problems`` are counted by reason.
    """

    data: bytes | None
    digest: str | None
    problems: Mapping[str, int]


def carried(properties: Any, types: Iterable[str]) -> Carried:
    """Read the properties of a profile; a property that is missing or null is no problem."""
    if not isinstance(properties, dict):
        return Carried(None, None, {} if properties is None else {"properties_not_an_object": 1})
    given = {kind: properties[kind] for kind in sorted(types) if properties.get(kind) is not None}
    problems: Counter[str] = Counter()
    data = _plain(given)
    if data is None:
        read = {kind: _products(value, problems) for kind, value in given.items()}
        data = _encoded({kind: products for kind, products in read.items() if products})
        if data and len(data) > USER_LIMIT - _ID_ROOM:
            problems["profile_too_long"] += 1
            data = None
    return Carried(data, hashlib.sha256(data).hexdigest()[:32] if data else None, dict(problems))


def _encoded(data: dict[str, Any]) -> bytes | None:
    return msgspec.json.encode(data) if data else None


def _plain(given: dict[str, Any]) -> bytes | None:
    """The usual case in one go; None if there is anything unusual, or nothing."""
    try:
        read = msgspec.convert(given, dict[str, list[Product]])
    except (msgspec.ValidationError, RecursionError):
        return None
    if any(len(own) > PRODUCT_LIMIT for own in read.values()):
        return None
    if not all(any(product.values()) and product.keys() <= set(FIELDS) for own in given.values() for product in own):
        return None
    try:
        data = _encoded({kind: own for kind, own in read.items() if own})
    except UnicodeEncodeError:
        return None
    # no text can be longer than the whole
    return data if data and len(data) <= FIELD_LIMIT and b"\\u0000" not in data else None


def _products(value: Any, problems: Counter[str]) -> list[dict[str, str | None]]:
    if not isinstance(value, list):
        problems["not_a_list"] += 1
        return []
    if len(value) > PRODUCT_LIMIT:
        problems["too_many_products"] += 1
        return []
    read = (_product(each, problems) for each in value)
    return [product for product in read if product]


def _product(value: Any, problems: Counter[str]) -> dict[str, str | None] | None:
    if not isinstance(value, dict):
        problems["not_a_product"] += 1
        return None
    problems.update({"unknown_fields": 1} if value.keys() - set(FIELDS) else {})
    product: dict[str, str | None] = {}
    for name in FIELDS:
        if name not in value:
            continue
        text = value[name]
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text) if abs(text) < 1 << 63 else text
        if reason := _odd(text):
            problems[f"{name}_{reason}"] += 1
            return None
        product[name] = text
    if not any(product.values()):
        problems["empty_product"] += 1
        return None
    return product


def _odd(text: Any) -> str | None:
    """Why this is no text of a product."""
    if text is None:
        return None
    if not isinstance(text, str):
        return "not_a_text"
    if "\0" in text:
        return "has_a_nul"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "not_utf8"
    return "too_long" if size > FIELD_LIMIT else None
