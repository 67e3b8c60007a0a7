"""The client of SmartEmailing: pages of contacts and values, imports. It knows no Airflow.

One request at a time, a pause after each, at most a page in memory. Everything here may be sent again: an import sets
fields to values, so doing it twice changes nothing.

Offset paging over a changing list skips and repeats. Pages are therefore asked in the order of ids, and each overlaps
its predecessor by one row: if that row is not where it was, the list has moved, and the client looks further back
until it finds the place. If rows came in front of it, pages have nothing new until the place is reached again. So
every row that stays in the list for the whole reading comes exactly once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from smartemailing.answers import API, LIMIT, content_of, rows_of
from smartemailing.connections import Settings
from vendor_http.errors import Unreadable
from vendor_http.retry import Retry

if TYPE_CHECKING:
    from vendor_http.session import VendorSession

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """One page of a listing: its new rows, in the order of ids."""

    rows: list[dict[str, Any]]
    offset: int
    """Of the next page."""
    last: bool
    total_count: int
    """How many rows there are on all pages, as SmartEmailing said with this page."""
    after: int
    """The highest id so far. A reading that goes on from ``offset`` and ``after`` loses nothing."""


@dataclass(frozen=True)
class Imported:
    """What an import wrote: e-mail address, in small letters, and the number of the contact."""

    written: dict[str, int]


class Client:
    """Speaks to one account; use it in a ``with`` block."""

    def __init__(
        self, settings: Settings, retry: Retry | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings = settings
        self._retry = retry or Retry()
        self._sleep = sleep
        self._free_at = 0.0
        self._opened: VendorSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def probe(self) -> str:
        """Two harmless requests; a sentence on reach and key.

        Raises:
            VendorError: not reachable, or refused.
        """
        for path in ("/ping", "/check-credentials"):
            self._ask("GET", path, {}, None, lambda _content: None)
        return f"{self.settings.base_url} is reachable and accepts the API key of {self.settings.user}."

    def contacts(
        self,
        list_id: int | None,
        *,
        offset: int = 0,
        after: int = 0,
        select: Sequence[str] = (),
    ) -> Iterator[Page]:
        """Contacts of a list (None: all contacts), in the order of ids.

        Args:
            list_id: number of the contact list.
            offset: where to go on, from the last page that was kept.
            after: the same page's ``after``.
            select: fields; all if empty. ``id`` comes always.

        Raises:
            VendorError: what SmartEmailing answered at last.
        """
        path = "/contacts" if list_id is None else f"/contactlists/{list_id}/contacts"
        parameters = {"select": ",".join(dict.fromkeys(("id", *select)))} if select else {}
        return self._pages(path, parameters, offset, after)

    def customfield_values(self, customfield: int, *, offset: int = 0, after: int = 0) -> Iterator[Page]:
        """One custom field of all contacts that have it: ``id``, ``contact_id``, ``customfield_id``, ``value`` ...

        Raises:
            VendorError: what SmartEmailing answered at last.
        """
        return self._pages("/contact-customfields", {"customfield_id": str(customfield)}, offset, after)

    def import_contacts(self, body: bytes) -> Imported:
        """Import at most 500 contacts; see ``include.deliveries.smartemailing`` for the body.

        Raises:
            Invalid: refused, all of it.
            VendorError: what SmartEmailing answered at last; sending it again does no harm.
        """
        return self._ask("POST", "/import", {}, body, _imported)

    def _pages(self, path: str, parameters: dict[str, str], offset: int, after: int) -> Iterator[Page]:
        while True:
            page = self._page(path, parameters, offset, after)
            yield page
            if page.last:
                return
            offset, after = page.offset, page.after

    def _page(self, path: str, parameters: dict[str, str], offset: int, after: int) -> Page:
        start = max(0, offset - 1) if after else offset
        rows, total = self._rows(path, parameters, start)
        while after and start and not (rows and _id(path, rows[0]) <= after):
            start = max(0, start - (LIMIT - 1))  # the list has moved up: the place is further back
            rows, total = self._rows(path, parameters, start)
        new = [row for row in rows if _id(path, row) > after]
        end = start + len(rows)
        nothing_beyond = not new and len(rows) <= 1  # at most the row that overlaps; the total may never be reached
        last = nothing_beyond or end >= total
        return Page(new, end, last, total, _id(path, new[-1]) if new else after)

    def _rows(self, path: str, parameters: dict[str, str], offset: int) -> tuple[list[dict[str, Any]], int]:
        parameters = {**parameters, "sort": "id", "limit": str(LIMIT), "offset": str(offset)}
        return self._ask("GET", path, parameters, None, lambda content: rows_of(path, content))

    def _ask(
        self,
        method: str,
        path: str,
        parameters: dict[str, str],
        body: bytes | None,
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        """What ``read`` makes of the answer; an answer that it cannot read is asked for again."""

        def attempt(_number: int) -> T:
            self._sleep(max(0.0, self._free_at - time.monotonic()))
            headers = {"Content-Type": "application/json"} if body is not None else {}
            url = f"{self.settings.base_url}{API}{path}"
            try:
                response = self._session().request(method, url, params=parameters, data=body, headers=headers)
            finally:
                self._free_at = time.monotonic() + self.settings.pause_seconds
            return read(content_of(method, API + path, response.status_code, response.content, response.headers))

        return self._retry.run(f"{method} {API}{path}", attempt)

    def _session(self) -> "VendorSession":
        if self._opened is None:
            from vendor_http.session import VendorSession

            self._opened = VendorSession(self.settings.timeouts, self.settings.verify)
            self._opened.headers.update(self.settings.headers)
        return self._opened


def _imported(content: dict[str, Any]) -> Imported:
    taken = content.get("contacts_map")
    if not isinstance(taken, list):
        raise Unreadable(f"POST {API}/import: the answer has no contacts_map, so nobody knows what was written.")
    try:
        return Imported({str(each["emailaddress"]).lower(): int(each["contact_id"]) for each in taken})
    except (TypeError, KeyError, ValueError):
        raise Unreadable(f"POST {API}/import: contacts_map has an entry without e-mail address or number.") from None


def _id(path: str, row: dict[str, Any]) -> int:
    try:
        return int(row["id"])
    except (KeyError, TypeError, ValueError):
        raise Unreadable(f"GET {API}{path}: a row has no id that is a number. It cannot be read in order.") from None
