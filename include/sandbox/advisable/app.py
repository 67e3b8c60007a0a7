"""Advisable.ai's routes, as an application to be mounted at ``/advisable/v1``.

Documented are paths and fields; answers, error bodies and the transfer's verb are inferred.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from include.sandbox.advisable.answers import answer_http_error, answer_invalid, answer_refusal
from include.sandbox.advisable.database import InteractionsDatabase, add, delete, rename, transfer
from include.sandbox.advisable.interactions import LATEST, TYPES, Row, Text, read_interaction
from include.sandbox.answers import ClientGone, Refused, answer_nobody
from include.sandbox.bodies import body_of
from include.sandbox.settings import Settings

PREFIX = "/advisable/v1"
HEADERS = ("app-id", "app-secret")
MAX_BATCH = 10_000
MAX_BODY = 20_000_000


class Narrowed(BaseModel):
    """Which interactions of a type are deleted; without any of these, all of them."""

    model_config = ConfigDict(extra="forbid")

    item_id: Text | None = None
    user_id: Text | None = None
    timestamp: Annotated[int, Field(ge=0, lt=LATEST)] | None = None


class NewId(BaseModel):
    """The id that a user gets."""

    model_config = ConfigDict(extra="forbid", strict=True)

    external_id: str = Field(min_length=1)


class _Quoted:
    """Routes by the path as it was sent, so that an id may hold a quoted slash; who needs an id unquotes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)


def advisable_app(settings: Settings, database: InteractionsDatabase) -> ASGIApp:
    """The application over one state folder."""
    app = FastAPI(title="Sandbox of Advisable.ai", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(Refused, answer_refusal)
    app.add_exception_handler(ClientGone, answer_nobody)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    routes = APIRouter(dependencies=[Depends(_credentials_check(settings))])
    _storing(routes, database)
    _looking(routes, database)
    _users(routes, database)
    app.include_router(routes)
    return _Quoted(app)


def _credentials_check(settings: Settings) -> Callable[[Request], Awaitable[None]]:
    expected = f"{settings.advisable_app_id}\n{settings.advisable_app_secret}".encode()

    async def check(request: Request) -> None:
        given = "\n".join(request.headers.get(name, "") for name in HEADERS).encode("latin-1")
        if not hmac.compare_digest(given, expected):
            raise Refused(401, f"the headers {' and '.join(HEADERS)} are missing, or not those of this application")

    return check


def _storing(routes: APIRouter, database: InteractionsDatabase) -> None:
    def store(rows: list[Row]) -> dict[str, int]:
        with database.writing() as connection:
            add(connection, rows)
        return {"created": len(rows)}

    @routes.post("/purchases/batch", status_code=201)
    async def batch(request: Request) -> dict[str, int]:
        content = await _json(request)
        if not isinstance(content, list) or not content:
            raise Refused(422, "the body must be an array with at least one purchase; nothing was stored")
        if len(content) > MAX_BATCH:
            raise Refused(413, f"{len(content):,} purchases; allowed are {MAX_BATCH:,}; nothing was stored")
        rows = [read_interaction("purchase", each, f"[{number}].") for number, each in enumerate(content)]
        return await asyncio.to_thread(store, rows)

    @routes.post("/{path}", status_code=201)
    async def one(path: str, request: Request) -> dict[str, int]:
        kind = _kind(path)
        return await asyncio.to_thread(store, [read_interaction(kind, await _json(request))])

    @routes.delete("/{path}")
    async def remove(path: str, narrowed: Annotated[Narrowed, Query()]) -> dict[str, int]:
        chosen = {"kind": _kind(path), **narrowed.model_dump(exclude_none=True)}

        def deleted() -> int:
            with database.writing() as connection:
                return delete(connection, chosen)

        return {"deleted": await asyncio.to_thread(deleted)}


def _looking(routes: APIRouter, database: InteractionsDatabase) -> None:
    @routes.get("/{side}/{number}/{path}")
    async def of_one(side: Literal["users", "items"], number: str, path: str) -> JSONResponse:
        chosen = {"kind": _kind(path), {"users": "user_id", "items": "item_id"}[side]: _id(number)}
        rows = await asyncio.to_thread(database.rows, chosen)
        return JSONResponse([{name: value for name, value in row.items() if name != "kind"} for row in rows])


def _users(routes: APIRouter, database: InteractionsDatabase) -> None:
    @routes.post("/users/{from_user}/interactions/transfer/{to_user}")
    async def move(from_user: str, to_user: str, delete_user: Literal["true", "false"] = "true") -> dict[str, int]:
        def moved() -> int:
            with database.writing() as connection:
                return transfer(connection, _id(from_user), _id(to_user), delete_user == "true")

        return {"transferred": await asyncio.to_thread(moved)}

    @routes.put("/users/{number}")
    async def change(number: str, request: Request) -> dict[str, Any]:
        try:
            wanted = NewId.model_validate(await _json(request))
        except ValueError:
            raise Refused(422, "the body must be an object with external_id, a string, and nothing else") from None

        def renamed() -> None:
            with database.writing() as connection:
                rename(connection, _id(number), wanted.external_id)

        await asyncio.to_thread(renamed)
        return {}


async def _json(request: Request) -> Any:
    try:
        return from_json(await body_of(request, MAX_BODY), allow_inf_nan=False)
    except ValueError:
        raise Refused(400, "the body is not JSON in UTF-8; nothing was stored") from None


def _kind(path: str) -> str:
    if path not in TYPES:
        raise Refused(404, f"no such type of interactions; known are {', '.join(TYPES)}")
    return TYPES[path]


def _id(quoted: str) -> str:
    try:
        return unquote(quoted, errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, "an id in the path is not UTF-8") from None
