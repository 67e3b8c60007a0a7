"""The web application: the vendor's routes, and all parts of a sandbox put together.

The control routes, which the vendor does not have, are in ``control``; the pictures and pages in ``pages``.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from include.sandbox import link
from include.sandbox.advisable.app import PREFIX as ADVISABLE
from include.sandbox.advisable.app import advisable_app
from include.sandbox.advisable.control import advisable_control
from include.sandbox.answers import (
    ClientGone,
    Refused,
    answer_http_error,
    answer_invalid,
    answer_nobody,
    answer_refusal,
    answer_stopping,
)
from include.sandbox.control import control_routes
from include.sandbox.database import Stopping
from include.sandbox.front import Front
from include.sandbox.klaviyo.app import PREFIX as KLAVIYO
from include.sandbox.klaviyo.app import klaviyo_app
from include.sandbox.klaviyo.control import klaviyo_control
from include.sandbox.klaviyo.database import AccountDatabase
from include.sandbox.klaviyo.limits import Limits
from include.sandbox.pages import page_routes
from include.sandbox.parts import Parts
from include.sandbox.pins.routes import pin_control, pin_routes
from include.sandbox.smartemailing.app import PREFIX as SMARTEMAILING
from include.sandbox.smartemailing.app import smartemailing_app
from include.sandbox.smartemailing.control import smartemailing_control


def create_app(parts: Parts) -> Front:
    """The application over the parts of one sandbox."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        parts.jobs.start()
        try:
            yield
        finally:
            await parts.jobs.stop()

    app = FastAPI(title="Sandbox of Luigi's Box", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(Refused, answer_refusal)
    app.add_exception_handler(ClientGone, answer_nobody)
    app.add_exception_handler(Stopping, answer_stopping)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    for routes in (vendor_routes, pin_routes, control_routes, pin_control, page_routes):
        app.include_router(routes(parts))
    _mount_platforms(app, parts)
    app.include_router(advisable_control(parts.interactions))
    app.mount(ADVISABLE, advisable_app(parts.settings, parts.interactions))
    return Front(app, parts.faults, parts.journal, parts.clock)


def _mount_platforms(app: FastAPI, parts: Parts) -> None:
    """The newsletter platforms: their paths, and their control routes."""
    account = AccountDatabase(parts.settings.state)
    limits = Limits(parts.settings.klaviyo_burst, parts.settings.klaviyo_steady)
    app.include_router(smartemailing_control(parts.settings))
    app.include_router(klaviyo_control(account, limits))
    app.mount(SMARTEMAILING, smartemailing_app(parts.settings, parts.faults))  # its path begins with Klaviyo's
    app.mount(KLAVIYO, klaviyo_app(parts.settings, account, limits))


def vendor_routes(parts: Parts) -> APIRouter:
    """What the vendor documents: two uploads, the result link. Pin customizations are in ``pins``."""
    routes = APIRouter()

    @routes.post("/v1/recommender/batching/{tracker}/users")
    async def upload_users(tracker: str, request: Request) -> JSONResponse:
        parts.check_signature(request, tracker)
        await parts.uploads.users(request)
        parts.jobs.users_replaced(parts.clock.now())
        return JSONResponse({})

    @routes.post("/v1/interactions/{tracker}/files")
    async def upload_transactions(tracker: str, request: Request) -> JSONResponse:
        parts.check_signature(request, tracker)
        parts.jobs.process(await parts.uploads.transactions(request))
        return JSONResponse({})

    @routes.api_route("/batches/{tracker}.{form}", methods=["GET", "HEAD"])
    async def result_link(tracker: str, form: str, request: Request) -> Response:
        link.check_credentials(request, parts.settings.link_credentials)
        return link.respond(request, await _served(parts, tracker, form, request))

    return routes


async def _served(parts: Parts, tracker: str, form: str, request: Request) -> link.Representation:
    record = parts.publisher.served()
    if tracker != parts.settings.tracker or form not in link.CONTENT_TYPES or record is None:
        raise Refused(404, "there is no batch at this link (yet)")
    whole = await link.represent(
        parts.publisher.file(record, form),
        form,
        record["files"][form]["sha256"],
        datetime.fromisoformat(record["published_at"]),
        compressed=link.accepts_gzip(request.headers.get("accept-encoding", "")),
    )
    return _perhaps_cut(parts, whole, request)


def _perhaps_cut(parts: Parts, whole: link.Representation, request: Request) -> link.Representation:
    """The fault ``truncated_batch``: half of the file is all there is. Only a GET of it all counts as once."""
    cut = replace(whole, size=whole.size // 2, etag=whole.etag.rstrip('"') + '-cut"')
    path = request.url.path
    if parts.faults.find("truncated_batch", path=path) is None:
        return whole
    if request.method == "GET" and "range" not in request.headers and not link.is_known(request, cut):
        parts.faults.take("truncated_batch", path=path)
    return cut
