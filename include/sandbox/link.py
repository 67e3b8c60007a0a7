"""The result link: a published file served as HTTP has it, with validators, ranges, compression and credentials.

Compressed bytes are another representation with another ETag; they are made when they are first asked for and then
kept beside the file, so that they have a length, and ranges of them are possible too.
"""

import asyncio
import gzip
import hmac
import re
import shutil
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from include.sandbox.answers import Refused
from include.sandbox.clock import http_date
from include.staging import atomic_write

_compressing = threading.Lock()
BLOCK = 1024 * 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
CONTENT_TYPES = {"xml": "application/xml; charset=utf-8", "json": "application/x-ndjson; charset=utf-8"}


@dataclass(frozen=True)
class Representation:
    """Bytes that can be served: a file (or only its first ``size`` bytes), with its validators."""

    path: Path
    size: int
    etag: str
    modified: datetime
    content_type: str
    encoding: str | None = None

    def headers(self) -> dict[str, str]:
        """What every answer about this representation carries."""
        headers = {
            "ETag": self.etag,
            "Last-Modified": http_date(self.modified),
            "Vary": "Accept-Encoding",
            "Cache-Control": "no-cache",
            "Accept-Ranges": "bytes",
        }
        return headers | ({"Content-Encoding": self.encoding} if self.encoding else {})


def check_credentials(request: Request, wanted: tuple[str, str] | None) -> None:
    """Let only those through that carry the header that is wanted.

    Raises:
        Refused: 401.
    """
    if wanted is None:
        return
    name, value = wanted
    if not hmac.compare_digest(request.headers.get(name, "").encode("latin-1"), value.encode("utf-8")):
        scheme = value.split()[0] if name == "authorization" else "Header"
        raise Refused(
            401, "the result link needs credentials", headers={"WWW-Authenticate": f'{scheme} realm="batches"'}
        )


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header asks for gzip."""
    for choice in header.lower().split(","):
        coding, _, parameters = choice.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters) is None
    return False


async def represent(path: Path, form: str, sha256: str, modified: datetime, *, compressed: bool) -> Representation:
    """The file as it is, or compressed; compresses it if that was not done yet."""
    if not compressed:
        return Representation(path, path.stat().st_size, f'"{sha256[:32]}"', modified, CONTENT_TYPES[form])
    packed = path.with_name(path.name + ".gz")
    await asyncio.to_thread(_compress, path, packed)
    return Representation(packed, packed.stat().st_size, f'"{sha256[:32]}-gzip"', modified, CONTENT_TYPES[form], "gzip")


def _compress(path: Path, packed: Path) -> None:
    with _compressing:
        if not packed.exists():
            _write_gzip(path, packed)


def _write_gzip(path: Path, packed: Path) -> None:
    with atomic_write(packed) as temporary, path.open("rb") as source, temporary.open("wb") as target:
        zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=target, mtime=0)
        shutil.copyfileobj(source, zipped, BLOCK)
        zipped.close()


def respond(request: Request, served: Representation) -> Response:
    """The answer to a GET or HEAD: 200, 206, 304 or 416.

    Raises:
        Refused: 416, the range lies outside.
    """
    headers = served.headers()
    if is_known(request, served):
        return Response(status_code=304, headers=headers)
    first, last, status = 0, served.size - 1, 200
    wanted = _range(request, served)
    if wanted is not None:
        first, last = wanted
        status = 206
        headers["Content-Range"] = f"bytes {first}-{last}/{served.size}"
    headers["Content-Length"] = str(last - first + 1)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=served.content_type)
    content = _read(served.path, first, last - first + 1)
    return StreamingResponse(content, status, headers, media_type=served.content_type)


def is_known(request: Request, served: Representation) -> bool:
    """Whether the client has these bytes already: If-None-Match, else If-Modified-Since."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in known or served.etag in known
    since = _moment(request.headers.get("if-modified-since", ""))
    return since is not None and served.modified.replace(microsecond=0) <= since


def _range(request: Request, served: Representation) -> tuple[int, int] | None:
    match = RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if request.method != "GET" or match is None or match.groups() == ("", ""):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition not in (served.etag, http_date(served.modified)):
        return None
    start, end = match.groups()
    if start:
        first, last = int(start), min(int(end or served.size), served.size - 1)
        if end and int(end) < first:
            return None
    else:
        first, last = max(0, served.size - int(end)), served.size - 1
    if first >= served.size or first > last:
        raise Refused(416, "the range lies outside the file", headers={"Content-Range": f"bytes */{served.size}"})
    return first, last


def _moment(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except ValueError:
        return None


async def _read(path: Path, first: int, length: int) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as handle:
        handle.seek(first)
        while length > 0:
            block = await asyncio.to_thread(handle.read, min(BLOCK, length))
            if not block:
                raise OSError(f"{path.name} is shorter than it was")
            length -= len(block)
            yield block
