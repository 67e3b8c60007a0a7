"""The client of Advisable.ai: create, list, delete and transfer interactions. It knows no Airflow.

When may a request that went wrong be sent again? Interactions are added up, and how the vendor treats one that comes
twice is not known:

- No connection, or one lost before the last byte of the body was handed over: it cannot have been stored.
- An answer 4xx: it is refused, so it is not stored.
- An answer 5xx or 408, or none, after the last byte, and a 2xx with a page instead of JSON: it may be stored, or not.
  That is ``FateUnknown`` and never tried again here.

Looking and deleting do no harm twice; they are simply tried again. One client serves many threads.
"""

import json
from collections.abc import Callable, Sequence
from time import sleep as really_sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from advisable.answers import rows_of
from advisable.connections import Settings
from advisable.transport import Call, Transport
from include.errors import PipelineError
from include.publishers.senders import InteractionType
from vendor_http.errors import FateUnknown, NotFound, ServerError
from vendor_http.retry import Retry

NOBODY = "luigisbox-newsletter-airflow-test"
"""The user that the connection test asks for: nobody's id."""


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
        self._transport = Transport(settings, requests_per_second, sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def patience_seconds(self) -> float:
        """How long one request, with all its attempts and pauses, may be on its way."""
        limits, retry = self.settings.timeouts, self._retry
        return retry.attempts * (limits.connect + limits.read) + (retry.attempts - 1) * retry.cap_seconds

    def close(self) -> None:
        """Close the connections of all threads; the next request opens new ones."""
        self._transport.close()

    def create(self, kind: InteractionType, interaction: dict[str, Any] | bytes) -> None:
        """Add one interaction.

        Args:
            kind: its type.
            interaction: its fields, or the same as JSON.

        Raises:
            PipelineError: there is no such type.
            FateUnknown: it may have been stored; it was not sent again.
            VendorError: it was not stored.
        """
        content = _json(interaction)
        self._once(self._call("POST", [self._path(kind)], content=content))

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
        return self._listed(self._call("GET", ["users", None, self._path(kind)], user_id))

    def list_by_item(self, item_id: str, kind: InteractionType) -> list[dict[str, Any]]:
        """The interactions with an item, as many as the vendor gives in one answer.

        Raises:
            NotFound: it knows no such item, or the path is wrong.
            VendorError: what it answered at last.
        """
        return self._listed(self._call("GET", ["items", None, self._path(kind)], item_id))

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
        call = self._call("DELETE", [self._path(kind)], params=narrowed, ids=tuple(narrowed.values()))
        self._again(call)

    def transfer(self, from_user_id: str, to_user_id: str, *, delete_user: bool = True) -> None:
        """Move all interactions of a user to another one.

        Args:
            from_user_id: whose they are.
            to_user_id: whose they become.
            delete_user: delete the user that is left without.

        Raises:
            PipelineError: both are the same. Nothing was sent.
            FateUnknown: it may be done; it was not sent again.
            VendorError: it was not done.
        """
        _check_two(from_user_id, to_user_id)
        path = ["users", None, "interactions", "transfer", None]
        params = {"delete_user": "true" if delete_user else "false"}
        self._once(self._call(self.settings.transfer_method, path, from_user_id, to_user_id, params=params))

    def change_external_id(self, user_id: str, external_id: str) -> None:
        """Give a user another id; the interactions go along.

        Raises:
            PipelineError: it is the same id. Nothing was sent.
            FateUnknown: it may be done; it was not sent again.
            VendorError: it was not done.
        """
        _check_two(user_id, external_id)
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

    def _path(self, kind: InteractionType) -> str:
        if kind not in self.settings.paths:
            raise PipelineError(
                f"there is no type of interactions {kind!r}; known are {', '.join(self.settings.paths)}. "
                "Nothing was sent."
            )
        return self.settings.paths[kind]

    def _call(
        self,
        method: str,
        pieces: Sequence[str | None],
        *place: str,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        ids: tuple[str, ...] = (),
    ) -> Call:
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
        return Call(method, f"/v1/{path}", f"/v1/{shown}", params or {}, content, (*place, *ids))

    def _listed(self, call: Call, retry: Retry | None = None) -> list[dict[str, Any]]:
        return rows_of(call.name, self._again(call, retry))

    def _again(self, call: Call, retry: Retry | None = None) -> bytes:
        """A request that does no harm twice."""

        def attempt(_number: int) -> bytes:
            try:
                return self._transport.send(call)
            except FateUnknown as error:
                raise ServerError(str(error), status=error.status, retry_after=error.retry_after) from None

        return (retry or self._retry).run(call.name, attempt)

    def _once(self, call: Call) -> None:
        """A request that is tried again only while it cannot have been stored."""
        self._retry.run(call.name, lambda _number: self._transport.send(call))


def _check_two(user_id: str, other: str) -> None:
    if user_id == other:
        raise PipelineError(
            "from and to are the same user: that could delete all that is known of it. Nothing was sent."
        )


def _json(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
