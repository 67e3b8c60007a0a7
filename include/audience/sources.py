"""Which streams of pages an audience of a newsletter platform is made of, and which may be read side by side."""

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


class Turn(TypedDict):
    """What one mapped pull reads, one source after the other: number ``index`` of ``of``."""

    index: int
    of: int
    sources: list[Source]


def turns_of(audience: AnyAudience) -> list[Turn]:
    """The pulls of an audience: a source of Klaviyo each; SmartEmailing wants one request at a time, so all in one."""
    sources = sources_of(audience)
    together = [sources] if sources and isinstance(audience, SmartEmailingAudience) else [[each] for each in sources]
    return [{"index": index, "of": len(together), "sources": each} for index, each in enumerate(together)]


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
