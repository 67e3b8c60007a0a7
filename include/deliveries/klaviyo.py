"""The ``klaviyo`` delivery, its pure part: products become properties of profiles, profiles become import jobs.

A recommendation type is one property: a list of ``{id, url, title, image_link}``, urls byte for byte. Properties that
are not named in a job stay as they are in Klaviyo. One is taken away by ``meta.patch_properties.unset``, as Klaviyo's
model of an imported profile has it; nothing is said there of null.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from include.deliveries.changes import Change
from include.deliveries.part import DEFAULT_SET
from include.publishers.deliveries import KlaviyoDelivery

TOO_LONG = "profile_too_long"
"""Reason: the profile is longer than ``profile_bytes``."""
EMPTY = "null"
"""The value of a property that is to be taken away."""
DEFAULT_PROFILE = "default"
"""The ``external_id`` of the profile that holds the default set."""
_encode = msgspec.json.Encoder().encode
_BEFORE = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
_AFTER = b"]}}}}"
_FRAME = len(_BEFORE) + len(_AFTER)

Products = Mapping[str, list[dict[str, str | None]]]
"""Recommendation type: its products, best first."""


def properties_of(own: Products, default_set: Products, types: list[str], settings: KlaviyoDelivery) -> dict[str, str]:
    """Properties for one recipient, as JSON; a type without products of its own follows ``on_absent``."""
    found: dict[str, str] = {}
    for name in types:
        products = own.get(name)
        if not products and settings.on_absent == "keep":
            continue
        if not products and settings.on_absent == "default":
            products = default_set.get(name)
        found[settings.properties.get(name, name)] = _encode(products).decode() if products else EMPTY
    return found


def profile(change: Change, settings: KlaviyoDelivery) -> bytes:
    """One profile of an import job."""
    properties = {name: msgspec.Raw(value.encode()) for name, value in change.fields.items() if value != EMPTY}
    gone = [name for name, value in change.fields.items() if value == EMPTY]
    attributes: dict[str, Any] = {"properties": properties} if properties else {}
    document: dict[str, Any] = {"type": "profile", "attributes": attributes}
    if gone:
        document["meta"] = {"patch_properties": {"unset": gone}}
    if change.state == DEFAULT_SET:
        attributes["external_id"] = DEFAULT_PROFILE
    elif settings.identify_by == "profile_id":
        document["id"] = change.recipient
    else:
        attributes[settings.identify_by] = change.recipient
    return _encode(document)


def job_body(profiles: Iterable[bytes]) -> bytes:
    """The body of an import job."""
    return _BEFORE + b",".join(profiles) + _AFTER


def cut(changes: Iterable[Change], settings: KlaviyoDelivery) -> Iterator[tuple[int, int, list[int]]]:
    """Cut changes into jobs, by count, by bytes of the whole body, and by the length of each profile.

    Yields:
        first row, the row after the last, and the rows between them whose profile is too long for a job.
    """
    first, size, count, after = 0, _FRAME, 0, 0
    long: list[int] = []
    longest = min(settings.profile_bytes, settings.job_bytes - _FRAME)
    for change in changes:
        length = len(profile(change, settings))
        fits = length <= longest
        comma = 1 if count else 0
        if fits and count and (count == settings.job_profiles or size + comma + length > settings.job_bytes):
            yield first, change.row, long
            first, size, count, long, comma = change.row, _FRAME, 0, [], 0
        if fits:
            size, count = size + comma + length, count + 1
        else:
            long = [*long, change.row]
        after = change.row + 1
    if after > first:
        yield first, after, long
