"""The client of Klaviyo: pages of profiles, and import jobs. It waits; it knows no Airflow.

Each request is paced before it is sent, tried again if waiting mends it (an import, too: it is an upsert), and read
whole: at most one page is held.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import sleep as really_sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from include.errors import ConfigError
from klaviyo.connections import Settings
from klaviyo.documents import CURSOR, Job, Page, attributes_of, decode, job_of, page_of, profile_count_of, resource_of
from vendor_http.errors import Invalid, NotFound, Unauthorized, Unreadable, error_for_status
from vendor_http.pacing import Pacer
from vendor_http.retry import Retry
from vendor_http.session import VendorSession

PAGE_SIZE = 100
JOBS = "/api/profile-bulk-import-jobs"
ALL = "all"

__all__ = ["Client", "Job", "Page"]


class Client:
    """Talks to one account, from one thread; use it in a ``with`` block. ``sleep`` is for the pacing."""

    def __init__(
        self, settings: Settings, retry: Retry | None = None, sleep: Callable[[float], None] = really_sleep
    ) -> None:
        self.settings = settings
        self._retry = retry or Retry()
        self._session = VendorSession(settings.timeouts, settings.verify)
        self._session.headers.update(settings.headers)
        # The documented limits of the account, by kind of endpoint.
        self._profiles = Pacer(per_second=75, per_minute=700, sleep=sleep)
        self._counts = Pacer(per_second=1, per_minute=15, sleep=sleep)
        self._others = Pacer(per_second=10, per_minute=150, sleep=sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def profiles(
        self,
        source: str,
        *,
        fields: Sequence[str],
        consent: bool = False,
        cursor: str | None = None,
        filter: str | None = None,  # noqa: A002 - Klaviyo's word
    ) -> Iterator[Page]:
        """The profiles of a source, page by page. Rows can repeat at the border of two pages.

        Args:
            source: ``all``, ``list:ID`` or ``segment:ID``.
            fields: attributes of a profile, such as ``external_id``, ``email``, ``properties``.
            consent: give ``subscriptions`` too.
            cursor: where to go on: that of an earlier page.
            filter: in Klaviyo's language.

        Raises:
            ConfigError: the source is none of these.
            VendorError: what Klaviyo answered at last.
        """
        kind, name = _source(source)
        path = f"/api/{kind}s/{quote(name, safe='')}/profiles" if name else "/api/profiles"
        asked = [*fields, "subscriptions"] if consent else fields
        params = {"page[size]": str(PAGE_SIZE), "fields[profile]": ",".join(asked)}
        if consent:
            params["additional-fields[profile]"] = "subscriptions"
        if filter:
            params["filter"] = filter
        yield from self._pages(path, params, self._profiles, cursor)

    def profile_count(self, source: str) -> int | None:
        """How many profiles Klaviyo counts in a list or segment; None for ``all``, which it does not count.

        Raises:
            ConfigError: the source is none of ``all``, ``list:ID``, ``segment:ID``.
            VendorError: what Klaviyo answered at last; ``NotFound`` if there is no such list or segment.
        """
        kind, name = _source(source)
        if not name:
            return None
        path = f"/api/{kind}s/{quote(name, safe='')}"
        document = self._get(path, {f"additional-fields[{kind}]": "profile_count"}, self._counts)
        return profile_count_of(document, f"GET {path}")

    def create_import_job(self, body: bytes) -> str:
        """Start a bulk import job; gives its id.

        An import is an upsert: if an answer was lost, the same is sent again and leaves the same profiles.

        Raises:
            Invalid: refused as a whole; nothing was stored.
            VendorError: what Klaviyo answered at last; after one that is transient, a job may have been made.
        """
        headers = {"Content-Type": "application/vnd.api+json"}

        def attempt(_number: int) -> str:
            self._others.before()
            with self._session.post(self.settings.base_url + JOBS, data=body, headers=headers) as response:
                self._others.after(response.headers)
                if not 200 <= response.status_code < 300:
                    raise self._error(response.status_code, "POST", JOBS, response.content, response.headers)
                return str(resource_of(decode(response.content, f"POST {JOBS}"), f"POST {JOBS}")["id"])

        return self._retry.run(f"POST {JOBS}", attempt)

    def import_job(self, job: str) -> Job:
        """How far an import job is.

        Raises:
            VendorError: what Klaviyo answered at last.
        """
        path = f"{JOBS}/{quote(job, safe='')}"
        return job_of(self._get(path, {}, self._others), f"GET {path}")

    def import_errors(self, job: str) -> Iterator[dict[str, Any]]:
        """What was refused in an import job: attributes ``code, title, detail, source, original_payload`` of each.

        The payload holds customers' data: it is not for logs.

        Raises:
            VendorError: what Klaviyo answered at last.
        """
        path = f"{JOBS}/{quote(job, safe='')}/import-errors"
        for page in self._pages(path, {"page[size]": str(PAGE_SIZE)}, self._others, None):
            yield from map(attributes_of, page.rows)

    def probe(self) -> str:
        """One harmless request, tried once; a sentence on reach, key and revision.

        Raises:
            VendorError: not reachable, or refused; the sentence says what to mend.
        """
        page_of(self._ask("/api/lists", {"page[size]": "1"}, self._others), "GET /api/lists")
        return f"{self.settings.base_url} is reachable and accepts the key and revision {self.settings.revision}."

    def _pages(self, path: str, params: Mapping[str, str], pacer: Pacer, cursor: str | None) -> Iterator[Page]:
        """Pages to the end. A circle is noticed by one remembered cursor, renewed after 1, 2, 4 ... pages (Brent)."""
        remembered, pages, renewed_after = cursor, 0, 1
        while True:
            asked = {**params, CURSOR: cursor} if cursor else params
            page = page_of(self._get(path, asked, pacer), f"GET {path}", cursor)
            cursor = page.cursor
            if cursor is not None and cursor == remembered:
                raise Unreadable(f"GET {path}: the links to the next page lead in a circle.")
            yield page
            if cursor is None:
                return
            pages += 1
            if pages == renewed_after:
                remembered, pages, renewed_after = cursor, 0, renewed_after * 2

    def _get(self, path: str, params: Mapping[str, str], pacer: Pacer) -> dict[str, Any]:
        return self._retry.run(f"GET {path}", lambda _number: self._ask(path, params, pacer))

    def _ask(self, path: str, params: Mapping[str, str], pacer: Pacer) -> dict[str, Any]:
        """One attempt."""
        pacer.before()
        with self._session.get(self.settings.base_url + path, params=params) as response:
            pacer.after(response.headers)
            if response.status_code != 200:
                raise self._error(response.status_code, "GET", path, response.content, response.headers)
            return decode(response.content, f"GET {path}")

    def _error(self, status: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Exception:
        return refused(self.settings, error_for_status(status, method, path, body, headers))


def refused(settings: Settings, error: Exception) -> Exception:
    """The error, and where to mend it if the key, its rights or the revision may be wrong."""
    if isinstance(error, Unauthorized):
        what = "The key may not do this: give it the scope." if error.status == 403 else "The key is refused."
        return Unauthorized(f"{error} {what} Connection: {settings.connection}.", status=error.status)
    if isinstance(error, Invalid | NotFound) and "revision" in str(error).lower():
        where = f"Connection: {settings.connection}, revision {settings.revision}."
        return type(error)(f"{error} {where}", status=error.status, pointers=error.pointers)
    return error


def _source(source: str) -> tuple[str, str]:
    kind, _, name = source.partition(":")
    if source == ALL or (kind in ("list", "segment") and name):
        return kind, name
    raise ConfigError(f"klaviyo: no source {source!r}; must be all, list:ID or segment:ID")
