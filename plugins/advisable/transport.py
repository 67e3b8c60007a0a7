"""One request to Advisable: paced, sent, and its failures sorted into not stored and unknown.

Paths carry customers' ids, so sentences show them as ``…``, and so they do ids and credentials that the vendor quotes.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import requests

from advisable.answers import cause_of, confirms, never_connected, without_ids
from advisable.connections import Settings
from vendor_http.errors import (
    FateUnknown,
    RateLimited,
    Redirected,
    ServerError,
    TooSlow,
    Unauthorized,
    Unreachable,
    error_for_status,
)
from vendor_http.pacing import Pacer
from vendor_http.session import VendorSession

_UNKNOWN = "All of it was sent by then; whether it was stored is unknown."
_ANSWER_BYTES = 65_536


class Body:
    """The bytes of a request; ``left`` once the last of them was handed to the connection."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self.left = False

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(65_536):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        end = len(self._content) if size < 0 else self._at + size
        piece, self._at = self._content[self._at : end], min(end, len(self._content))
        self.left = self._at == len(self._content)
        return piece


@dataclass(frozen=True)
class Call:
    """One request: its path as it is sent and as it is shown, and the ids that no sentence may repeat."""

    method: str
    path: str
    shown: str
    params: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    ids: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How sentences and the log call it."""
        return f"{self.method} {self.shown}"


class Transport:
    """Sends requests from many threads, each with a session of its own, all at one pace."""

    def __init__(self, settings: Settings, requests_per_second: float | None, sleep: Callable[[float], None]) -> None:
        self.settings = settings
        rate = requests_per_second
        self._pacer = Pacer(rate, int(rate * 60) + 1, share=1.0, sleep=sleep) if rate else None
        self._turn = threading.Lock()
        self._of_thread = threading.local()
        self._sessions: list[VendorSession] = []

    def close(self) -> None:
        """Close the connections of all threads; the next request opens new ones."""
        with self._turn:
            sessions, self._sessions = self._sessions, []
            self._of_thread = threading.local()
        for session in sessions:
            session.close()

    def send(self, call: Call) -> bytes:
        """One attempt; gives the content of a 2xx.

        Raises:
            FateUnknown: it may have been stored.
            VendorError: it was not.
        """
        body = Body(call.content) if call.content is not None else None
        self._wait_for_turn()
        try:
            response = self._request(call, body)
        except Unreachable as error:
            cause = self._hidden(call, cause_of(error, call.method, self.settings.base_url + call.path))
            sentence = f"{call.name}: {cause}"
            if never_connected(error) or (body is not None and not body.left):
                raise Unreachable(f"{sentence} Nothing was stored.") from None
            raise FateUnknown(f"{sentence} {_UNKNOWN}") from None
        except Redirected as error:
            raise Redirected(self._hidden(call, str(error)), status=error.status) from None
        if not 200 <= response.status_code < 300:
            raise self._error(call, response, all_left=body is None or body.left)
        if body is not None and not body.left:
            raise FateUnknown(f"{call.name} answered {response.status_code} before it had all.")
        if call.method != "GET" and not confirms(response.headers.get("Content-Type", ""), response.content):
            raise FateUnknown(
                f"{call.name} answered {response.status_code} with a page or a text, not with JSON: it may not be the "
                f"API that answers at {self.settings.base_url}. Check the host of the connection "
                f"{self.settings.connection}. {_UNKNOWN}",
                status=response.status_code,
            )
        return response.content

    def _request(self, call: Call, body: Body | None) -> requests.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        url = self.settings.base_url + call.path
        return self._session().request(call.method, url, params=call.params, data=cast(Any, body), headers=headers)

    def _error(self, call: Call, response: requests.Response, *, all_left: bool) -> Exception:
        """The error for an answer; no ids in it."""
        said = self._hidden(call, response.content[:_ANSWER_BYTES].decode("utf-8", "replace"))
        error = error_for_status(response.status_code, call.method, call.shown, said.encode(), response.headers)
        if isinstance(error, RateLimited) and self._pacer and error.retry_after:
            self._pacer.pause(error.retry_after)
        if isinstance(error, ServerError) and all_left:
            return FateUnknown(f"{error} {_UNKNOWN}", status=error.status, retry_after=error.retry_after)
        if isinstance(error, TooSlow) and all_left:
            return FateUnknown(f"{call.name} answered 408; a proxy may have said that. {_UNKNOWN}", status=408)
        if isinstance(error, Unauthorized):
            return Unauthorized(f"{error} Connection: {self.settings.connection}.", status=error.status)
        return error

    def _hidden(self, call: Call, text: str) -> str:
        """A text without the ids of the request, and without the credentials."""
        text = text.replace(self.settings.app_secret, "…")
        return without_ids(text, (*call.ids, self.settings.app_id), call.content)

    def _wait_for_turn(self) -> None:
        if self._pacer:
            with self._turn:
                self._pacer.before()

    def _session(self) -> VendorSession:
        """Of this thread alone."""
        session: VendorSession | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = VendorSession(self.settings.timeouts, self.settings.verify)
            session.headers.update(self.settings.headers)
            with self._turn:
                self._sessions.append(session)
            self._of_thread.session = session
        return session
