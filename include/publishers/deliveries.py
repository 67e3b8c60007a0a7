"""What is done with a batch: files, rows of a table, an event, a callable of the user's own, the platform itself."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.publishers.base import ConnectionId, Name, Percent, Section, TypeName

OnAbsent = Literal["keep", "clear", "default"]
FieldNumber = Annotated[int, Field(ge=1)]


class Delivery(Section):
    """One thing done with a batch."""

    name: Name
    recommendation_types: list[TypeName] | None = Field(None, description="only these types; all if not given")


class FeedDelivery(Delivery):
    """Files for the newsletter platform: JSON Lines per recipient, and a compact CSV."""

    kind: Literal["feed"]
    use_default_set: bool = Field(True, description="absent recipients get the default set")


class WarehouseDelivery(Delivery):
    """Rows in a table; a batch replaces its own rows, so a retry changes nothing."""

    kind: Literal["warehouse"]
    connection: str
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}$")
    commit_rows: int = Field(5_000, ge=1, le=1_000_000, description="rows sent to the database at a time")


class AssetDelivery(Delivery):
    """The event 'recommendations ready', on which other DAGs can be scheduled."""

    kind: Literal["asset"]


class PythonDelivery(Delivery):
    """A callable of the user's own; it gets one pandas DataFrame per part."""

    kind: Literal["python"]
    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*[.:][A-Za-z_]\w*$", description="package.module.function")


class PlatformDelivery(Delivery):
    """What the newsletter platforms share: only what changed is sent, and what was confirmed is remembered."""

    connection: ConnectionId
    on_absent: OnAbsent = Field(
        "keep",
        description="recipients without recommendations of their own, and those who left the audience: "
        "keep what they have, clear it, or give them the default set",
    )
    fail_set_aside_percent: Percent = Field(
        20, description="more of the recipients refused by the platform: the run fails after the others were written"
    )


class KlaviyoDelivery(PlatformDelivery):
    """Recommendations as properties of Klaviyo's profiles, by bulk import jobs."""

    kind: Literal["klaviyo"]
    connection: ConnectionId = "klaviyo_default"
    identify_by: Literal["profile_id", "email", "external_id"] = Field(
        "profile_id", description="what a recipient is to Klaviyo"
    )
    properties: dict[TypeName, Annotated[str, Field(min_length=1, max_length=255)]] = Field(
        default_factory=dict, description="recommendation type: property it is written to; without: the type's name"
    )
    job_profiles: int = Field(10_000, ge=1, le=10_000, description="most profiles of one import job")
    job_bytes: int = Field(5_000_000, ge=1_000, le=5_000_000, description="longest import job")
    profile_bytes: int = Field(100_000, ge=1_000, le=100_000, description="longest profile; a longer one is set aside")
    poll_seconds: float = Field(10, ge=0.2, description="pause between two looks at the jobs")
    deadline_minutes: float = Field(60, gt=0, description="how long to wait for the jobs of one part")


class Slot(BaseModel):
    """Custom fields of one product's place in the newsletter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: FieldNumber | None = None
    url: FieldNumber | None = None
    title: FieldNumber | None = None
    image_link: FieldNumber | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> "Slot":
        if not any((self.id, self.url, self.title, self.image_link)):
            raise ValueError("give at least one of id, url, title, image_link: the number of a custom field")
        return self


class SmartEmailingDelivery(PlatformDelivery):
    """Recommendations in custom fields of SmartEmailing's contacts, by import."""

    kind: Literal["smartemailing"]
    connection: ConnectionId = "smartemailing_default"
    fields: dict[TypeName, FieldNumber | Annotated[list[Slot], Field(min_length=1)]] = Field(
        min_length=1,
        description="recommendation type: the custom field that gets it as JSON, or a list of slots with a field each",
    )
    call_contacts: int = Field(500, ge=1, le=500, description="most contacts of one import")
    value_bytes: int = Field(
        65_536, ge=100, le=65_536, description="longest value; a contact with a longer one is set aside"
    )


AnyDelivery = Annotated[
    FeedDelivery | WarehouseDelivery | AssetDelivery | PythonDelivery | KlaviyoDelivery | SmartEmailingDelivery,
    Field(discriminator="kind"),
]
