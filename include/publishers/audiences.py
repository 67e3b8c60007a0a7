"""Where the customers come from: a warehouse, Klaviyo or SmartEmailing."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from include.publishers.base import ConnectionId, Percent, Section, Warehouse

KlaviyoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
SmartEmailingId = Annotated[int, Field(ge=1)]


def _place(key: str, pattern: str, said: str) -> Any:
    """A validator whose sentence says in words what is allowed."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {said}")
        return value

    return field_validator(key)(check)


class Audience(Section):
    """Who gets recommendations: what all sources share."""

    format: Literal["json", "csv"] = Field("json", description="how chunks are written and uploaded")
    chunk_rows: int = Field(1_000_000, ge=1, description="most users in one staged chunk")
    max_id_bytes: int = Field(255, ge=1, le=65_535, description="longest customer id, in bytes of UTF-8")


class WarehouseAudience(Audience, Warehouse):
    """A query: columns auth_user_id and, if the platform has a key of its own, recipient."""

    kind: Literal["warehouse"] = "warehouse"
    partitions: int = Field(1, ge=1, le=100, description="number of mapped tasks that share the query")
    partition_key: str | None = Field(
        None,
        description="integer column of the query whose range is split; without it the SQL itself uses {{ partition }}",
    )

    @model_validator(mode="after")
    def _partitioned(self) -> "WarehouseAudience":
        if self.partitions > 1 and not self.partition_key and self.sql.endswith(".sql"):
            return self  # the file is read later; the extraction refuses a template without {{ partition }}
        if self.partitions > 1 and not self.partition_key and "partition" not in self.sql:
            raise ValueError(
                "partitions > 1 needs partition_key, or SQL that uses {{ partition }} and {{ partitions }}"
            )
        return self


class PlatformAudience(Audience):
    """What the newsletter platforms share."""

    tolerance_percent: Percent = Field(
        1, description="the platform's own count may differ by this much; more, and the list is not proven complete"
    )


class KlaviyoAudience(PlatformAudience):
    """Profiles of lists and segments, or all profiles."""

    kind: Literal["klaviyo"]
    connection: ConnectionId = "klaviyo_default"
    lists: list[KlaviyoId] = Field(default_factory=list, description="ids of lists; without lists and segments: all")
    segments: list[KlaviyoId] = Field(default_factory=list, description="ids of segments")
    exclude_lists: list[KlaviyoId] = Field(default_factory=list, description="profiles of these lists are left out")
    exclude_segments: list[KlaviyoId] = Field(default_factory=list, description="... and of these segments")
    id: str = Field(
        "external_id",
        description="where the customer id lies: external_id, or properties.NAME (properties.NAME.NAME if nested)",
    )
    _id_is_a_place = _place(
        "id", r"external_id|properties(\.[^.]+)+", "external_id, or properties.NAME (properties.NAME.NAME if nested)"
    )
    recipient: Literal["profile_id", "email"] = Field("profile_id", description="what deliveries address a profile by")
    exclude_suppressed: bool = Field(True, description="profiles suppressed for e-mail are left out")
    require_consent: bool = Field(False, description="only profiles subscribed to e-mail")

    @model_validator(mode="after")
    def _each_once(self) -> "KlaviyoAudience":
        _no_source_twice([*self.lists, *self.segments], [*self.exclude_lists, *self.exclude_segments])
        return self


class SmartEmailingAudience(PlatformAudience):
    """Contacts of contact lists, or all contacts; the recipient is the e-mail address."""

    kind: Literal["smartemailing"]
    connection: ConnectionId = "smartemailing_default"
    lists: list[SmartEmailingId] = Field(
        default_factory=list, description="ids of contact lists; without: all contacts"
    )
    exclude_lists: list[SmartEmailingId] = Field(default_factory=list, description="contacts of these are left out")
    confirmed_only: bool = Field(True, description="only contacts that confirmed their subscription to the list")
    id: str = Field(
        description="where the customer id lies: email, guid, or customfields.NUMBER",
    )
    _id_is_a_place = _place("id", r"email|guid|customfields\.[1-9][0-9]*", "email, guid, or customfields.NUMBER")

    @model_validator(mode="after")
    def _each_once(self) -> "SmartEmailingAudience":
        _no_source_twice(self.lists, self.exclude_lists)
        return self


def _no_source_twice(taken: list[str] | list[int], left_out: list[str] | list[int]) -> None:
    both = [*taken, *left_out]
    doubled = sorted({str(each) for each in both if both.count(each) > 1})
    if doubled:
        raise ValueError(f"named twice: {', '.join(doubled)}")


AnyAudience = Annotated[WarehouseAudience | KlaviyoAudience | SmartEmailingAudience, Field(discriminator="kind")]
