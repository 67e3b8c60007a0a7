"""SmartEmailing's control routes, which the vendor does not have: looking at what is stored, planning newsletters."""

import asyncio
import sqlite3
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from include.sandbox.answers import asked
from include.sandbox.settings import Settings
from include.sandbox.smartemailing.database import ContactsDatabase

_TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"


class Newsletter(BaseModel):
    """A newsletter; times are UTC, such as ``2026-03-01 08:00:00``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    start: str | None = Field(None, pattern=_TIME)
    finish: str | None = Field(None, pattern=_TIME)


def smartemailing_control(settings: Settings) -> APIRouter:
    """Everything below ``/_sandbox/smartemailing``."""
    routes = APIRouter(prefix="/_sandbox/smartemailing")
    database = ContactsDatabase(settings.state)

    @routes.get("/state")
    async def state() -> dict[str, Any]:
        return await asyncio.to_thread(state_of, database)

    @routes.put("/newsletters/{number}")
    async def newsletter(number: int, request: Request) -> dict[str, Any]:
        content = await asked(request, Newsletter)
        return await asyncio.to_thread(_put_newsletter, database, number, content)

    return routes


def state_of(database: ContactsDatabase) -> dict[str, Any]:
    """Counts: contacts, members of each list by status, values of each custom field, newsletters."""
    with database.reading() as connection:
        members: dict[str, dict[str, int]] = {}
        query = "SELECT contactlist_id, status, count(*) FROM memberships GROUP BY 1, 2 ORDER BY 1, 2"
        for number, status, count in connection.execute(query):
            members.setdefault(str(number), {})[status] = count
        return {
            "contacts": _one(connection, "SELECT count(*) FROM contacts"),
            "blacklisted": _one(connection, "SELECT count(*) FROM contacts WHERE blacklisted"),
            "lists": members,
            "values": {
                str(number): count
                for number, count in connection.execute(
                    "SELECT customfield_id, count(*) FROM contact_customfields GROUP BY 1 ORDER BY 1"
                )
            },
            "newsletters": _one(connection, "SELECT count(*) FROM newsletters"),
        }


def _one(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _put_newsletter(database: ContactsDatabase, number: int, content: Newsletter) -> dict[str, Any]:
    row = {"id": number, **content.model_dump()}
    with database.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO newsletters VALUES (:id, :name, :start, :finish)", row)
    return row
