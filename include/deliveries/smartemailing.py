"""The ``smartemailing`` delivery, its pure part: products become values of custom fields, contacts become imports.

A recommendation type goes into one field as JSON, or into a field for each part of each product's place (slot). Places
without a product are emptied, so that nothing of an older batch stays in them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from include.publishers.deliveries import Slot, SmartEmailingDelivery

if TYPE_CHECKING:
    import pyarrow as pa

    from include.deliveries.rows import PartRows

TOO_LONG = "value_too_long"
"""Reason: a value is longer than ``value_bytes``."""
SKIPPED = "skipped"
"""Reason: SmartEmailing skipped the contact; its e-mail address is invalid there."""
REFUSED = "refused"
"""Reason: SmartEmailing refused the contact, even alone."""
EMPTY = ""
_encode = msgspec.json.Encoder().encode


class Product(NamedTuple):
    """One recommended product; ``url`` is passed on byte for byte."""

    id: str | None
    url: str | None
    title: str | None
    image_link: str | None


Products = Mapping[str, Sequence[Product]]
"""Recommendation type: its products, best first."""


@dataclass(frozen=True)
class Contact:
    """What is to be written to one contact: number of a custom field, and its value."""

    email: str
    values: Mapping[int, str]


def values_of(own: Products, default_set: Products, settings: SmartEmailingDelivery) -> dict[int, str]:
    """The values for one recipient; of whom has no recommendations at all, ``own`` is empty.

    A type without products of its own is left as it is, emptied, or taken from the default set, as ``on_absent`` says.
    Nothing to write: an empty dictionary.
    """
    values: dict[int, str] = {}
    for name, place in settings.fields.items():
        if settings.recommendation_types is not None and name not in settings.recommendation_types:
            continue
        products = own.get(name, ())
        if not products and settings.on_absent == "keep":
            continue
        if not products and settings.on_absent == "default":
            products = default_set.get(name, ())
        values |= _placed(products, place)
    return values


def _placed(products: Sequence[Product], place: int | list[Slot]) -> dict[int, str]:
    if isinstance(place, int):
        return {place: _encode([product._asdict() for product in products]).decode() if products else EMPTY}
    values: dict[int, str] = {}
    for number, slot in enumerate(place):
        product = products[number] if number < len(products) else Product(None, None, None, None)
        for part, field in slot:
            if field is not None:
                values[field] = getattr(product, part) or EMPTY
    return values


def contacts_of(part: "PartRows", settings: SmartEmailingDelivery) -> Iterator[Contact]:
    """What is to be written to the recipients of a part; who keeps what they have does not come.

    Memory holds one recipient at a time. A recipient is an e-mail address.
    """
    default_set = _by_type(_products(part.default_set))
    for (email, _), rows in groupby(_named(part.own()), itemgetter(0)):
        values = values_of(_by_type(row for _, row in rows), default_set, settings)
        if values:
            yield Contact(email, values)
    instead = values_of({}, default_set, settings)
    if instead:
        for batch in part.others():
            for email in batch["recipient"].to_pylist():
                yield Contact(email, instead)


def _named(batches: Iterable["pa.RecordBatch"]) -> Iterator[tuple[tuple[str, str], tuple[str, Product]]]:
    for batch in batches:
        people = zip(batch["recipient"].to_pylist(), batch["auth_user_id"].to_pylist(), strict=True)
        yield from zip(people, _products(batch), strict=True)


def _products(rows: "pa.Table | pa.RecordBatch") -> Iterator[tuple[str, Product]]:
    columns = (rows[name].to_pylist() for name in ("item_id", "url", "title", "image_link"))
    return zip(rows["recommendation_type"].to_pylist(), map(Product, *columns), strict=True)


def _by_type(products: Iterable[tuple[str, Product]]) -> dict[str, list[Product]]:
    found: dict[str, list[Product]] = {}
    for name, product in products:
        found.setdefault(name, []).append(product)
    return found


def too_long(contact: Contact, settings: SmartEmailingDelivery) -> bool:
    """Whether a value of this contact is longer than SmartEmailing takes, in bytes of UTF-8."""
    return any(len(value.encode()) > settings.value_bytes for value in contact.values.values())


def import_body(contacts: Iterable[Contact]) -> bytes:
    """The body of ``POST /import``: fields of these contacts and nothing else of them; bad addresses are skipped."""
    data = [
        {
            "emailaddress": contact.email,
            "customfields": [{"id": field, "value": value} for field, value in contact.values.items()],
        }
        for contact in contacts
    ]
    return _encode({"settings": {"update": True, "skip_invalid_emails": True}, "data": data})
