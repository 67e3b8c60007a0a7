"""The ``smartemailing`` delivery, its pure part: products become values of custom fields, contacts become imports.

A recommendation type goes into one field as JSON, or into a field for each part of each product's place (slot). Places
without a product are emptied, so that nothing of an older batch stays in them; urls are passed on byte for byte.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from include.deliveries.changes import Change
from include.publishers.deliveries import Slot, SmartEmailingDelivery

TOO_LONG = "value_too_long"
"""Reason: a value is longer than ``value_bytes``."""
SKIPPED = "skipped"
"""Reason: SmartEmailing skipped the contact; its e-mail address is invalid there."""
REFUSED = "refused"
"""Reason: SmartEmailing refused the contact, even alone."""
EMPTY = ""
_encode = msgspec.json.Encoder().encode

Product = Mapping[str, str | None]
"""``id``, ``url``, ``title``, ``image_link``."""
Products = Mapping[str, Sequence[Product]]
"""Recommendation type: its products, best first."""


def fields_of(
    own: Products, default_set: Products, types: Sequence[str], settings: SmartEmailingDelivery
) -> dict[str, str]:
    """Numbers of custom fields and their values, for one recipient; of whom has no recommendations, ``own`` is empty.

    A type without products of its own is left as it is, emptied, or taken from the default set, as ``on_absent`` says.
    Types that no field is configured for are left out.
    """
    found: dict[str, str] = {}
    for name in types:
        products = own.get(name, ())
        if name not in settings.fields or (not products and settings.on_absent == "keep"):
            continue
        if not products and settings.on_absent == "default":
            products = default_set.get(name, ())
        found |= _placed(products, settings.fields[name])
    return found


def _placed(products: Sequence[Product], place: int | list[Slot]) -> dict[str, str]:
    if isinstance(place, int):
        return {str(place): _encode(products).decode() if products else EMPTY}
    values: dict[str, str] = {}
    for number, slot in enumerate(place):
        product = products[number] if number < len(products) else {}
        for part, field in slot:
            if field is not None:
                values[str(field)] = product.get(part) or EMPTY
    return values


def too_long(change: Change, settings: SmartEmailingDelivery) -> bool:
    """Whether a value of this recipient is longer than SmartEmailing takes, in bytes of UTF-8."""
    return any(len(value.encode()) > settings.value_bytes for value in change.fields.values())


def import_body(changes: Iterable[Change]) -> bytes:
    """The body of ``POST /import``: custom fields of these contacts and nothing else; bad addresses are skipped."""
    data = [
        {
            "emailaddress": change.recipient,
            "customfields": [{"id": int(field), "value": value} for field, value in change.fields.items()],
        }
        for change in changes
    ]
    return _encode({"settings": {"update": True, "skip_invalid_emails": True}, "data": data})
