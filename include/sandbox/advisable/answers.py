"""How Advisable.ai says no: one JSON shape, which is inferred."""

from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from include.sandbox.answers import Refused


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"code": status, "message": message}}


async def answer_refusal(_request: Request, refusal: Exception) -> JSONResponse:
    """A refusal of these routes."""
    assert isinstance(refusal, Refused)
    content = error(refusal.status, refusal.reason)
    if refusal.details is not None:
        content["error"]["details"] = refusal.details
    return JSONResponse(content, refusal.status)


async def answer_http_error(_request: Request, problem: Exception) -> JSONResponse:
    """404 and 405 of the router."""
    assert isinstance(problem, HTTPException)
    return JSONResponse(error(problem.status_code, str(problem.detail)), problem.status_code, headers=problem.headers)


async def answer_invalid(_request: Request, problem: Exception) -> JSONResponse:
    """422: something in the path or the query is not of the form it must have."""
    assert isinstance(problem, RequestValidationError)
    messages = (f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in problem.errors())
    return JSONResponse(error(422, "; ".join(messages)), 422)
