"""How the sandbox says no: one exception, one JSON shape."""

from collections.abc import Mapping
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

Model = TypeVar("Model", bound=BaseModel)


class Refused(Exception):
    """The request is refused; becomes an answer with a JSON reason, never with a customer's data."""

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        line: int | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, list[str]] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.line, self.headers, self.details = status, reason, line, headers, details


class ClientGone(Exception):
    """The client closed the connection before its request was whole; nobody waits for an answer."""


async def answer_refusal(_request: Request, error: Exception) -> JSONResponse:
    """``{"reason", "line"?, "exception_details"}`` with the status of the refusal."""
    assert isinstance(error, Refused)
    content: dict[str, object] = {"reason": error.reason}
    if error.details is not None:
        content["exception_details"] = error.details
    if error.line is not None:
        content |= {"line": error.line, "exception_details": {"file": [error.reason]}}
    return JSONResponse(content, error.status, headers=error.headers)


async def answer_stopping(_request: Request, _error: Exception) -> JSONResponse:
    """503: the server stops while the request is worked on."""
    return JSONResponse({"reason": "the sandbox is shutting down"}, 503)


async def answer_nobody(_request: Request, _error: Exception) -> JSONResponse:
    """An answer for the journal alone: the client is gone."""
    return JSONResponse({"reason": "the client closed the connection"}, 400)


async def answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """422 for the body of a control request that is not of the form it must have."""
    assert isinstance(error, RequestValidationError)
    details = {".".join(str(part) for part in each["loc"][1:]) or "body": [each["msg"]] for each in error.errors()}
    reason = "; ".join(f"{name}: {messages[0]}" for name, messages in details.items())
    return JSONResponse({"reason": reason, "exception_details": details}, 422)


async def answer_http_error(_request: Request, error: Exception) -> JSONResponse:
    """404 and 405 of the router, in the same shape."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"reason": error.detail}, error.status_code, headers=error.headers)


async def asked(request: Request, model: type[Model]) -> Model:
    """The body as JSON, whatever its content type says: plain ``curl -d`` calls it a form."""
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
