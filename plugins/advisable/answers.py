"""Reading what Advisable answers: lists of interactions, reasons without customers' ids, lost connections."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import requests
from urllib3.exceptions import NewConnectionError

from vendor_http.errors import Unreachable, Unreadable

_USERS = ("user_id", "from_user_id", "to_user_id", "external_id")


def rows_of(name: str, content: bytes) -> list[dict[str, Any]]:
    """The interactions in an answer: a JSON array, or an object with one array in it.

    Args:
        name: of the request, for sentences.
        content: the answer.

    Raises:
        Unreadable: it is neither.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable(f"{name}: the answer is no JSON. Check the host of the connection.") from None
    if isinstance(answer, dict):
        lists = [value for value in answer.values() if isinstance(value, list)]
        answer = lists[0] if len(lists) == 1 else None
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise Unreadable(f"{name}: the answer is JSON, but no list of interactions.")
    return answer


def confirms(content_type: str, content: bytes) -> bool:
    """Whether a success may be the API's own: it says nothing, or JSON. A page is of a portal or a wrong host."""
    if not content.strip():
        return True
    if content_type.strip().lower().startswith("text/html"):
        return False
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def without_ids(text: str, ids: tuple[str, ...], sent: bytes | None) -> str:
    """A text in which the users' ids of a request are ``…``, however they are spelled.

    Args:
        text: what the vendor said, or an error's sentence.
        ids: those of the path and the query, and the credentials.
        sent: the request's body; the ids of its users are looked up.
    """
    lower = text.lower()
    for each in {*ids, *_users(sent)}:
        in_json = (json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1])
        for spelled in {each, *in_json, quote(each), quote(each, safe=""), quote_plus(each)}:
            if spelled and spelled.lower() in lower:
                text = re.sub(rf"(?<!\w){re.escape(spelled)}(?!\w)", "…", text, flags=re.IGNORECASE)
    return text


def _users(sent: bytes | None) -> Iterator[str]:
    try:
        content = json.loads(sent or b"[]")
    except ValueError:
        return
    for row in content if isinstance(content, list) else [content]:
        yield from (str(row[name]) for name in _USERS if isinstance(row, dict) and row.get(name))


def cause_of(error: Unreachable, method: str, url: str) -> str:
    """Why a connection failed, without the URL."""
    text, prefix = str(error), f"{method} {url}: "
    return text.removeprefix(prefix) if text.startswith(prefix) else f"{type(error.__cause__).__name__}."


def never_connected(error: Unreachable) -> bool:
    """Whether there was no connection at all, so that nothing left."""
    inner: Any = error.__cause__
    while inner is not None:
        if isinstance(inner, requests.ConnectTimeout | NewConnectionError):
            return True
        inner = getattr(inner, "reason", None) or next(
            (each for each in getattr(inner, "args", ()) if isinstance(each, BaseException)), None
        )
    return False
