"""SmartEmailing's routes, as an application to be mounted at ``/api/v3``."""

import asyncio
import hmac
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from include.sandbox.faults import Faults
from include.sandbox.settings import Settings
from include.sandbox.smartemailing import questions
from include.sandbox.smartemailing.answers import Refusal, answer_http_error, answer_invalid, answer_refusal
from include.sandbox.smartemailing.database import ContactsDatabase
from include.sandbox.smartemailing.imports import import_contacts
from include.sandbox.smartemailing.listings import Listings
from include.sandbox.smartemailing.moving import move_list
from include.sandbox.smartemailing.times import now_text

PREFIX = "/api/v3"


def smartemailing_app(settings: Settings, faults: Faults) -> FastAPI:
    """The application over one state folder."""
    database = ContactsDatabase(settings.state)
    app = FastAPI(title="Sandbox of SmartEmailing", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    credentials = (settings.smartemailing_user, settings.smartemailing_key)
    guarded = APIRouter(dependencies=[Depends(_credentials_check(credentials)), Depends(_error_in_ok(faults))])
    _account(guarded)
    listings = Listings(database)
    _contacts(guarded, listings, faults, database)
    _tables(guarded, listings)
    _changes(guarded, database)

    @app.get("/ping")
    async def ping() -> dict[str, Any]:
        return {"status": "ok", "meta": [], "message": "Hi there! API version 3 here!"}

    app.include_router(guarded)
    return app


def _credentials_check(credentials: tuple[str, str]) -> Callable[[Request], Awaitable[None]]:
    expected = ":".join(credentials).encode()

    async def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            pair = b64decode(given, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            pair = b""
        if not hmac.compare_digest(pair, expected):
            raise Refusal(401, "Authentication Failed", {"WWW-Authenticate": 'Basic realm="API"'})

    return check


def _error_in_ok(faults: Faults) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        """The fault ``error_in_200``: nothing is done, and only the body of the answer says so."""
        if faults.take("error_in_200", path=request.url.path):
            raise Refusal(200, "Something went wrong, please try again later")

    return check


def _account(routes: APIRouter) -> None:
    @routes.get("/check-credentials")
    async def check_credentials() -> dict[str, Any]:
        return {"status": "ok", "meta": [], "message": "Your credentials are valid!", "account_id": 1}


def _contacts(routes: APIRouter, listings: Listings, faults: Faults, database: ContactsDatabase) -> None:
    async def answer(request: Request, list_id: int | None, confirmed: bool = False) -> dict[str, Any]:
        question = questions.ask(questions.CONTACTS, request.query_params)
        if question.offset and faults.take("moving_list", path=request.url.path):
            await asyncio.to_thread(move_list, database, list_id)
        return await asyncio.to_thread(listings.contacts, question, list_id, confirmed)

    @routes.get("/contacts")
    async def contacts(request: Request) -> dict[str, Any]:
        return await answer(request, None)

    @routes.get("/contactlists/{list_id}/contacts")
    async def contacts_of_list(request: Request, list_id: int) -> dict[str, Any]:
        return await answer(request, list_id)

    @routes.get("/contactlists/{list_id}/contacts/confirmed")
    async def confirmed_contacts_of_list(request: Request, list_id: int) -> dict[str, Any]:
        return await answer(request, list_id, confirmed=True)


def _tables(routes: APIRouter, listings: Listings) -> None:
    async def answer(request: Request, listing: questions.Listing) -> dict[str, Any]:
        return await asyncio.to_thread(listings.answer, questions.ask(listing, request.query_params))

    @routes.get("/contactlists")
    async def contactlists(request: Request) -> dict[str, Any]:
        return await answer(request, questions.LISTS)

    @routes.get("/contact-customfields")
    async def contact_customfields(request: Request) -> dict[str, Any]:
        return await answer(request, questions.VALUES)

    @routes.get("/customfields")
    async def customfields(request: Request) -> dict[str, Any]:
        return await answer(request, questions.FIELDS)

    @routes.get("/newsletter-stats-summary")
    async def newsletters(request: Request) -> dict[str, Any]:
        return await answer(request, questions.NEWSLETTERS)


def _changes(routes: APIRouter, database: ContactsDatabase) -> None:
    @routes.post("/import")
    async def imports(request: Request) -> JSONResponse:
        taken = await asyncio.to_thread(_import, database, await request.body())
        return JSONResponse({"status": "created", "meta": [], "contacts_map": taken}, 201)


def _import(database: ContactsDatabase, body: bytes) -> list[dict[str, Any]]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    with database.writing() as connection:
        return import_contacts(connection, content, now_text())
