"""The client of pin customizations: single scopes, listing, export, and many scopes in one call. It knows no Airflow.

What may be sent again after a lost connection or a 5xx? Looking, replacing and deleting do no harm twice, and neither
does a bulk call under ``ignore`` or ``override``. A single creation and a bulk call under ``raise`` may have been
applied: sent again, they would be refused for what they did themselves. These end as ``FateUnknown``, and whoever sent
them looks at what is there. Without a connection nothing left, and a 429 was not taken; both are always tried again.

The shape of a list and of an export is not documented: an array of scopes, an object with one, and a scope a line are
all understood; an export without a byte is none. A list is read page by page until a page is empty, since a server may
give less than was asked for.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from luigisbox.auth import LuigisBoxAuth
from luigisbox.client import Settings, refusal, skew_seconds
from vendor_http.errors import FateUnknown, Invalid, NotFound, ServerError, Unreachable, Unreadable, VendorError
from vendor_http.retry import Retry
from vendor_http.session import VendorSession

Strategy = Literal["raise", "ignore", "override"]
Scope = Mapping[str, Any]
Filter = Sequence[str]
JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
MAX_SCOPES = 5_000
PAGE = 100
_UNKNOWN = "It was sent by then; whether it was applied is unknown."
_LISTS = ("scopes", "customizations", "data", "results", "items")
_TOTALS = ("total", "total_count")


class PinClient:
    """Speaks to one tracker. ``clock`` gives epoch seconds and is what requests are signed with."""

    def __init__(self, settings: Settings, retry: Retry | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.retry = retry or Retry()
        self._clock = clock
        self._auth = LuigisBoxAuth(settings.public_key or settings.tracker, settings.private_key, clock)

    def create(self, scope: Scope) -> dict[str, Any]:
        """Create one scope; gives it with the id that it got.

        Raises:
            FateUnknown: it may have been created; it was not sent again.
            Conflict: there is one for this target already.
            Invalid, VendorError: it was not created.
        """
        answer = self._call("POST", "/scope", body=_json(scope), again=False)
        return _one(answer)

    def replace(self, number: str, scope: Scope) -> dict[str, Any]:
        """Make the scope with this id the given one, whole.

        Raises:
            NotFound: there is no scope with this id, or no such tracker.
            Conflict, Invalid, VendorError: it was not replaced.
        """
        answer = self._call("PUT", _of_scope(number), body=_json(scope))
        return _one(answer)

    def delete(self, number: str) -> None:
        """Delete the scope with this id.

        Raises:
            NotFound: there is no scope with this id, or no such tracker.
            VendorError: it was not deleted.
        """
        self._call("DELETE", _of_scope(number))

    def list(
        self,
        *,
        model: Filter = (),
        tag: Filter = (),
        target_type: Filter = (),
        target_identity: Filter = (),
        sort: Filter = (),
        page: int = PAGE,
    ) -> Iterator[dict[str, Any]]:
        """All scopes that fit, page by page; ``sort`` like ``created_at:desc``.

        Raises:
            VendorError: a page could not be had.
        """
        filters = {"model": model, "tag": tag, "target_type": target_type, "target_identity": target_identity}
        query = {**filters, "sort": sort, "limit": [str(page)]}
        offset, before = 0, ""
        while rows := _scopes(self._call("POST", "/scopes", {**query, "offset": [str(offset)]}, b"{}"), whole=False):
            if rows[-1]["id"] == before:
                raise Unreadable("POST /scopes: the same page came twice, so the offset was not heeded; use the export")
            yield from rows
            offset, before = offset + len(rows), rows[-1]["id"]

    def export(self, *, model: Filter = (), tag: Filter = ()) -> "Sequence[dict[str, Any]]":
        """All scopes of the tracker that fit, in one answer.

        Raises:
            VendorError: it could not be had, or is not whole.
        """
        return _scopes(self._call("POST", "/scopes/export", {"model": model, "tag": tag}, b"{}"), whole=True)

    def bulk(self, lines: bytes, conflict_strategy: Strategy) -> None:
        """Create many scopes, one a line.

        Raises:
            FateUnknown: under ``raise``: some or all may have been created; it was not sent again.
            Conflict: under ``raise``: there is a scope for a target already.
            Invalid: a scope is refused.
            TooLarge: more than 5,000.
            VendorError: anything else. Whether a refused call applied a part of itself is not documented. If an earlier
                attempt of this call ended without an answer, it is this error's ``__cause__``.
        """
        query = {"conflict_strategy": [conflict_strategy]}
        self._call("POST", "/scopes/_bulk", query, lines, content_type=NDJSON, again=conflict_strategy != "raise")

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Filter] | None = None,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        again: bool = True,
    ) -> bytes:
        """One request, tried again as the head of this module says."""
        lost: VendorError | None = None

        def attempt(number: int) -> bytes:
            nonlocal lost
            content = _Body(body)
            try:
                return self._send(method, path, query or {}, content, content_type)
            except (Unreachable, ServerError) as error:
                if isinstance(error, Unreachable) and body and not content.connected:
                    raise
                lost = error
                if again:
                    raise
                raise FateUnknown(f"{error} {_UNKNOWN}", status=error.status) from error
            except VendorError as error:
                if method == "DELETE" and isinstance(error, NotFound) and number > 1:  # an attempt before did it
                    return b""
                raise error from lost

        return self.retry.run(f"{method} {_shown(path)}", attempt)

    def _send(self, method: str, path: str, query: Mapping[str, Filter], body: "_Body", content_type: str) -> bytes:
        base = f"/v1/recommender/pin/{self.settings.tracker}"
        with (
            VendorSession(self.settings.timeouts, self.settings.verify) as session,
            session.request(
                method,
                self.settings.base_url + base + path,
                params={name: list(values) for name, values in query.items() if values},
                data=body,
                headers={"Content-Type": content_type},
                auth=self._auth,
            ) as response,
        ):
            if 200 <= response.status_code < 300:
                return response.content
            skew = skew_seconds(response, self._clock())
            error = refusal(self.settings, response, method, base + _shown(path), response.content, skew)
        raise self._explained(error, path)

    def _explained(self, error: VendorError, path: str) -> VendorError:
        """The same error with what it means here."""
        where = f"the login of connection {self.settings.connection or 'in use'}"
        unknown = f"Luigi's Box does not know tracker {self.settings.tracker} (check {where})"
        of_one = path.startswith("/scope/")
        meaning = {
            404: f"There is no scope with this id, or {unknown}." if of_one else f"{unknown}.",
            409: "A scope for the same target is there already"
            + ("." if of_one or path == "/scope" else ", and conflict_strategy is raise; ignore or override allow it."),
            413: f"A call takes at most {MAX_SCOPES:,} scopes: lower pins.scopes_per_call.",
            422: "What to list is not as Luigi's Box wants it."
            if path.startswith("/scopes") and not path.endswith("_bulk")
            else "A scope is not as Luigi's Box wants it.",
        }.get(error.status or 0)
        if meaning is None:
            return error
        return type(error)(
            f"{error} {meaning}", status=error.status, retry_after=error.retry_after, details=error.details
        )


class _Body(bytes):
    """The bytes of a request; ``connected`` once there was a connection to send them over."""

    connected = False

    def attach(self, _: Any) -> None:
        """Called before the first byte leaves."""
        self.connected = True


def _of_scope(number: str) -> str:
    """The path of a scope; an id that would lead to another path is none."""
    if not number.strip(". \t\r\n"):
        raise Invalid(f"{number!r} is no id of a scope. Nothing was sent.")
    return f"/scope/{quote(number, safe='')}"


def _shown(path: str) -> str:
    return "/scope/…" if path.startswith("/scope/") else path


def _json(scope: Scope) -> bytes:
    return json.dumps(scope, ensure_ascii=False, separators=(",", ":")).encode()


def _one(answer: bytes) -> dict[str, Any]:
    """The scope in an answer; its shape is not documented, so an empty or another one says nothing."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _scopes(answer: bytes, *, whole: bool) -> Sequence[dict[str, Any]]:
    """The scopes of a list or an export, each with its id.

    Raises:
        Unreadable: these are not scopes, or fewer than the answer itself says there are.
    """
    if whole and not answer.strip():
        raise Unreadable("POST /scopes/export: a success without content; an export without scopes would be []")
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = _lines(answer)
    rows = said
    if isinstance(said, dict):
        rows = [said] if "pin_definitions" in said else next((said[key] for key in _LISTS if key in said), None)
        total = next((said[key] for key in _TOTALS if isinstance(said.get(key), int)), 0)
        if whole and isinstance(rows, list) and total > len(rows):
            raise Unreadable(f"POST /scopes/export: {len(rows):,} scopes came of {total:,}; the export is not whole")
    if not isinstance(rows, list) or not all(_is_scope(row) for row in rows):
        raise Unreadable("the answer is no list of scopes with their ids")
    return rows


def _is_scope(row: Any) -> bool:
    """What is looked at has to be what it should; the rest is the vendor's."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), str | int) or not str(row["id"]).strip():
        return False
    pins, tags = (row.get(name) or [] for name in ("pin_definitions", "tags"))
    return isinstance(tags, list) and isinstance(pins, list) and all(isinstance(pin, dict) for pin in pins)


def _lines(answer: bytes) -> Any:
    try:
        return [json.loads(line) for line in answer.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None
