"""Fetching a batch: streamed to the staging store, hashed on the way, with a record of where it came from.

The batch is written to a work folder; only when it is whole does it get its place, in a folder that is named after its
SHA-256.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests

from include.errors import BadInput, ConfigError, StoreError
from include.object_files import words
from include.recommendations import index
from include.recommendations.batches import batch_folder
from include.recommendations.freshness import Seen
from include.recommendations.layout import FETCH
from include.staging import move_file, write_json
from luigisbox.connections import LinkAccess, is_http
from luigisbox.result_link import HEAD_BYTES, length_of, open_store, public_link, seen_from, store_headers
from vendor_http.errors import Unreachable, error_for_status
from vendor_http.retry import Retry
from vendor_http.session import VendorSession

PIECE_BYTES = 1 << 20
KEPT_HEADERS = ("etag", "last-modified", "content-length", "content-type", "date")


@dataclass(frozen=True)
class Fetched:
    """A batch that lies in the staging store, its fingerprint for later looks, and where its raw file is local."""

    folder: Path
    seen: Seen
    raw: Path


def fetch_batch(
    url: str,
    access: LinkAccess,
    place: tuple[Path, str],
    work: Path,
    form: str,
    max_bytes: int,
    retry: Retry | None = None,
) -> Fetched:
    """Fetch a batch into its folder.

    Args:
        url: the whole result link.
        access: what opens it.
        place: the staging store and the publisher's name.
        work: a local folder of this task alone; of a batch in a store, the raw file stays there.
        form: ``xml`` or ``json``; the file's extension.
        max_bytes: a longer batch is refused.
        retry: how patiently.

    Raises:
        TransientError: it could not be fetched whole; waiting may mend it.
        PermanentError: it is refused.
        BadInput: it is longer than ``max_bytes``.
    """

    def attempt(_number: int) -> Fetched:
        return _store(url, access, place, work / f"raw.{form}", max_bytes)

    return (retry or Retry()).run(f"fetch of {public_link(url)}", attempt)


def _store(url: str, access: LinkAccess, place: tuple[Path, str], raw: Path, max_bytes: int) -> Fetched:
    started_at = _now()
    with _opened(url, access) as (status, headers, pieces):
        size, sha256, head = _save(pieces, raw, max_bytes)
    promised = length_of(headers)
    if promised is not None and promised != size:
        raise Unreachable(f"GET {public_link(url)}: {size:,} of {promised:,} bytes came.")
    record = {
        "url": public_link(url),
        "status": status,
        "headers": {name: headers.get(name) for name in KEPT_HEADERS},
        "started_at": started_at,
        "finished_at": _now(),
        "bytes": size,
        "sha256": sha256,
        "content_length": promised,
    }
    target = batch_folder(*place, sha256)
    index.register(target)
    raw = move_file(raw, target / raw.name)  # the same bytes may lie there already, from an earlier fetch
    write_json(target / FETCH, record)
    return Fetched(folder=target, seen=seen_from(headers, head), raw=raw)


def _save(pieces: Iterator[bytes], path: Path, max_bytes: int) -> tuple[int, str, bytes]:
    size, digest, head = 0, hashlib.sha256(), b""
    with path.open("wb") as handle:
        for piece in pieces:
            size += len(piece)
            if size > max_bytes:
                raise BadInput(f"the batch is longer than batch.max_bytes ({max_bytes:,}); it was not kept")
            if len(head) < HEAD_BYTES:
                head += piece[: HEAD_BYTES - len(head)]
            digest.update(piece)
            handle.write(piece)
    return size, digest.hexdigest(), head


@contextmanager
def _opened(url: str, access: LinkAccess) -> Iterator[tuple[int, dict[str, str], Iterator[bytes]]]:
    if not is_http(url):
        with _opened_in_store(url, access) as opened:
            yield opened
        return
    headers = {**access.headers, "Accept-Encoding": "identity"}
    with (
        VendorSession(access.timeouts, access.verify) as session,
        _get(session, url, headers) as response,
    ):
        if response.status_code != 200:
            first = next(response.iter_content(4096), b"")
            raise error_for_status(response.status_code, "GET", urlsplit(url).path, first, response.headers)
        yield 200, {name.lower(): value for name, value in response.headers.items()}, _pieces(response, url)


def _get(session: VendorSession, url: str, headers: dict[str, str]) -> requests.Response:
    try:
        return session.get(url, headers=headers, stream=True)
    except ValueError as error:
        raise Unreachable(f"GET {public_link(url)}: it redirects to what is no URL.") from error


def _pieces(response: requests.Response, url: str) -> Iterator[bytes]:
    try:
        yield from response.iter_content(PIECE_BYTES)
    except requests.RequestException as error:
        raise Unreachable(f"GET {public_link(url)}: broke off ({type(error).__name__}).") from error


@contextmanager
def _opened_in_store(url: str, access: LinkAccess) -> Iterator[tuple[int, dict[str, str], Iterator[bytes]]]:
    path = open_store(url, access)
    try:
        with words(public_link(url)):
            headers = store_headers(path.stat())
            with path.open("rb") as handle:
                yield 200, headers, iter(lambda: handle.read(PIECE_BYTES), b"")
    except (FileNotFoundError, ConfigError, StoreError) as error:
        raise Unreachable(f"cannot be read: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat()
