"""How Klaviyo says no: JSON:API error objects."""

import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

CONTENT_TYPE = "application/vnd.api+json"
_TITLES = {
    400: ("invalid", "Invalid input."),
    401: ("not_authenticated", "Authentication credentials were not provided."),
    404: ("not_found", "Not found."),
    405: ("method_not_allowed", "Method not allowed."),
    413: ("payload_too_large", "Payload too large."),
    429: ("throttled", "Request was throttled."),
}


class Refusal(Exception):
    """The request is refused; ``errors`` are JSON:API error objects without their ids."""

    def __init__(self, status: int, errors: list[dict[str, Any]], headers: dict[str, str] | None = None) -> None:
        super().__init__(errors[0]["detail"])
        self.status, self.errors, self.headers = status, errors, headers


def error(status: int, detail: str, *, pointer: str | None = None, parameter: str | None = None) -> dict[str, Any]:
    """One error object; it points into the body, or names a parameter of the query."""
    code, title = _TITLES.get(status, ("error", "Error."))
    source = {"pointer": pointer or "/data"} if parameter is None else {"parameter": parameter}
    return {"status": status, "code": code, "title": title, "detail": detail, "source": source}


def refusal(
    status: int, detail: str, *, parameter: str | None = None, headers: dict[str, str] | None = None
) -> Refusal:
    """A refusal with one error."""
    return Refusal(status, [error(status, detail, parameter=parameter)], headers)


def answer(status: int, errors: list[dict[str, Any]], headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer of a refusal."""
    named = [{"id": str(uuid.uuid4()), **each, "links": {}, "meta": {}} for each in errors]
    return JSONResponse({"errors": named}, status, headers=headers, media_type=CONTENT_TYPE)


async def answer_refusal(_request: Request, exception: Exception) -> JSONResponse:
    """The answer of a :class:`Refusal`."""
    assert isinstance(exception, Refusal)
    return answer(exception.status, exception.errors, exception.headers)


async def answer_http_error(_request: Request, exception: Exception) -> JSONResponse:
    """404 and 405 of the router, in the same shape."""
    assert isinstance(exception, HTTPException)
    return answer(exception.status_code, [error(exception.status_code, str(exception.detail))])
