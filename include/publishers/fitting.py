"""What must hold between the sections of a publisher file: mistakes that would show only when a newsletter is due."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from include.publishers.deliveries import KlaviyoDelivery, SmartEmailingDelivery

if TYPE_CHECKING:
    from include.publishers.models import Publisher


def misfits(publisher: "Publisher") -> Iterator[str]:
    """One sentence for each mistake."""
    yield from _batch(publisher)
    yield from _campaigns(publisher)
    for delivery in publisher.deliveries:
        if isinstance(delivery, KlaviyoDelivery):
            yield from _klaviyo(publisher, delivery)
        elif isinstance(delivery, SmartEmailingDelivery):
            yield from _smartemailing(publisher, delivery)


def _batch(publisher: "Publisher") -> Iterator[str]:
    batch, audience = publisher.batch, publisher.audience
    if batch.source != "klaviyo":
        return
    if audience.kind != "klaviyo" or audience.recipient != "profile_id":
        yield "batch.from klaviyo needs an audience of kind klaviyo with recipient profile_id"
    elif audience.connection != batch.connection:
        yield (
            f"batch.connection is {batch.connection}, but audience.connection is {audience.connection}; the batch is "
            "read from the profiles of the audience, so they must be the same"
        )


def _campaigns(publisher: "Publisher") -> Iterator[str]:
    campaigns = publisher.campaigns
    if campaigns and campaigns.kind == "klaviyo" and publisher.audience.kind != "klaviyo" and not campaigns.audiences:
        yield "campaigns.audiences: name the lists and segments whose newsletters are this publisher's"


def _klaviyo(publisher: "Publisher", delivery: KlaviyoDelivery) -> Iterator[str]:
    audience, batch = publisher.audience, publisher.batch
    if audience.kind == "klaviyo" and delivery.identify_by != audience.recipient:
        yield (
            f"delivery {delivery.name}: identify_by is {delivery.identify_by}, but audience.recipient is "
            f"{audience.recipient}; they must be the same"
        )
    if audience.kind == "smartemailing" and delivery.identify_by != "email":
        yield f"delivery {delivery.name}: identify_by must be email, which is what SmartEmailing's recipients are"
    names = dict.fromkeys((*batch.recommendation_types, *delivery.properties))
    targets = [delivery.properties.get(name, name) for name in names]
    yield from _unknown(delivery.name, "properties", list(delivery.properties), publisher)
    yield from _twice(delivery.name, "property", targets)
    overwritten = sorted(set(targets) & set(batch.recommendation_types))
    if batch.source == "klaviyo" and overwritten:
        yield (
            f"delivery {delivery.name}: writes the properties {', '.join(overwritten)}, which the batch is read from; "
            "give others under properties"
        )


def _smartemailing(publisher: "Publisher", delivery: SmartEmailingDelivery) -> Iterator[str]:
    audience = publisher.audience
    if audience.kind == "klaviyo" and audience.recipient != "email":
        yield f"delivery {delivery.name}: SmartEmailing knows contacts by e-mail; audience.recipient must be email"
    yield from _unknown(delivery.name, "fields", list(delivery.fields), publisher)
    numbers = [
        number
        for value in delivery.fields.values()
        for slot in ([value] if isinstance(value, int) else value)
        for number in ([slot] if isinstance(slot, int) else slot.model_dump(exclude_none=True).values())
    ]
    yield from _twice(delivery.name, "field", [str(number) for number in numbers])


def _unknown(delivery: str, key: str, named: Sequence[str], publisher: "Publisher") -> Iterator[str]:
    known = publisher.batch.recommendation_types
    unknown = sorted(set(named) - set(known))
    if known and unknown:
        names = ", ".join(unknown)
        yield f"delivery {delivery}: {key}: no such recommendation type {names}; known are {', '.join(known)}"


def _twice(delivery: str, what: str, targets: Sequence[str]) -> Iterator[str]:
    doubled = sorted({target for target in targets if targets.count(target) > 1})
    if doubled:
        yield f"delivery {delivery}: two recommendations go to the {what} {', '.join(doubled)}"
