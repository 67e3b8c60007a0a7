"""What SmartEmailing's answers mean: the envelope, errors that come as HTTP 200, newsletters and their times."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from vendor_http.errors import (
    Invalid,
    ServerError,
    Unauthorized,
    Unreadable,
    VendorError,
    clean,
    error_for_status,
    retry_after,
)

API = "/api/v3"
LIMIT = 500
"""Most rows of a page."""
_UNAUTHORIZED = re.compile(r"authenticat|authoris|authoriz|credential|permission|api key|forbidden", re.IGNORECASE)
_INVALID = re.compile(
    r"invalid|not valid|missing|required|must |unknown|not found|not exist|not allowed", re.IGNORECASE
)


@dataclass(frozen=True)
class Newsletter:
    """A newsletter; ``start`` and ``finish`` are in UTC, None where SmartEmailing says nothing."""

    id: str
    name: str
    start: datetime | None
    finish: datetime | None


def content_of(method: str, path: str, status: int, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The content of an answer that is a success by its status and by what it says.

    An error may come with HTTP 200. Its kind is then read from its message: words of authentication mean
    ``Unauthorized``, words of wrong content ``Invalid``; anything else may pass, so it is a ``ServerError`` and tried
    again. A body that is no JSON object (a maintenance page) is a ``ServerError`` too.

    Raises:
        VendorError: it is no success.
    """
    content = _decoded(body)
    message = content.get("message") if content else None
    if not 200 <= status < 300:
        said = json.dumps({"error": message}).encode() if isinstance(message, str) else body
        raise error_for_status(status, method, path, said, headers)
    if content is None:
        raise ServerError(f"{method} {path} answered {status} with something that is not a JSON object.", status=status)
    if content.get("status") == "error":
        raise _hidden(method, path, status, str(message or "no message"), headers)
    return content


def _decoded(body: bytes) -> dict[str, Any] | None:
    import msgspec

    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _hidden(method: str, path: str, status: int, message: str, headers: Mapping[str, str]) -> VendorError:
    sentence = f"{method} {path} answered {status}, but says that it failed: {clean(message)}."
    if _UNAUTHORIZED.search(message):
        return Unauthorized(f"{sentence} Check user name and API key.", status=status)
    if _INVALID.search(message):
        return Invalid(f"{sentence} The content is refused: correct it.", status=status)
    return ServerError(f"{sentence} It is tried again later.", status=status, retry_after=retry_after(headers))


def rows_of(path: str, content: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The rows of a listing, and how many there are on all pages.

    Raises:
        Unreadable: it is no listing.
    """
    meta, data = content.get("meta"), content.get("data")
    total = meta.get("total_count") if isinstance(meta, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data) or not isinstance(total, int):
        raise Unreadable(f"GET {path}: the answer is not a page with data and meta.total_count. Is the host right?")
    return data, total


def newsletter_of(row: dict[str, Any], zone: ZoneInfo) -> Newsletter:
    """One row of ``newsletter-stats-summary``."""
    start, finish = (_moment(row.get(name), zone) for name in ("start", "finish"))
    return Newsletter(str(row.get("id", "")), str(row.get("name") or ""), start, finish)


def _moment(value: Any, zone: ZoneInfo) -> datetime | None:
    """A time of an answer; one without a zone means the connection's. None if it is empty, unreadable or no time.

    Year 1, as databases write an empty time, is before the first moment in UTC.
    """
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
