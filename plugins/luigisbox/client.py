"""The client of Luigi's Box: the two uploads and one harmless request. It knows no Airflow.

When may a request that went wrong be sent again? Luigi's Box has an upload only once it has the closing boundary:

- No connection, or a connection lost before the closing boundary was handed to the socket: it cannot have it.
- An answer 4xx: it refuses it, so it is not stored.
- An answer 5xx, or no answer, after the closing boundary: it may be stored, or not. That goes for 503 too: a gateway
  may say so after what is behind it took the file.

Users replace the whole list, so sending them twice does no harm: all of that is simply tried again. Transactions
are added up for ever, so the last case is ``FateUnknown`` and never tried again by itself.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

import requests

from include.errors import BadInput
from luigisbox.auth import LuigisBoxAuth
from luigisbox.body import MultipartBody, Upload
from vendor_http.errors import (
    FateUnknown,
    ServerError,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unreachable,
    VendorError,
    detail,
    error_for_status,
)
from vendor_http.retry import Retry
from vendor_http.session import Timeouts, VendorSession

MAX_USERS_BYTES = 300_000_000
MAX_TRANSACTIONS_BYTES = 1_000_000_000
ANSWER_BYTES = 4096
TOLERANCE_SECONDS = 5
SPEED_FROM_BYTES = 32_000_000
"""A smaller upload says nothing about the speed of a large one."""
_UNKNOWN = "The whole file was sent by then; whether it was stored is unknown."
_CONTENT_TYPES = {"json": "application/json", "csv": "text/csv"}


@dataclass(frozen=True)
class Settings:
    """Where a tracker is reached, with which key, and how patiently.

    ``base_url`` has scheme, host and port only. ``upload_seconds`` is the vendor's limit for one upload to arrive.
    ``connection`` is what sentences call the place where people mend these settings.
    """

    base_url: str
    tracker: str
    private_key: str = field(repr=False)
    public_key: str = ""
    upload_seconds: float = 600.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify: bool | str = True
    connection: str = ""


@dataclass(frozen=True)
class Receipt:
    """What an accepted upload was: ``bytes`` and ``sha256`` of the files' content, times of the last attempt in UTC."""

    status: int
    started_at: datetime
    finished_at: datetime
    bytes: int
    seconds: float
    sha256: str
    attempts: int
    answer: dict[str, Any]


class Client:
    """Sends to one tracker. ``clock`` gives epoch seconds and is what requests are signed with."""

    def __init__(self, settings: Settings, retry: Retry | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.bytes_per_second: float | None = None
        """Of the last upload that was long enough to measure; the caller may set what it knows of earlier ones."""
        self.maybe_stored = False
        """Of the last upload: did an attempt end so that it may have been stored, although the upload failed?"""
        self._body: MultipartBody | None = None
        self._retry = retry or Retry()
        self._clock = clock
        self._auth = LuigisBoxAuth(settings.public_key or settings.tracker, settings.private_key, clock)

    @property
    def closing_left(self) -> bool:
        """Of the last attempt, whatever ended it: was its closing boundary handed over, so that all may have arrived?

        True too for one that was answered; how that ended is said by what the upload gave or raised.
        """
        return self._body is not None and self._body.closing

    @property
    def attempt_seconds(self) -> float:
        """How long one attempt can take: the connection, the upload, the answer."""
        return self.settings.upload_seconds + self.settings.timeouts.connect + self.settings.timeouts.read

    def upload_users(self, files: Sequence[Path], manifest: dict[str, Any]) -> Receipt:
        """Replace the tracker's list of users by the chunks of an audience manifest, in order, as one file.

        Raises:
            TooLarge: more than 300 MB; nothing was sent.
            BadInput: the files are not what the manifest says; nothing was stored.
            TooSlow: not through within the time limit; nothing was stored.
            VendorError: what Luigi's Box answered at last.
        """
        size, rows = int(manifest["bytes"]), int(manifest["rows"])
        if size > MAX_USERS_BYTES:
            fit = rows * MAX_USERS_BYTES // size
            raise TooLarge(
                f"users: {size:,} bytes for {rows:,} users, but Luigi's Box takes at most {MAX_USERS_BYTES:,} bytes; "
                f"about {fit:,} of these users would fit. Nothing was sent. Narrow the audience, or use format: csv."
            )
        upload = _upload("users", files, manifest, str(manifest["format"]))
        return self._upload(f"/v1/recommender/batching/{self.settings.tracker}/users", upload, resend_unknown=True)

    def upload_transactions(
        self, file: Path, chunk: dict[str, Any], before_retry: Callable[[], None] | None = None
    ) -> Receipt:
        """Add one file of past transactions.

        Args:
            file: to send.
            chunk: its entry in the manifest (name, bytes, sha256).
            before_retry: called before each further attempt; what it raises ends the upload, and nothing was stored.

        Raises:
            FateUnknown: it may have been stored; it was not sent again.
            TooLarge: more than 1 GB; nothing was sent.
            BadInput, TooSlow, VendorError: not stored.
        """
        size = int(chunk["bytes"])
        if size > MAX_TRANSACTIONS_BYTES:
            raise TooLarge(
                f"{file.name}: {size:,} bytes, but Luigi's Box takes at most {MAX_TRANSACTIONS_BYTES:,} in one file. "
                "Nothing was sent. Lower past_transactions.max_file_bytes and build again."
            )
        upload = _upload("transactions", [file], chunk, file.suffix.lstrip("."))
        path = f"/v1/interactions/{self.settings.tracker}/files"
        return self._upload(path, upload, resend_unknown=False, before_retry=before_retry)

    def probe(self) -> str:
        """One harmless signed request; a sentence on reach, key and clock.

        Raises:
            VendorError: not reachable, or refused; the sentence has the clock skew if it was measured.
        """
        path = f"/v1/recommender/pin/{self.settings.tracker}/scopes"
        url = f"{self.settings.base_url}{path}?limit=1"
        headers, before = {"Content-Type": "application/json; charset=utf-8"}, self._clock()
        with self._session() as session, session.post(url, headers=headers, auth=self._auth, stream=True) as response:
            skew = skew_seconds(response, (before + self._clock()) / 2)
            self._raise_for_status(response, path, skew)
        return (
            f"{self.settings.base_url} is reachable and accepts the key of tracker {self.settings.tracker}; "
            f"{skew_sentence(skew)}."
        )

    def _upload(
        self, path: str, upload: Upload, *, resend_unknown: bool, before_retry: Callable[[], None] | None = None
    ) -> Receipt:
        self.maybe_stored, self._body = False, None
        self._check(upload)

        def attempt(number: int) -> Receipt:
            if number > 1 and before_retry:
                before_retry()
            try:
                return self._send(path, upload, number)
            except FateUnknown as error:
                self.maybe_stored = True
                if resend_unknown:
                    raise ServerError(str(error), status=error.status, retry_after=error.retry_after) from error
                raise

        return self._retry.run(f"upload to {path}", attempt)

    def _check(self, upload: Upload) -> None:
        """Refuse what cannot succeed before the first byte."""
        there = sum(path.stat().st_size if path.is_file() else 0 for path in upload.files)
        if not upload.bytes:
            raise BadInput(f"{upload.name}: nothing to send; an empty file is never uploaded")
        if there != upload.bytes:
            raise BadInput(
                f"{upload.files[0].parent}: {there:,} bytes there, the manifest lists {upload.bytes:,}. Nothing was "
                "sent. Build again: clear the build step of this run."
            )
        limit = self.settings.upload_seconds
        if self.bytes_per_second and upload.bytes / self.bytes_per_second > limit:
            raise TooSlow(
                f"{upload.name}: {upload.bytes:,} bytes would take {upload.bytes / self.bytes_per_second:.0f} s at the "
                f"{self.bytes_per_second / 1e6:.3g} MB/s of the last upload; allowed are {limit:g} s. Nothing was sent."
                " Send less (a narrower audience, format: csv); or, if the line has become faster, raise upload_seconds"
                " in the extra fields of the connection for one run, so that the speed is measured anew."
            )

    def _send(self, path: str, upload: Upload, number: int) -> Receipt:
        """One attempt: its own connection, body, boundary and signature."""
        self._body = body = MultipartBody(upload, self.settings.upload_seconds, self.settings.timeouts.read)
        started_at, begin = _utc(self._clock()), time.monotonic()
        with self._session() as session, self._post(session, path, body) as response:
            self._raise_for_upload(response, path, body, skew_seconds(response, self._clock()))
            answer = {"status": response.status_code, "said": detail(_first_bytes(response))}
        seconds = time.monotonic() - begin
        if upload.bytes >= SPEED_FROM_BYTES:
            self.bytes_per_second = upload.bytes / max(seconds, 1e-6)
        return Receipt(
            status=response.status_code,
            started_at=started_at,
            finished_at=_utc(self._clock()),
            bytes=upload.bytes,
            seconds=round(seconds, 3),
            sha256=upload.sha256,
            attempts=number,
            answer=answer,
        )

    def _post(self, session: VendorSession, path: str, body: MultipartBody) -> requests.Response:
        headers = {"Content-Type": body.content_type}
        try:
            url, data = self.settings.base_url + path, cast(Any, body)
            return session.post(url, data=data, headers=headers, auth=self._auth, stream=True)
        except Unreachable as error:
            if body.closing:
                raise FateUnknown(f"{error} {_UNKNOWN}") from error
            if late := body.late():
                raise late from error
            raise Unreachable(f"{error} {body.sent:,} bytes were sent; nothing was stored.") from error

    def _raise_for_upload(
        self, response: requests.Response, path: str, body: MultipartBody, skew: float | None
    ) -> None:
        """Sort an answer into stored, not stored, and unknown; see the head of this module."""
        try:
            self._raise_for_status(response, path, skew)
        except ServerError as error:
            if body.closing:
                raise FateUnknown(f"{error} {_UNKNOWN}", status=error.status, retry_after=error.retry_after) from error
            raise
        if not body.closing:
            raise FateUnknown(f"POST {path} answered {response.status_code} before it had the whole file.")

    def _raise_for_status(self, response: requests.Response, path: str, skew: float | None) -> None:
        if not 200 <= response.status_code < 300:
            raise refusal(self.settings, response, "POST", path, _first_bytes(response), skew)

    def _session(self) -> VendorSession:
        return VendorSession(self.settings.timeouts, self.settings.verify)


def refusal(
    settings: Settings, response: requests.Response, method: str, path: str, body: bytes, skew: float | None
) -> VendorError:
    """The error for an answer that is no success; a 401 also names the connection and compares the clocks."""
    error = error_for_status(response.status_code, method, path, body, response.headers)
    if isinstance(error, Unauthorized):
        where = f" Connection: {settings.connection}." if settings.connection else ""
        return Unauthorized(f"{error}{where} Clock: {skew_sentence(skew)}.", status=error.status)
    return error


def skew_seconds(response: requests.Response, now: float) -> float | None:
    """How far the local clock is ahead of the answer's ``Date``, in seconds; None if it has none, or nonsense."""
    try:
        theirs = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
    return now - (theirs + 0.5)


def skew_sentence(skew: float | None) -> str:
    """The clock skew as half a sentence; ``Date`` has whole seconds and ages on its way: less than 2 s says nothing."""
    if skew is None:
        return "their clock is unknown (no usable Date in the answer)"
    if abs(skew) < 2:
        return "the clocks agree to two seconds"
    where = "ahead of" if skew > 0 else "behind"
    verdict = "too much" if abs(skew) > TOLERANCE_SECONDS else "within"
    return f"this machine's clock is {abs(skew):.0f} s {where} theirs ({verdict}: {TOLERANCE_SECONDS} s are allowed)"


def _upload(room: str, files: Sequence[Path], figures: dict[str, Any], form: str) -> Upload:
    if form not in _CONTENT_TYPES:
        raise BadInput(f"{room}: cannot upload format {form!r}; allowed are {', '.join(_CONTENT_TYPES)}")
    return Upload(
        files=list(files),
        name=f"{room}.{form}",
        content_type=_CONTENT_TYPES[form],
        bytes=int(figures["bytes"]),
        sha256=str(figures["sha256"]),
    )


def _first_bytes(response: requests.Response) -> bytes:
    """Enough of an answer for a sentence; an answer that breaks off says nothing."""
    try:
        return next(response.iter_content(ANSWER_BYTES), b"")
    except requests.RequestException:
        return b""


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
