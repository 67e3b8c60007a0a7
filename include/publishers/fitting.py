"""What must hold between the sections of a publisher file: mistakes that would show only when a newsletter is due."""

from collections.abc import Iterator, Sequence

from include.publishers.audiences import AnyAudience
from include.publishers.batches import AnyBatch
from include.publishers.campaigns import Campaigns
from include.publishers.deliveries import AnyDelivery, KlaviyoDelivery, SmartEmailingDelivery


def misfits(
    audience: AnyAudience, batch: AnyBatch, deliveries: Sequence[AnyDelivery], campaigns: Campaigns | None
) -> Iterator[str]:
    """One sentence for each mistake."""
    yield from _batch(audience, batch)
    yield from _campaigns(audience, campaigns)
    for delivery in deliveries:
        if isinstance(delivery, KlaviyoDelivery):
            yield from _klaviyo(audience, batch, delivery)
        elif isinstance(delivery, SmartEmailingDelivery):
            yield from _smartemailing(audience, batch, delivery)


def _batch(audience: AnyAudience, batch: AnyBatch) -> Iterator[str]:
    if batch.source != "klaviyo":
        return
    if audience.kind != "klaviyo" or audience.recipient != "profile_id":
        yield "batch.from klaviyo needs an audience of kind klaviyo with recipient profile_id"
    elif audience.connection != batch.connection:
        yield (
            f"batch.connection is {batch.connection}, but audience.connection is {audience.connection}; the batch is "
            "read from the profiles of the audience, so they must be the same"
        )


def _campaigns(audience: AnyAudience, campaigns: Campaigns | None) -> Iterator[str]:
    if campaigns and campaigns.kind == "klaviyo" and audience.kind != "klaviyo" and not campaigns.audiences:
        yield "campaigns.audiences: name the lists and segments whose newsletters are this publisher's"


def _klaviyo(audience: AnyAudience, batch: AnyBatch, delivery: KlaviyoDelivery) -> Iterator[str]:
    if audience.kind == "klaviyo" and delivery.identify_by != audience.recipient:
        yield (
            f"delivery {delivery.name}: identify_by is {delivery.identify_by}, but audience.recipient is "
            f"{audience.recipient}; they must be the same"
        )
    if audience.kind == "smartemailing" and delivery.identify_by != "email":
        yield f"delivery {delivery.name}: identify_by must be email, which is what SmartEmailing's recipients are"
    names = dict.fromkeys((*batch.recommendation_types, *delivery.properties))
    targets = [delivery.properties.get(name, name) for name in names]
    yield from _unknown(delivery.name, "properties", list(delivery.properties), batch)
    yield from _twice(delivery.name, "property", targets)
    overwritten = sorted(set(targets) & set(batch.recommendation_types))
    if batch.source == "klaviyo" and overwritten:
        yield (
            f"delivery {delivery.name}: writes the properties {', '.join(overwritten)}, which the batch is read from; "
            "give others under properties"
        )


def _smartemailing(audience: AnyAudience, batch: AnyBatch, delivery: SmartEmailingDelivery) -> Iterator[str]:
    if audience.kind == "klaviyo" and audience.recipient != "email":
        yield f"delivery {delivery.name}: SmartEmailing knows contacts by e-mail; audience.recipient must be email"
    yield from _unknown(delivery.name, "fields", list(delivery.fields), batch)
    numbers = [
        number
        for value in delivery.fields.values()
        for slot in ([value] if isinstance(value, int) else value)
        for number in ([slot] if isinstance(slot, int) else slot.model_dump(exclude_none=True).values())
    ]
    yield from _twice(delivery.name, "field", [str(number) for number in numbers])


def _unknown(delivery: str, key: str, named: Sequence[str], batch: AnyBatch) -> Iterator[str]:
    known = batch.recommendation_types
    unknown = sorted(set(named) - set(known))
    if known and unknown:
        names = ", ".join(unknown)
        yield f"delivery {delivery}: {key}: no such recommendation type {names}; known are {', '.join(known)}"


def _twice(delivery: str, what: str, targets: Sequence[str]) -> Iterator[str]:
    doubled = sorted({target for target in targets if targets.count(target) > 1})
    if doubled:
        yield f"delivery {delivery}: two recommendations go to the {what} {', '.join(doubled)}"
