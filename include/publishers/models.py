"""A publisher file as a whole: all its sections, and what must hold between them."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from include.errors import ConfigError
from include.publishers.audiences import AnyAudience
from include.publishers.base import GrowthPercent, Name, Percent, Section, TimeZone
from include.publishers.batches import AnyBatch, Coverage
from include.publishers.campaigns import Campaigns
from include.publishers.deliveries import AnyDelivery
from include.publishers.fitting import misfits
from include.publishers.senders import Interactions, Pins, Transactions


class LuigisBox(Section):
    """How this publisher reaches Luigi's Box."""

    connection: str = Field("luigisbox_default", description="Airflow connection of type luigisbox")
    upload_users: bool = Field(
        True,
        description="false: Luigi's Box pulls the users from the newsletter platform itself; the list is built, judged "
        "and recorded, not sent",
    )


class Guard(Section):
    """When may a new list replace the live one? Shares are of the live list's size, in percent."""

    min_users: int = Field(1, ge=1, description="fewer users than this are refused")
    hold_shrink_percent: Percent = Field(10, description="shrunk by more than this: held")
    refuse_shrink_percent: Percent = Field(50, description="shrunk by more than this: refused")
    hold_grow_percent: GrowthPercent = Field(50, description="grown by more than this: held")
    refuse_grow_percent: GrowthPercent = Field(500, description="grown by more than this: refused")
    hold_churn_percent: Percent = Field(30, description="more of the live list removed, or added, than this: held")
    hold_reject_percent: Percent = Field(1, description="more rejects among the extracted rows: held")
    refuse_reject_percent: Percent = Field(20, description="more rejects among the extracted rows: refused")
    hold_format_percent: Percent = Field(
        20,
        description="the share of an id shape (digits, e-mail, uuid, other) moved by more points than this: held",
    )

    @model_validator(mode="after")
    def _holds_before_it_refuses(self) -> "Guard":
        for what in ("shrink", "grow", "reject"):
            hold, refuse = getattr(self, f"hold_{what}_percent"), getattr(self, f"refuse_{what}_percent")
            if hold > refuse:
                raise ValueError(f"hold_{what}_percent {hold:g} must not be above refuse_{what}_percent {refuse:g}")
        return self


def _cron(text: str) -> str:
    from croniter import croniter

    presets = {"@yearly", "@annually", "@quarterly", "@monthly", "@weekly", "@daily", "@hourly"}
    if text not in presets and not (5 <= len(text.split()) <= 6 and croniter.is_valid(text)):
        raise ValueError(f"must be a cron expression such as '0 4 * * *', or one of {', '.join(sorted(presets))}")
    return text


def _cron_or_upload(text: str) -> str:
    return text if text == AFTER_UPLOAD else _cron(text)


AFTER_UPLOAD = "after_upload"
Cron = Annotated[str, AfterValidator(_cron)]
CronOrUpload = Annotated[str, AfterValidator(_cron_or_upload)]


class Schedules(Section):
    """Cron expressions; without one the DAG runs only when triggered."""

    time_zone: TimeZone = "UTC"
    audience: Cron | None = None
    past_transactions: Cron | None = None
    pins: Cron | None = None
    interactions: Cron | None = None
    recommendations: CronOrUpload | None = Field(AFTER_UPLOAD, description="after_upload, a cron expression, or null")


class Publisher(Section):
    """One configured newsletter batch."""

    name: Name
    luigisbox: LuigisBox = Field(default_factory=LuigisBox)
    audience: AnyAudience
    guard: Guard = Field(default_factory=Guard)
    past_transactions: Transactions | None = None
    pins: Pins | None = None
    interactions: Interactions | None = None
    batch: AnyBatch
    coverage: Coverage = Field(default_factory=Coverage)
    deliveries: list[AnyDelivery] = Field(min_length=1)
    schedule: Schedules = Field(default_factory=Schedules)
    campaigns: Campaigns | None = None
    tags: list[str] = Field(default_factory=list, description="more tags for the DAGs of this publisher")

    @model_validator(mode="before")
    @classmethod
    def _usual_kinds(cls, values: Any) -> Any:
        """An audience without a kind is a warehouse's; a batch without a place is at a link."""
        usual = (("audience", "kind", "warehouse"), ("batch", "from", "link"))
        given = dict(values) if isinstance(values, dict) else {}
        for section, key, kind in usual:
            if isinstance(given.get(section), dict):
                given[section] = {key: kind, **given[section]}
        return given or values

    @model_validator(mode="after")
    def _sections_fit(self) -> "Publisher":
        mistakes = list(misfits(self.audience, self.batch, self.deliveries, self.campaigns))
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "Publisher":
        names = [delivery.name for delivery in self.deliveries]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two deliveries are named {', '.join(doubled)}")
        return self

    def delivery(self, name: str) -> AnyDelivery:
        """The delivery of that name.

        Raises:
            ConfigError: there is none.
        """
        for delivery in self.deliveries:
            if delivery.name == name:
                return delivery
        known = ", ".join(delivery.name for delivery in self.deliveries)
        raise ConfigError(f"publisher {self.name}: no delivery {name!r}; known are {known}")
