"""Klaviyo's control routes, which the vendor does not have: looking, scheduling campaigns, publishing into profiles."""

import asyncio
import json
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from include.sandbox.answers import asked
from include.sandbox.klaviyo.database import AccountDatabase
from include.sandbox.klaviyo.limits import Limits
from include.sandbox.klaviyo.publish import publish


class CampaignContent(BaseModel):
    """An e-mail campaign; ``included`` and ``excluded`` are ids of lists and segments."""

    model_config = ConfigDict(extra="forbid")

    name: str = "Campaign"
    status: Literal["draft", "scheduled", "sending", "sent", "cancelled"] = "draft"
    send_at: datetime | None = None
    included: list[str] = Field(default_factory=list)
    excluded: list[str] = Field(default_factory=list)


class Publication(BaseModel):
    """A publication of Luigi's Box's own integration."""

    model_config = ConfigDict(extra="forbid")

    types: dict[str, int] = Field(default_factory=lambda: {"mail-recommender-1": 4}, min_length=1)
    share: int = Field(80, ge=0, le=100, description="percent of the profiles that get recommendations")
    portion: int = Field(100, ge=0, le=100, description="percent of those that are written now")
    number: int | None = Field(None, ge=1, description="go on with this publication instead of a new one")


def klaviyo_control(database: AccountDatabase, limits: Limits) -> APIRouter:
    """Everything below ``/_sandbox/klaviyo``."""
    routes = APIRouter(prefix="/_sandbox/klaviyo")

    @routes.get("/state")
    async def state() -> dict[str, Any]:
        return {**await asyncio.to_thread(state_of, database), "requests": limits.figures()}

    @routes.put("/campaigns/{name}")
    async def campaign(name: str, request: Request) -> dict[str, Any]:
        content = await asked(request, CampaignContent)
        return await asyncio.to_thread(_put_campaign, database, name, content)

    @routes.post("/publish")
    async def publication(request: Request) -> dict[str, Any]:
        content = await asked(request, Publication)
        return await asyncio.to_thread(publish, database, content.types, content.share, content.portion, content.number)

    return routes


def state_of(database: AccountDatabase) -> dict[str, Any]:
    """Counts: profiles, members of each source, jobs, profiles with each property, campaigns."""
    with database.reading() as connection:

        def pairs(query: str) -> dict[str, int]:
            return {str(name): count for name, count in connection.execute(query)}

        return {
            "profiles": connection.execute("SELECT count(*) FROM profiles").fetchone()[0],
            "members": pairs("SELECT source, count(*) FROM members GROUP BY 1 ORDER BY 1"),
            "properties": pairs(
                "SELECT key, count(*) FROM profiles, json_each(profiles.properties) GROUP BY 1 ORDER BY 1"
            ),
            "jobs": connection.execute("SELECT count(*) FROM jobs").fetchone()[0],
            "imported": connection.execute("SELECT coalesce(sum(total - failed), 0) FROM jobs").fetchone()[0],
            "import_errors": connection.execute("SELECT count(*) FROM import_errors").fetchone()[0],
            "campaigns": pairs("SELECT status, count(*) FROM campaigns GROUP BY 1 ORDER BY 1"),
        }


def _put_campaign(database: AccountDatabase, name: str, content: CampaignContent) -> dict[str, Any]:
    send_at = content.send_at.isoformat() if content.send_at else None
    row = (name, content.name, content.status, send_at, json.dumps(content.included), json.dumps(content.excluded))
    with database.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO campaigns VALUES (?, ?, ?, ?, ?, ?)", row)
    return {"id": name, **content.model_dump(mode="json")}
