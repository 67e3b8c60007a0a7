"""The client of Advisable.ai: create, list, delete and transfer interactions. It knows no Airflow.

When may a request that went wrong be sent again? Interactions are added up, and how the vendor treats one that comes
twice is not known:

- No connection, or one lost before the last byte of the body was handed over: it cannot have been stored.
- An answer 4xx: it is refused, so it is not stored.
- An answer 5xx, or none, after the last byte: it may be stored, or not. That is ``FateUnknown`` and never tried again
  here.

Looking and deleting do no harm twice; they are simply tried again. Paths carry customers' ids, so sentences show them
as ``…``, and so they do ids that the vendor quotes. One client serves many threads.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import sleep as really_sleep
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import requests

from advisable.answers import cause_of, never_connected, rows_of, without_ids
from advisable.connections import Settings
from include.errors import PipelineError
from include.publishers.senders import InteractionType
from vendor_http.errors import (
    FateUnknown,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
    Unreachable,
    error_for_status,
)
from vendor_http.pacing import Pacer
from vendor_http.retry import Retry
from vendor_http.session import VendorSession

NOBODY = "luigisbox-newsletter-airflow-test"
"""The user that the connection test asks for: nobody's id."""
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
class _Call:
    """One request: its path as it is sent and as it is shown, and the ids that no sentence may repeat."""

    method: str
    path: str
    shown: str
    params: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    ids: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.shown}"


class Client:
    """Speaks to one app; use it in a ``with`` block.

    Args:
        settings: of the connection.
        retry: how patiently a request is tried again.
        requests_per_second: most requests a second, of all threads together; None: no limit.
        sleep: of the pacing; for tests.
    """

    def __init__(
        self,
        settings: Settings,
        retry: Retry | None = None,
        requests_per_second: float | None = None,
        sleep: Callable[[float], None] = really_sleep,
    ) -> None:
        self.settings = settings
        self._retry = retry or Retry()
        rate = requests_per_second
        self._pacer = Pacer(rate, int(rate * 60) + 1, share=1.0, sleep=sleep) if rate else None
        self._turn = threading.Lock()
        self._of_thread = threading.local()
        self._sessions: list[VendorSession] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads; the next request opens new ones."""
        with self._turn:
            sessions, self._sessions = self._sessions, []
            self._of_thread = threading.local()
        for session in sessions:
            session.close()

    def create(self, kind: InteractionType, interaction: dict[str, Any] | bytes) -> None:
        """Add one interaction.

        Args:
            kind: its type.
            interaction: its fields, or the same as JSON.

        Raises:
            FateUnknown: it may have been stored; it was not sent again.
            VendorError: it was not stored.
        """
        content = _json(interaction)
        self._once(self._call("POST", [self.settings.paths[kind]], content=content))

    def create_purchases(self, purchases: Sequence[dict[str, Any]] | bytes) -> None:
        """Add purchases by one request.

        Args:
            purchases: the fields of each, or the same as a JSON array.

        Raises:
            FateUnknown: they may have been stored; they were not sent again.
            VendorError: they were not stored.
        """
        content = purchases if isinstance(purchases, bytes) else _json(list(purchases))
        path = [self.settings.paths["purchase"], "batch"]
        self._once(self._call("POST", path, content=content))

    def list_by_user(self, user_id: str, kind: InteractionType) -> list[dict[str, Any]]:
        """The interactions of a user, as many as the vendor gives in one answer.

        Raises:
            NotFound: it knows no such user, or the path is wrong.
            VendorError: what it answered at last.
        """
        return self._listed(self._call("GET", ["users", None, self.settings.paths[kind]], user_id))

    def list_by_item(self, item_id: str, kind: InteractionType) -> list[dict[str, Any]]:
        """The interactions with an item, as many as the vendor gives in one answer.

        Raises:
            NotFound: it knows no such item, or the path is wrong.
            VendorError: what it answered at last.
        """
        return self._listed(self._call("GET", ["items", None, self.settings.paths[kind]], item_id))

    def delete(
        self,
        kind: InteractionType,
        *,
        item_id: str | None = None,
        user_id: str | None = None,
        timestamp: int | None = None,
        all: bool = False,  # noqa: A002 - the word that says it
    ) -> None:
        """Delete the interactions of a type that fit all that is given.

        Args:
            kind: their type.
            item_id: only with this item.
            user_id: only of this user.
            timestamp: only of this moment, in milliseconds.
            all: with nothing else given: every interaction of this type, of all users.

        Raises:
            PipelineError: nothing narrows it and ``all`` is not set, or both are given. Nothing was deleted.
            VendorError: what the vendor answered at last.
        """
        given = {"item_id": item_id, "user_id": user_id, "timestamp": timestamp}
        narrowed = {name: str(value) for name, value in given.items() if value is not None}
        if "" in narrowed.values():
            raise PipelineError(f"delete {kind}: an empty id or timestamp narrows nothing. Nothing was deleted.")
        if not narrowed and not all:
            raise PipelineError(
                f"delete {kind}: without item_id, user_id or timestamp it would delete every interaction of this type, "
                "of all users. Nothing was deleted. Narrow it, or say all=True if that is what you want."
            )
        if narrowed and all:
            raise PipelineError(f"delete {kind}: all=True goes without {', '.join(narrowed)}. Nothing was deleted.")
        call = self._call("DELETE", [self.settings.paths[kind]], params=narrowed, ids=tuple(narrowed.values()))
        self._again(call)

    def transfer(self, from_user_id: str, to_user_id: str, *, delete_user: bool = True) -> None:
        """Move all interactions of a user to another one.

        Args:
            from_user_id: whose they are.
            to_user_id: whose they become.
            delete_user: delete the user that is left without.

        Raises:
            FateUnknown: it may be done; it was not sent again.
            VendorError: it was not done.
        """
        path = ["users", None, "interactions", "transfer", None]
        params = {"delete_user": "true" if delete_user else "false"}
        self._once(self._call(self.settings.transfer_method, path, from_user_id, to_user_id, params=params))

    def change_external_id(self, user_id: str, external_id: str) -> None:
        """Give a user another id; the interactions go along.

        Raises:
            FateUnknown: it may be done; it was not sent again.
            VendorError: it was not done.
        """
        content = _json({"external_id": external_id})
        self._once(self._call("PUT", ["users", None], user_id, content=content, ids=(external_id,)))

    def probe(self) -> str:
        """One harmless request, tried once; a sentence on reach and credentials.

        Raises:
            VendorError: not reachable, or refused.
        """
        call = self._call("GET", ["users", None, self.settings.paths["purchase"]], NOBODY)
        try:
            self._listed(call, Retry(attempts=1))
        except NotFound:
            return (
                f"{self.settings.base_url} is reachable and did not refuse the credentials; it knows no user "
                f"{NOBODY}, which is as it should be, or has no such path: check the host if sending fails."
            )
        return f"{self.settings.base_url} is reachable and accepts the credentials of app {self.settings.app_id}."

    def _call(
        self,
        method: str,
        pieces: Sequence[str | None],
        *place: str,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        ids: tuple[str, ...] = (),
    ) -> _Call:
        """A call below ``/v1``; None among the pieces of its path stands for the next id.

        Raises:
            PipelineError: an id cannot stand in a path.
        """
        if any(each in ("", ".", "..") for each in place):
            raise PipelineError(
                f"{method}: an id that is empty or made of dots cannot stand in a path. Nothing was sent."
            )
        left = iter(place)
        path = "/".join(quote(next(left), safe="") if piece is None else piece for piece in pieces)
        shown = "/".join("…" if piece is None else piece for piece in pieces)
        return _Call(method, f"/v1/{path}", f"/v1/{shown}", params or {}, content, (*place, *ids))

    def _listed(self, call: _Call, retry: Retry | None = None) -> list[dict[str, Any]]:
        return rows_of(call.name, self._again(call, retry))

    def _again(self, call: _Call, retry: Retry | None = None) -> bytes:
        """A request that does no harm twice."""

        def attempt(_number: int) -> bytes:
            try:
                return self._send(call)
            except FateUnknown as error:
                raise ServerError(str(error), status=error.status, retry_after=error.retry_after) from None

        return (retry or self._retry).run(call.name, attempt)

    def _once(self, call: _Call) -> None:
        """A request that is tried again only while it cannot have been stored."""
        self._retry.run(call.name, lambda _number: self._send(call))

    def _send(self, call: _Call) -> bytes:
        """One attempt."""
        body = Body(call.content) if call.content is not None else None
        self._wait_for_turn()
        try:
            response = self._request(call, body)
        except Unreachable as error:
            sentence = f"{call.name}: {cause_of(error, call.method, self.settings.base_url + call.path)}"
            if never_connected(error) or (body is not None and not body.left):
                raise Unreachable(f"{sentence} Nothing was stored.") from None
            raise FateUnknown(f"{sentence} {_UNKNOWN}") from None
        if not 200 <= response.status_code < 300:
            raise self._error(call, response, all_left=body is None or body.left)
        if body is not None and not body.left:
            raise FateUnknown(f"{call.name} answered {response.status_code} before it had all.")
        return response.content

    def _request(self, call: _Call, body: Body | None) -> requests.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        url = self.settings.base_url + call.path
        return self._session().request(call.method, url, params=call.params, data=cast(Any, body), headers=headers)

    def _error(self, call: _Call, response: requests.Response, *, all_left: bool) -> Exception:
        """The error for an answer; no ids in it."""
        said = without_ids(response.content[:_ANSWER_BYTES], call.ids, call.content)
        error = error_for_status(response.status_code, call.method, call.shown, said, response.headers)
        if isinstance(error, RateLimited) and self._pacer and error.retry_after:
            self._pacer.pause(error.retry_after)
        if isinstance(error, ServerError) and all_left:
            return FateUnknown(f"{error} {_UNKNOWN}", status=error.status, retry_after=error.retry_after)
        if isinstance(error, Unauthorized):
            return Unauthorized(f"{error} Connection: {self.settings.connection}.", status=error.status)
        return error

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


def _json(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
