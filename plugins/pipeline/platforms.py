"""One part delivered to a newsletter platform: what everybody should have, what of it is sent, what is confirmed."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from include.audience import user_sets
from include.deliveries import books, changes, claims, confirmed
from include.deliveries.changes import Wanted
from include.deliveries.part import CLEARED, DEFAULT, DEFAULT_SET, OWN, Part, folder_name
from include.publishers.config import load_publisher
from include.publishers.deliveries import KlaviyoDelivery, SmartEmailingDelivery
from include.recommendations.layout import ACCEPTED, list_folder
from include.staging import MANIFEST, read_json, staging_root, to_path

CONFIRMED = "confirmed"
_PARTS = ("item_id", "url", "title", "image_link")
Products = dict[str, list[dict[str, str | None]]]


@dataclass(frozen=True)
class Work:
    """One part of one delivery: its settings, the batch, and the notes it keeps."""

    delivery: KlaviyoDelivery | SmartEmailingDelivery
    batch: Path
    part: Part
    types: list[str]
    whole_list: bool
    default_only: bool


def work_of(
    delivery: KlaviyoDelivery | SmartEmailingDelivery, publisher: str, batch: dict[str, Any], out: Path, number: int
) -> Work:
    """What is to be done with a part; ``out`` is the delivery's folder, of which the batch's name is the parent."""
    folder = to_path(batch["uri"])
    manifest = read_json(folder / MANIFEST)
    part = Part(
        folder=out / folder_name(number),
        confirmed=confirmed_folder(publisher, delivery),
        recon=list_folder(folder, batch["user_set"]),
        number=number,
        parts=len(manifest["parts"]),
        batch=out.parent.name,
        order=order_of(batch),
    )
    record = user_sets.load(staging_root(), publisher, batch["user_set"]).record
    return Work(
        delivery,
        folder,
        part,
        types=_types(manifest, delivery, load_publisher(publisher).batch.recommendation_types),
        whole_list=not record["segment"],
        default_only=batch["outcome"] == "default_only",
    )


def order_of(batch: dict[str, Any]) -> str:
    """Sorts deliveries by age: by when the list was accepted, of one list by when a batch of its own was fetched.

    A batch that only stands in for a late one was never accepted for the list; it is older than any of its own.
    """
    note = list_folder(to_path(batch["uri"]), batch["user_set"]) / ACCEPTED
    fetched = str(read_json(note)["fetched_at"]) if note.exists() else ""
    return f"{batch['user_set']}_{re.sub(r'[^0-9A-Za-z.]', '-', fetched)}"


def confirmed_folder(publisher: str, delivery: KlaviyoDelivery | SmartEmailingDelivery) -> Path:
    """Where what a platform confirmed is kept: apart for each account, and for what a recipient is there."""
    identify_by = delivery.identify_by if isinstance(delivery, KlaviyoDelivery) else "email"
    account = sha256(f"{delivery.connection} {identify_by}".encode()).hexdigest()[:8]
    return staging_root() / publisher / "deliveries" / CONFIRMED / f"{delivery.name}-{account}"


def prepare(work: Work) -> None:
    """Take the part, find its changes, and note them as doubtful: from here on they may be sent.

    Raises:
        Overtaken: a newer batch began.
    """
    claims.begin(work.part)
    changes.compare(work.part, _wanted(work), _for_those_who_left(work))
    confirmed.doubt(work.part)


def finish(work: Work, refused: Iterable[tuple[int, str]]) -> dict[str, int]:
    """All is settled: confirm it.

    Raises:
        Overtaken: a newer batch began.
        BooksDoNotBalance: recipients went missing.
    """
    claims.check(work.part)
    return books.settle(work.part, refused)


def deliver_contacts(work: Work) -> dict[str, int]:
    """SmartEmailing: send the changes call by call; a retry goes on behind the last call that was settled."""
    from smartemailing.hooks import SmartEmailingHook
    from smartemailing.write_back import write_back as write_contacts

    assert isinstance(work.delivery, SmartEmailingDelivery)
    prepare(work)
    with SmartEmailingHook(work.delivery.connection).client as client:
        refused = write_contacts(client, work.part, work.delivery)
    return finish(work, refused)


def _wanted(work: Work) -> Iterator[Wanted]:
    """Everybody of the part, by id; and, with part 0, the default set's own profile."""
    from include.deliveries.rows import open_part

    part, on_absent = work.part, work.delivery.on_absent
    instead = {"default": DEFAULT, "clear": CLEARED, "keep": OWN}[on_absent]
    with open_part(work.batch, part.recon, part.number, work.delivery.recommendation_types) as rows:
        default_set = _blocks(rows.default_set.to_pylist())
        own = (row for batch in rows.own() for row in batch.to_pylist())
        for (user, recipient), group in groupby(own, itemgetter("auth_user_id", "recipient")):
            yield Wanted(user, recipient, OWN, _fields(work, _blocks(list(group)), default_set))
        state = instead if on_absent != "default" or default_set else CLEARED
        fields = _fields(work, {}, default_set)
        if work.default_only:
            state, fields = DEFAULT, _default_fields(work, default_set)
        for batch in rows.others():
            for row in batch.to_pylist():
                yield Wanted(row["auth_user_id"], row["recipient"], state, fields)
    if part.number == 0 and default_set and isinstance(work.delivery, KlaviyoDelivery):
        from include.deliveries.klaviyo import DEFAULT_PROFILE

        yield Wanted(DEFAULT_PROFILE, DEFAULT_PROFILE, DEFAULT_SET, _fields(work, default_set, {}))


def _for_those_who_left(work: Work) -> Wanted | None:
    """What recipients of earlier lists get; None: nothing, or the list is a campaign's own and nobody left."""
    from include.deliveries.rows import open_part

    on_absent = work.delivery.on_absent
    if on_absent == "keep" or not work.whole_list:
        return None
    with open_part(work.batch, work.part.recon, work.part.number, work.delivery.recommendation_types) as rows:
        default_set = _blocks(rows.default_set.to_pylist())
    state = DEFAULT if on_absent == "default" and default_set else CLEARED
    return Wanted("", "", state, _fields(work, {}, default_set))


def _default_fields(work: Work, default_set: Products) -> dict[str, str]:
    """The default set, whatever ``on_absent`` says; types it does not have are left alone."""
    return _fields(replace(work, types=[name for name in work.types if name in default_set]), default_set, {})


def _fields(work: Work, own: Products, default_set: Products) -> dict[str, str]:
    if isinstance(work.delivery, KlaviyoDelivery):
        from include.deliveries.klaviyo import properties_of

        return properties_of(own, default_set, work.types, work.delivery)
    from include.deliveries.smartemailing import fields_of

    return fields_of(own, default_set, work.types, work.delivery)


def _types(
    manifest: dict[str, Any], delivery: KlaviyoDelivery | SmartEmailingDelivery, expected: Iterable[str]
) -> list[str]:
    """The recommendation types that the delivery wants: of the batch, and those that it should have had."""
    if delivery.recommendation_types is not None:
        return sorted(delivery.recommendation_types)
    named = delivery.properties if isinstance(delivery, KlaviyoDelivery) else delivery.fields
    return sorted({*manifest["types"], *(manifest["default"] or {}).get("types", []), *named, *expected})


def _blocks(rows: list[dict[str, Any]]) -> Products:
    blocks: Products = {}
    for row in rows:
        product = {"id" if name == "item_id" else name: row[name] for name in _PARTS}
        blocks.setdefault(row["recommendation_type"], []).append(product)
    return blocks


def write_back(work: Work, client: Any) -> Any:
    """The import jobs of the part."""
    from klaviyo.write_back import WriteBack

    assert isinstance(work.delivery, KlaviyoDelivery)
    return WriteBack(client, work.part, work.delivery)


def deadline_of(work: Work) -> float:
    """When the jobs of this try must be through, in epoch seconds."""
    assert isinstance(work.delivery, KlaviyoDelivery)
    return time.time() + work.delivery.deadline_minutes * 60
