"""Which streams of pages an audience of a newsletter platform is made of: one mapped pull each."""

from typing import Literal, TypedDict

from include.publishers.audiences import AnyAudience, KlaviyoAudience, SmartEmailingAudience

Role = Literal["take", "leave_out", "ids"]


class Source(TypedDict):
    """One stream: number ``index`` of ``of``.

    ``source`` is ``all``, ``list:ID``, ``segment:ID`` or ``customfield:ID``. Who is in a source of role ``take`` gets
    recommendations, unless one of role ``leave_out`` has them too; ``ids`` holds the customer ids of contacts.
    """

    index: int
    of: int
    source: str
    role: Role


def sources_of(audience: AnyAudience) -> list[Source]:
    """The streams of an audience, always in the same order; none if it is no platform's."""
    named: list[tuple[str, Role]] = []
    if isinstance(audience, KlaviyoAudience):
        named = [*_klaviyo(audience)]
    if isinstance(audience, SmartEmailingAudience):
        named = [(f"list:{each}", "take") for each in audience.lists] or [("all", "take")]
        named += [(f"list:{each}", "leave_out") for each in audience.exclude_lists]
        if customfield := customfield_of(audience):
            named.append((f"customfield:{customfield}", "ids"))
    return [
        {"index": index, "of": len(named), "source": source, "role": role} for index, (source, role) in enumerate(named)
    ]


def _klaviyo(audience: KlaviyoAudience) -> list[tuple[str, Role]]:
    taken = [*(f"list:{each}" for each in audience.lists), *(f"segment:{each}" for each in audience.segments)]
    left_out = [
        *(f"list:{each}" for each in audience.exclude_lists),
        *(f"segment:{each}" for each in audience.exclude_segments),
    ]
    return [*((each, "take") for each in taken or ["all"]), *((each, "leave_out") for each in left_out)]


def customfield_of(audience: SmartEmailingAudience) -> int | None:
    """Number of the custom field that holds the customer id; None if the contact itself does."""
    kind, _, number = audience.id.partition(".")
    return int(number) if kind == "customfields" else None
