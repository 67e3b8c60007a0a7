"""The control routes: publishing, faults, and looking at what was received. The vendor has none of these.

They ask for no credentials; the sandbox is for rehearsals, not for real customers' data.
"""

import asyncio
import time
from datetime import date
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from include.errors import BadInput, ConfigError
from include.sandbox.answers import Refused, asked
from include.sandbox.faults import Fault
from include.sandbox.parts import Parts
from include.sandbox.sessions import Form, write_sessions
from include.sandbox.settings import parse_types

MAX_CATALOGUE = 500_000_000
SESSIONS_TYPES: dict[Form, str] = {"ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


class Publication(BaseModel):
    """How one batch differs from what is configured."""

    model_config = ConfigDict(extra="forbid")

    types: dict[str, int | str] | None = Field(None, description="as --types: {'mail-basket': 8}")
    today: date | None = Field(None, description="the day that the batch is computed for")


def control_routes(parts: Parts) -> APIRouter:
    """Everything below /_sandbox, and /health."""
    routes = APIRouter(prefix="/_sandbox")
    _looking(routes, parts)
    _changing(routes, parts)
    _faults(routes, parts)
    return routes


def _looking(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/requests")
    async def requests() -> JSONResponse:
        return JSONResponse(parts.journal.entries())

    @routes.get("/uploads")
    async def uploads() -> JSONResponse:
        return JSONResponse(parts.store.uploads())

    @routes.get("/sessions")
    async def sessions(form: Annotated[Form, Query(alias="format")] = "ndjson") -> FileResponse:
        target = parts.store.body(f"sessions-{uuid4().hex}")

        def write() -> int:
            write_sessions(parts.store.transactions(), target, form, parts.store.database)
            return sum(upload["state"] == "processing" for upload in parts.store.uploads())

        try:
            processing = await parts.jobs.after_uploads(write)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return FileResponse(
            target,
            media_type=SESSIONS_TYPES[form],
            headers={"Sandbox-Processing": str(processing)},
            background=BackgroundTask(target.unlink, missing_ok=True),
        )

    @routes.get("/state")
    async def state() -> dict[str, Any]:
        return await asyncio.to_thread(state_of, parts)


def state_of(parts: Parts) -> dict[str, Any]:
    """Counts of what is stored, and the records of the user set and the batch."""
    return {
        "tracker": parts.settings.tracker,
        **parts.store.counts(),
        "catalogue": parts.store.catalogue.count(),
        "pins": parts.pins.count(),
        "interactions": parts.interactions.counts(),
        "user_set": parts.store.users(),
        "batch": parts.publisher.current(),
        "link": f"{parts.publisher.base_url}/batches/{parts.settings.tracker}.xml",
    }


def _changing(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/publish")
    async def publish(request: Request) -> JSONResponse:
        wanted = await asked(request, Publication)
        try:
            types = parse_types(wanted.types) if wanted.types is not None else None
        except ConfigError as error:
            raise Refused(422, str(error)) from None
        record = await parts.jobs.publish(types, wanted.today)
        return JSONResponse(record) if record else JSONResponse({"reason": "late_batch: published later"}, 202)

    @routes.put("/catalogue")
    async def catalogue(request: Request) -> dict[str, int]:
        body = parts.store.body(f"catalogue-{time.monotonic_ns()}")
        try:
            await _receive(request, body)
            return {"products": await asyncio.to_thread(parts.store.catalogue.replace, body)}
        except BadInput as error:
            raise Refused(422, str(error)) from None
        finally:
            body.unlink(missing_ok=True)

    @routes.delete("/requests")
    async def forget_requests() -> dict[str, bool]:
        parts.journal.clear()
        return {"cleared": True}


def _faults(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/faults", status_code=201)
    async def add_fault(request: Request) -> Fault:
        fault = await asked(request, Fault)
        if fault.fault == "frozen_batch":
            parts.publisher.freeze()
        parts.faults.add(fault)
        return fault

    @routes.get("/faults")
    async def waiting_faults() -> list[Fault]:
        return parts.faults.waiting()

    @routes.delete("/faults")
    async def clear_faults() -> dict[str, bool]:
        parts.faults.clear()
        return {"cleared": True}


async def _receive(request: Request, target: Any) -> None:
    size = 0
    with target.open("wb") as handle:
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_CATALOGUE:
                raise Refused(413, f"the catalogue is larger than {MAX_CATALOGUE:,} bytes")
            handle.write(piece)
