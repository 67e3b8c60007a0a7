"""Advisable.ai's control routes, which the vendor does not have: looking at what is stored, and forgetting it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from include.sandbox.advisable.database import InteractionsDatabase
from include.sandbox.advisable.interactions import PATHS, TYPES
from include.sandbox.answers import Refused


def advisable_control(database: InteractionsDatabase) -> APIRouter:
    """``/_sandbox/interactions``, which the vendor does not have."""
    routes = APIRouter(prefix="/_sandbox/interactions")

    @routes.get("")
    async def stored(kind: Annotated[str | None, Query(alias="type")] = None) -> JSONResponse:
        known = {**TYPES, **{each: each for each in PATHS}}
        if kind is not None and kind not in known:
            raise Refused(422, f"type: known are {', '.join(known)}")
        rows = await asyncio.to_thread(database.rows, {} if kind is None else {"kind": known[kind]})
        return JSONResponse([{"type": row.pop("kind"), **row} for row in rows])

    @routes.delete("")
    async def clear() -> dict[str, int]:
        return {"deleted": await asyncio.to_thread(database.clear)}

    return routes
