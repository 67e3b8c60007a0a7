"""Which newsletters of a platform start runs by themselves."""

from typing import Literal

from pydantic import Field, model_validator

from include.publishers.audiences import KlaviyoId
from include.publishers.base import ConnectionId, Section

READY_MINUTES = 30.0
RUN_MINUTES = 60.0
"""What a run is taken to need where nothing was measured yet."""


class Campaigns(Section):
    """Which newsletters of the platform start a campaign run by themselves."""

    kind: Literal["klaviyo", "smartemailing"]
    connection: ConnectionId
    audiences: list[KlaviyoId] = Field(
        default_factory=list,
        description="Klaviyo: ids of the lists and segments whose newsletters are this publisher's; without: those of "
        "audience",
    )
    lead_hours: float = Field(24, gt=0, le=24 * 14, description="a newsletter to be sent within so long starts a run")
    ready_minutes: float = Field(
        READY_MINUTES, ge=0, description="the wait for the batch ends so long before the newsletter is sent"
    )
    run_minutes: float | None = Field(
        None,
        gt=0,
        description="how long a run usually takes; less time left raises an alert; without: what the last batch took "
        f"from the upload on, or {RUN_MINUTES:.0f}",
    )
    poll_seconds: float = Field(60, ge=60, description="pause between two looks at the platform")

    @model_validator(mode="after")
    def _knows_audiences(self) -> "Campaigns":
        if self.kind == "smartemailing" and self.audiences:
            raise ValueError("audiences: SmartEmailing does not tell whom a newsletter goes to; leave audiences out")
        return self
