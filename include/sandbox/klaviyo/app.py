"""Klaviyo's routes, as an application to be mounted at ``/api``."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from include.sandbox.klaviyo import campaigns, imports
from include.sandbox.klaviyo.database import AccountDatabase
from include.sandbox.klaviyo.errors import CONTENT_TYPE, Refusal, answer_http_error, answer_refusal, refusal
from include.sandbox.klaviyo.limits import Limit, Limits
from include.sandbox.klaviyo.listings import Listings
from include.sandbox.settings import Settings

PREFIX = "/api"
OLDEST_REVISION = "2024-10-15"
SCHEME = "Klaviyo-API-Key "


class JsonApi(JSONResponse):
    """An answer with Klaviyo's content type."""

    media_type = CONTENT_TYPE


def klaviyo_app(settings: Settings, database: AccountDatabase, limits: Limits) -> FastAPI:
    """The application over one account."""
    app = FastAPI(
        title="Sandbox of Klaviyo",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        default_response_class=JsonApi,
        dependencies=[Depends(_credentials_check(settings.klaviyo_key))],
    )
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(HTTPException, answer_http_error)
    listings = Listings(database, settings.klaviyo_repeats)
    _profiles(app, listings, limits)
    _sources(app, listings, limits)
    _jobs(app, database, limits, settings.klaviyo_job_seconds)
    _campaigns(app, database, limits)
    return app


def _credentials_check(key: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not given.startswith(SCHEME):
            raise refusal(401, "Missing or invalid authorization scheme: use 'Klaviyo-API-Key'.")
        if given.removeprefix(SCHEME) != key:
            raise refusal(401, "Incorrect authentication credentials.")
        revision = request.headers.get("revision", "")
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", revision):
            raise refusal(400, "A revision header of the form YYYY-MM-DD is required.", parameter="revision")
        if revision < OLDEST_REVISION:
            raise refusal(410, f"The revision {revision} is retired.", parameter="revision")

    return check


def _paced(limit: Limit) -> Any:
    def take(response: Response) -> None:
        response.headers.update(limit.take())

    return Depends(take)


def _profiles(app: FastAPI, listings: Listings, limits: Limits) -> None:
    async def page(request: Request, source: str | None) -> dict[str, Any]:
        return await asyncio.to_thread(listings.profiles, _url(request), dict(request.query_params), source)

    @app.get("/profiles", dependencies=[_paced(limits.profiles)])
    async def profiles(request: Request) -> dict[str, Any]:
        return await page(request, None)

    @app.get("/lists/{name}/profiles", dependencies=[_paced(limits.profiles)])
    async def profiles_of_list(request: Request, name: str) -> dict[str, Any]:
        return await page(request, f"list:{name}")

    @app.get("/segments/{name}/profiles", dependencies=[_paced(limits.profiles)])
    async def profiles_of_segment(request: Request, name: str) -> dict[str, Any]:
        return await page(request, f"segment:{name}")


def _sources(app: FastAPI, listings: Listings, limits: Limits) -> None:
    def counted(request: Request, response: Response) -> None:
        """Counting the profiles of a source has a limit of its own."""
        counts = any(name.startswith("additional-fields") for name in request.query_params)
        response.headers.update((limits.counts if counts else limits.profiles).take())

    def routes_of(kind: str) -> None:
        @app.get(f"/{kind}s", dependencies=[_paced(limits.others)])
        async def sources(request: Request) -> dict[str, Any]:
            return await asyncio.to_thread(listings.sources, _url(request), dict(request.query_params), kind)

        @app.get(f"/{kind}s/{{name}}", dependencies=[Depends(counted)])
        async def source(request: Request, name: str) -> dict[str, Any]:
            return await asyncio.to_thread(listings.source, dict(request.query_params), kind, name)

    routes_of("list")
    routes_of("segment")


def _jobs(app: FastAPI, database: AccountDatabase, limits: Limits, seconds: float) -> None:
    path = "/profile-bulk-import-jobs"

    @app.post(path, dependencies=[_paced(limits.others)])
    async def create(request: Request, response: Response) -> JSONResponse:
        document = await asyncio.to_thread(imports.create_job, database, await request.body(), seconds)
        return JsonApi(document, 202, headers=dict(response.headers))

    @app.get(f"{path}/{{job}}", dependencies=[_paced(limits.others)])
    async def job(job: str) -> dict[str, Any]:
        return await asyncio.to_thread(imports.job_document, database, job, seconds)

    @app.get(f"{path}/{{job}}/import-errors", dependencies=[_paced(limits.others)])
    async def errors(request: Request, job: str) -> dict[str, Any]:
        params = dict(request.query_params)
        return await asyncio.to_thread(imports.error_page, database, job, _url(request), params)


def _campaigns(app: FastAPI, database: AccountDatabase, limits: Limits) -> None:
    @app.get("/campaigns", dependencies=[_paced(limits.others)])
    async def pages(request: Request) -> dict[str, Any]:
        revision, params = request.headers["revision"], dict(request.query_params)
        return await asyncio.to_thread(campaigns.campaigns_page, database, _url(request), params, revision)

    @app.get("/campaign-messages", dependencies=[_paced(limits.others)])
    async def messages(request: Request) -> dict[str, Any]:
        _since(request, "campaign-messages")
        return await asyncio.to_thread(campaigns.messages_page, database, _url(request), dict(request.query_params))

    @app.get("/campaign-audiences/{name}", dependencies=[_paced(limits.others)])
    async def audience(request: Request, name: str) -> dict[str, Any]:
        _since(request, "campaign-audiences")
        return await asyncio.to_thread(campaigns.audience_document, database, name)


def _since(request: Request, what: str) -> None:
    if request.headers["revision"] < campaigns.MESSAGES_SINCE:
        raise refusal(404, f"{what} are there since revision {campaigns.MESSAGES_SINCE}.")


def _url(request: Request) -> str:
    """Links name the vendor's own host, as its answers do; a client takes the cursor from them."""
    return f"https://a.klaviyo.com{request.url.path}"
