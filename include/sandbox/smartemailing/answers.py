"""How SmartEmailing answers: one envelope for what went well, one for what did not."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse


class Refusal(Exception):
    """The request is refused, with the status and a message that names no customer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def page(data: list[dict[str, Any]], total: int, offset: int, limit: int) -> dict[str, Any]:
    """The envelope of a listing."""
    meta = {"total_count": total, "displayed_count": len(data), "offset": offset, "limit": limit}
    return {"status": "ok", "meta": meta, "data": data}


def error(message: str) -> dict[str, Any]:
    """The envelope of an error; it may come with any HTTP status, even 200."""
    return {"status": "error", "meta": [], "message": message}


async def answer_refusal(_request: Request, refusal: Exception) -> JSONResponse:
    """A refusal of these routes."""
    assert isinstance(refusal, Refusal)
    return JSONResponse(error(refusal.message), refusal.status, headers=refusal.headers)


async def answer_http_error(_request: Request, problem: Exception) -> JSONResponse:
    """404 and 405 of the router."""
    assert isinstance(problem, HTTPException)
    return JSONResponse(error(str(problem.detail)), problem.status_code, headers=problem.headers)


async def answer_invalid(_request: Request, problem: Exception) -> JSONResponse:
    """422: a number in the path that is none."""
    assert isinstance(problem, RequestValidationError)
    return JSONResponse(error("; ".join(each["msg"] for each in problem.errors())), 422)
