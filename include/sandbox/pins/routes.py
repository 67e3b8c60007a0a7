"""The routes of pin customizations, all signed, and what the sandbox has for looking at them.

That a list and an export are JSON arrays of scopes with ``id``, ``created_at`` and ``updated_at`` is an inference.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from include.sandbox.answers import Refused
from include.sandbox.bodies import body_of
from include.sandbox.parts import Parts
from include.sandbox.pins.bulk import BadLine, create_many, refusal
from include.sandbox.pins.database import Conflict, Filters, Page, Strategy, get, listed, replace, store
from include.sandbox.pins.scopes import InvalidScope, Scope, read_scope

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
MAX_BODY = 100_000_000
Result = TypeVar("Result")


def pin_routes(parts: Parts) -> APIRouter:
    """Everything below ``/v1/recommender/pin/{tracker}``."""

    def signed(request: Request, tracker: str) -> None:
        parts.check_signature(request, tracker, unknown=404)
        wanted = NDJSON if request.url.path.endswith("/_bulk") else JSON
        if request.headers.get("content-type", "").replace(" ", "").lower() != wanted.replace(" ", ""):
            raise Refused(415, f"Content-Type must be {wanted}")

    routes = APIRouter(prefix="/v1/recommender/pin/{tracker}", dependencies=[Depends(signed)])
    _many(routes, parts)
    _one(routes, parts)
    return routes


def _many(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/scopes/_bulk")
    async def bulk(request: Request, conflict_strategy: Strategy = "raise") -> dict[str, Any]:
        body = await body_of(request, MAX_BODY)
        await asyncio.to_thread(
            create_many,
            parts.pins,
            body,
            conflict_strategy,
            partial=parts.settings.pins_partial,
            details=parts.settings.pins_details,
            now=parts.clock.now().isoformat(),
        )
        return {}

    @routes.post("/scopes")
    async def scopes(request: Request, page: Annotated[Page, Query()]) -> JSONResponse:
        await _no_criteria(request)
        return JSONResponse(await asyncio.to_thread(_listed, parts, page))

    @routes.post("/scopes/export")
    async def export(request: Request, filters: Annotated[Filters, Query()]) -> JSONResponse:
        await _no_criteria(request)
        return JSONResponse(await asyncio.to_thread(_listed, parts, filters))


def _one(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/scope", status_code=201)
    async def create(request: Request) -> dict[str, Any]:
        scope = _scope(await body_of(request, MAX_BODY))
        return await asyncio.to_thread(_create, parts, scope)

    @routes.get("/scope/{number}")
    async def show(number: str) -> dict[str, Any]:
        return await asyncio.to_thread(_show, parts, number)

    @routes.put("/scope/{number}")
    async def put(number: str, request: Request) -> dict[str, Any]:
        scope = _scope(await body_of(request, MAX_BODY))
        return await asyncio.to_thread(_replace, parts, number, scope)

    @routes.delete("/scope/{number}")
    async def delete(number: str) -> dict[str, Any]:
        await asyncio.to_thread(_delete, parts, number)
        return {}


def _scope(body: bytes) -> Scope:
    try:
        return read_scope(body)
    except InvalidScope as error:
        raise refusal([BadLine(1, 422, error.problems)], "fields") from None


async def _no_criteria(request: Request) -> None:
    """The body may narrow a list by criteria; how is not documented, so anything but an empty object is refused."""
    body = await body_of(request, MAX_BODY)
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        given = None
    if given != {}:
        raise Refused(422, "criteria in the body are not known here; send none, or an empty object")


def _listed(parts: Parts, filters: Filters) -> list[dict[str, Any]]:
    with parts.pins.reading() as connection:
        return list(listed(connection, filters))


def _create(parts: Parts, scope: Scope) -> dict[str, Any]:
    with parts.pins.writing() as connection:
        return _or_409(lambda: store(connection, scope, "raise", parts.clock.now().isoformat()))


def _show(parts: Parts, number: str) -> dict[str, Any]:
    with parts.pins.reading() as connection:
        return _found(get(connection, number))


def _replace(parts: Parts, number: str, scope: Scope) -> dict[str, Any]:
    with parts.pins.writing() as connection:
        return _found(_or_409(lambda: replace(connection, number, scope, parts.clock.now().isoformat())))


def _delete(parts: Parts, number: str) -> None:
    with parts.pins.writing() as connection:
        if not connection.execute("DELETE FROM scopes WHERE id = ?", [number]).rowcount:
            _found(None)


def _or_409(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except Conflict as error:
        raise refusal([BadLine(1, 409, [(error.field, "already exists")])], "fields") from None


def _found(scope: dict[str, Any] | None) -> dict[str, Any]:
    if scope is None:
        raise Refused(404, "there is no customization with this id")
    return scope


def pin_control(parts: Parts) -> APIRouter:
    """``/_sandbox/pins``, which the vendor does not have."""
    routes = APIRouter(prefix="/_sandbox/pins")

    @routes.get("")
    async def stored() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(_listed, parts, Filters()))

    @routes.delete("")
    async def clear() -> dict[str, int]:
        return {"deleted": await asyncio.to_thread(parts.pins.clear)}

    return routes
