"""Where Luigi's Box publishes the batch, when it counts as fresh, and what it must cover."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from include.publishers.base import ConnectionId, Percent, Section, TimeZone, TypeName


class Batch(Section):
    """What all places of a batch share."""

    model_config = ConfigDict(populate_by_name=True)

    format: Literal["xml", "json"] = "xml"
    updated_at_time_zone: TimeZone = Field("UTC", description="zone of _metadata/updated_at, which carries none")
    poll_seconds: float = Field(60, ge=0.2, description="pause between two looks, before jitter")
    deadline_minutes: float = Field(360, gt=0, description="how long to wait after the upload was accepted")
    on_deadline: Literal["fail", "use_previous", "default_only"] = Field(
        "fail", description="what to do when the deadline passes without a fresh batch"
    )
    max_age_hours: float | None = Field(
        None,
        gt=0,
        description="of a run on a schedule: a batch older than this before the run's start is stale; "
        "empty: the interval's start counts",
    )
    parts: int = Field(8, ge=1, le=64, description="how many parts a batch is cut into for the fan-out")
    recommendation_types: dict[TypeName, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="expected recommendation types and how many products each should hold",
    )


class LinkBatch(Batch):
    """A file at a link that Luigi's Box gives."""

    source: Literal["link"] = Field("link", alias="from", description="a file at a link")
    link: str = Field(
        pattern=r"^((https?|file|s3|gs|abfs)://|/)\S+$",
        description="the result link; one that starts with / is on the host of the connection",
    )
    connection: str | None = Field(None, description="Airflow connection (http) for basic, bearer or header auth")
    max_bytes: int = Field(20_000_000_000, ge=1, description="a longer batch is refused")

    @model_validator(mode="after")
    def _link_is_whole(self) -> "LinkBatch":
        if self.link.startswith("/") and not self.connection:
            raise ValueError("link: one that starts with / needs connection, which names the host")
        return self


class KlaviyoBatch(Batch):
    """Properties of Klaviyo's profiles, which Luigi's Box's own integration writes."""

    source: Literal["klaviyo"] = Field(alias="from", description="profiles of Klaviyo")
    connection: ConnectionId = "klaviyo_default"
    sample: int = Field(50, ge=1, le=100, description="profiles that a look at Klaviyo compares")
    fresh_percent: Percent = Field(
        50, gt=0, description="of the profiles with recommendations, how many must carry new ones"
    )
    format: Literal["json"] = "json"

    @model_validator(mode="after")
    def _knows_its_properties(self) -> "KlaviyoBatch":
        if not self.recommendation_types:
            raise ValueError("recommendation_types: name the profile properties that Luigi's Box writes")
        return self


AnyBatch = Annotated[LinkBatch | KlaviyoBatch, Field(discriminator="source")]


class Coverage(Section):
    """What the batch must cover; percentages of the uploaded users unless said otherwise."""

    warn_personalised_percent: Percent = Field(20, description="fewer personalised users: a warning")
    fail_personalised_percent: Percent = Field(0, description="fewer personalised users: the run fails")
    warn_unexpected_percent: Percent = Field(0, description="more batch users that were not uploaded: a warning")
    fail_unexpected_percent: Percent = Field(1, description="more batch users that were not uploaded: the run fails")
    warn_slots_filled_percent: Percent = Field(80, description="fewer filled slots in any type: a warning")
    fail_slots_filled_percent: Percent = Field(0, description="fewer filled slots in any type: the run fails")
    fail_missing_recommendation_id_percent: Percent = Field(
        100, description="more products whose url lacks recommendation_id: the run fails"
    )
    require_default_set: bool = Field(True, description="a batch without the default set fails the run")
