"""Errors of the vendors' HTTP answers, and the one function that knows what a status means.

    VendorError                  what the vendor, or the way to it, did
    ├── PermanentError           the same request again gets the same answer: change something first
    │   ├── Unauthorized         401, 403
    │   ├── NotFound             404, 410
    │   ├── Conflict             409
    │   ├── TooLarge             413, or refused here before the first byte
    │   ├── Invalid              400, 422
    │   ├── Redirected           3xx that is not followed
    │   └── ClientError          any other 4xx
    ├── TransientError           waiting mends it; nothing was stored, or sending it again does no harm
    │   ├── RateLimited          429
    │   ├── ServerError          5xx
    │   ├── Unreadable           a success whose content is not what it should be
    │   └── Unreachable          no connection, or a lost one
    ├── TooSlow                  the upload would not be, or was not, through within the vendor's time limit
    └── FateUnknown              the vendor may have stored it, or not: never sent again by itself

Sentences carry no secret and no whole e-mail address; what the vendor said is cut to a line.
"""

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

DETAIL_CHARACTERS = 300
_FIELD = re.compile(r"[a-z_.\[\]/-]*")


class VendorError(Exception):
    """What the vendor, or the way to it, did."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        pointers: tuple[str, ...] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds the vendor asked to wait, if it did."""
        self.pointers = pointers
        """The places in the request's body that an answer in JSON:API names; the sentence has room for few."""
        self.details = dict(details or {})
        """What an answer says of each field (``exception_details``), whole."""


class PermanentError(VendorError):
    """The same request again gets the same answer: change something first."""


class Unauthorized(PermanentError):
    """401 or 403: the key, the tracker or the clock."""


class NotFound(PermanentError):
    """404 or 410: nothing there."""


class Conflict(PermanentError):
    """409: it is there already, or changed meanwhile."""


class TooLarge(PermanentError):
    """413, or refused here before the first byte."""


class Invalid(PermanentError):
    """400 or 422: the vendor read it and refuses the content."""


class Redirected(PermanentError):
    """A redirect that is not followed."""


class ClientError(PermanentError):
    """Any other 4xx."""


class TransientError(VendorError):
    """Waiting mends it; nothing was stored, or sending it again does no harm."""


class RateLimited(TransientError):
    """429: too many requests."""


class ServerError(TransientError):
    """5xx: the vendor's own trouble."""


class Unreadable(TransientError):
    """A success whose content is not what it should be: half an answer, or a maintenance page."""


class Unreachable(TransientError):
    """No connection, or a lost one."""


class TooSlow(VendorError):
    """The upload would not be, or was not, through within the vendor's time limit."""


class FateUnknown(VendorError):
    """The vendor may have stored it, or not: never sent again by itself."""


_KINDS: dict[int, tuple[type[VendorError], str]] = {
    400: (Invalid, "The content is refused: correct it."),
    401: (Unauthorized, "Check account, key and this machine's clock."),
    403: (Unauthorized, "The credentials do not open this."),
    404: (NotFound, "Check host, path and account."),
    408: (TooSlow, "It took longer than allowed; nothing was stored."),
    409: (Conflict, "It is there already, or changed meanwhile."),
    410: (NotFound, "It is gone."),
    413: (TooLarge, "Send less at once."),
    422: (Invalid, "The content is refused: correct it."),
    429: (RateLimited, "It is tried again later."),
}


def error_for_status(status: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> VendorError:
    """The error for an answer that is not a success.

    Args:
        status: the HTTP status, not 2xx.
        method: of the request.
        path: of the request, for the sentence; a query is cut off.
        body: the answer, or its first bytes, for the vendor's reason.
        headers: of the answer; looked up in any case.
    """
    kind, advice = _kind(status)
    said = detail(body)
    sentence = f"{method} {path.partition('?')[0]} answered {status}" + (f": {said}" if said else "") + f". {advice}"
    return kind(
        sentence, status=status, retry_after=retry_after(headers), pointers=_pointers(body), details=_details(body)
    )


def _kind(status: int) -> tuple[type[VendorError], str]:
    if status in _KINDS:
        return _KINDS[status]
    if 300 <= status < 400:
        return Redirected, "The redirect is not followed: set the right host on the connection."
    if 400 <= status < 500:
        return ClientError, "The request is refused."
    return ServerError, "The vendor has trouble."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for: a number or an HTTP date; None if it is missing or unreadable."""
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def detail(body: bytes) -> str:
    """The vendor's reason in one line, whichever of the known shapes it comes in."""
    text = body.decode("utf-8", "replace")
    try:
        said = _reasons(json.loads(text))
    except (ValueError, RecursionError):
        said = re.sub(r"<[^>]*>", " ", text)
    return clean(said)


def clean(text: str) -> str:
    """Text of a stranger as one short line: no control characters, e-mail addresses masked."""
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    line = re.sub(r"\b([\w.+-]{1,2})[\w.+-]*@[\w.-]+", r"\1…@…", line)
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"


def _reasons(answer: Any) -> str:
    """``reason`` and ``exception_details``, ``error``, or ``errors`` (a list: JSON:API); anything else as it is."""
    if not isinstance(answer, dict):
        return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    if isinstance(answer.get("reason"), str):
        return str(answer["reason"]) + _fields(answer.get("exception_details"))
    if isinstance(answer.get("errors"), list):
        return "; ".join(_json_api(each) for each in answer["errors"])
    error = answer.get("error")
    if isinstance(error, dict) and "message" in error:
        return ": ".join(str(error[key]) for key in ("type", "code", "message") if error.get(key))
    if isinstance(error, str):
        return error
    return json.dumps(answer.get("errors", answer), ensure_ascii=False) if answer else ""


def _json_api(error: Any) -> str:
    """Title, code, detail and place of one error of JSON:API; values that the detail quotes are left out."""
    if not isinstance(error, dict):
        return json.dumps(error, ensure_ascii=False)
    title, code, said = (str(error.get(key) or "") for key in ("title", "code", "detail"))
    source = error.get("source")
    place = next((str(at) for at in source.values() if at), "") if isinstance(source, dict) else ""
    sentence = ": ".join(part for part in (title.rstrip("."), _without_values(said)) if part)
    return " ".join(part for part in (sentence, code and f"[{code}]", place and f"at {place}") if part)


def _details(body: bytes) -> Mapping[str, Any]:
    found = _object(body).get("exception_details")
    return found if isinstance(found, dict) else {}


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _pointers(body: bytes) -> tuple[str, ...]:
    errors = _object(body).get("errors")
    sources = [error.get("source") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    found = (source.get("pointer") for source in sources if isinstance(source, dict))
    return tuple(pointer for pointer in found if isinstance(pointer, str))


def _without_values(text: str) -> str:
    """A detail without what may be a customer's: quoted values but names of fields, long numbers but dates."""
    quoted = r"""(?<!\w)(['"`])(.*?)\1(?!\w)"""
    text = re.sub(quoted, lambda found: found[0] if _FIELD.fullmatch(found[2]) else f"{found[1]}…{found[1]}", text)
    return re.sub(r"\+?(?<!\d)(?!\d{4}-\d\d-\d\d\b)\d[\d ()-]{6,}\d", "…", text)


def _fields(details: Any) -> str:
    if not isinstance(details, dict) or not details:
        return ""
    named = (f"{field}: {json.dumps(said, ensure_ascii=False)}" for field, said in details.items())
    return " (" + "; ".join(named) + ")"
