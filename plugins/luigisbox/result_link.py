"""One look at the result link, and what it means; repeated until something is worth fetching.

A look is a conditional GET that is closed after the headers and the first 64 KiB, or a ``stat`` and the first 64 KiB
where the link is a file or an object in a store. The trigger and the synchronous mode run the very same ``watch``.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from include.errors import ConfigError, StoreError
from include.object_files import words
from include.recommendations.freshness import Seen, still_waiting
from luigisbox.connections import LinkAccess, is_http
from luigisbox.watching import Surroundings, repeat
from vendor_http.errors import PermanentError, Redirected, clean, error_for_status
from vendor_http.session import MAX_REDIRECTS, USER_AGENT, check_redirect, origin
from vendor_http.shared_transport import shared_transport

HEAD_BYTES = 65_536
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Look:
    """What one look found: something (``seen``), nothing new (``unchanged``), or why there is nothing (``reason``)."""

    seen: Seen | None = None
    unchanged: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Watch:
    """What is waited for: the link, since when a batch counts, till when, and the looks that were refused already.

    ``deadline`` is in epoch seconds; ``reason`` is the last one known, for the sentence at the deadline.
    """

    url: str
    not_before: datetime
    deadline: float
    poll_seconds: float
    refused: Sequence[Seen] = ()
    reason: str = "no look at the link yet"
    access: LinkAccess = field(default_factory=LinkAccess)


def resolve_link(link: str, access: LinkAccess) -> str:
    """The whole link: one that starts with ``/`` is on the host of the connection.

    Raises:
        ConfigError: it is on no host; or it is on another host than the connection, whose secrets are not for it.
    """
    if not link.startswith("/"):
        if access.base_url and origin(link) != origin(access.base_url):
            raise ConfigError(
                f"batch.link: {public_link(link)} is not on the host of its connection, {access.base_url}"
            )
        return link
    if not access.base_url:
        raise ConfigError(f"batch.link: {link} needs a connection that names the host")
    return access.base_url + link


def public_link(url: str) -> str:
    """A link as it may be shown: without credentials; a query is only hinted at."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


async def look(url: str, access: LinkAccess, known: Seen | None = None) -> Look:
    """Look once; ``known`` is an earlier look whose validators make this one conditional.

    Raises:
        PermanentError: waiting cannot mend it (credentials refused, a redirect to another host).
    """
    import httpx

    if not is_http(url):
        return await asyncio.to_thread(_look_in_store, url, access)
    try:
        async with shared_transport(url, access.verify) as transport:
            return await _look_over_http(transport, url, access, known)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Look(reason=clean(f"the link cannot be reached ({type(error).__name__}: {error})"))


async def _look_over_http(transport: Any, url: str, access: LinkAccess, known: Seen | None) -> Look:
    for _ in range(MAX_REDIRECTS + 1):
        async with aclosing(await transport.handle_async_request(_request(url, access, known))) as response:
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return await _judge_answer(response, url)
            try:
                url = check_redirect(url, response.headers["location"])
            except ValueError:
                return Look(reason=f"the link redirects (answered {response.status_code}) to what is no URL")
    raise Redirected(f"{public_link(url)}: more than {MAX_REDIRECTS} redirects")


def _request(url: str, access: LinkAccess, known: Seen | None) -> Any:
    import httpx

    headers = {**access.headers, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **_conditions(known)}
    limits = httpx.Timeout(access.timeouts.read, connect=access.timeouts.connect)
    return httpx.Request("GET", _parsed(url), headers=headers, extensions={"timeout": limits.as_dict()})


@lru_cache(maxsize=4096)
def _parsed(url: str) -> Any:
    """Reading a URL takes a third of a look; the same links come again and again."""
    import httpx

    return httpx.URL(url)


async def _judge_answer(response: Any, url: str) -> Look:
    if response.status_code == 304:
        await response.aread()  # of nothing; without it the connection could not be used again
        return Look(unchanged=True)
    head = bytearray()
    async for piece in response.aiter_raw():
        head += piece
        if len(head) >= HEAD_BYTES:
            break
    if response.status_code == 200:
        return Look(seen=seen_from(response.headers, bytes(head[:HEAD_BYTES])))
    if response.status_code in (403, 404, 410):
        return Look(reason=f"nothing is published at the link yet (answered {response.status_code})")
    error = error_for_status(response.status_code, "GET", urlsplit(url).path, bytes(head[:4096]), response.headers)
    if isinstance(error, PermanentError):
        raise error
    return Look(reason=str(error))


def seen_from(headers: Any, head: bytes) -> Seen:
    """The fingerprint of an answer: validators that could be sent back, length, and the hash of its first 64 KiB."""
    etag, modified = headers.get("etag"), headers.get("last-modified")
    return Seen(
        etag=etag if etag and etag.isascii() else None,
        last_modified=modified if modified and modified.isascii() else None,
        length=length_of(headers),
        head_sha256=hashlib.sha256(head[:HEAD_BYTES]).hexdigest(),
    )


def length_of(headers: Any) -> int | None:
    """The announced length in bytes; None if it is missing or no number."""
    text = headers.get("content-length") or ""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _conditions(known: Seen | None) -> dict[str, str]:
    """An ETag is exact; the date is sent only where there is none."""
    if known and known.etag:
        return {"If-None-Match": known.etag}
    if known and known.last_modified:
        return {"If-Modified-Since": known.last_modified}
    return {}


def open_store(url: str, access: LinkAccess) -> Any:
    """The path of a link that is a file or an object in a store.

    Raises:
        ConfigError: no provider for that kind of store is installed.
    """
    from airflow.sdk import ObjectStoragePath

    path: Any = ObjectStoragePath(url, conn_id=access.store_connection)
    try:
        _ = path.fs
    except ValueError as error:
        raise ConfigError(f"batch.link: {public_link(url)}: {error}; install its Airflow provider") from error
    return path


def store_headers(stat: Mapping[str, Any]) -> dict[str, str]:
    """What a file or an object says about itself, in the words of HTTP."""
    headers = {"content-length": str(stat["size"])}
    modified = stat.get("LastModified") or stat.get("mtime")
    seconds = modified.timestamp() if isinstance(modified, datetime) else modified
    if isinstance(seconds, int | float):
        headers["last-modified"] = formatdate(seconds, usegmt=True)
        headers["etag"] = f'"{int(seconds * 1e6):x}-{stat["size"]:x}"'
    etag = stat.get("ETag") or stat.get("etag")
    return {**headers, "etag": str(etag)} if etag else headers


def _look_in_store(url: str, access: LinkAccess) -> Look:
    path = open_store(url, access)
    try:
        with words(public_link(url)):
            headers = store_headers(path.stat())
            with path.open("rb") as handle:
                return Look(seen=seen_from(headers, handle.read(HEAD_BYTES)))
    except FileNotFoundError:
        return Look(reason="nothing is published at the link yet (no such file)")
    except (ConfigError, StoreError) as error:
        return Look(reason=f"the link cannot be read: {error}")


async def watch(what: Watch, around: Surroundings | None = None) -> dict[str, Any]:
    """Look again and again until something is worth fetching, or the deadline.

    Returns:
        ``{"status": "found" | "deadline" | "error", "reason": why it was waiting, or what is wrong}``
    """
    async with shared_transport(what.url, what.access.verify) if is_http(what.url) else nullcontext():
        memory, here = Memory(what), around or Surroundings()
        return await repeat(partial(look_once, what, memory), what.deadline, what.poll_seconds, what.reason, here)


class Memory:
    """The last thing that was seen at the link, and why it was not enough: if it is unchanged, so is the reason."""

    def __init__(self, what: Watch) -> None:
        self.seen = what.refused[-1] if what.refused else None
        self.reason = what.reason


async def look_once(what: Watch, memory: Memory) -> dict[str, Any]:
    """One look and what it means.

    Returns:
        an event like that of ``watch``, or with status ``waiting``.
    """
    try:
        found = await look(what.url, what.access, memory.seen)
    except (PermanentError, ConfigError) as error:
        return {"status": "error", "reason": str(error)}
    if found.unchanged:
        return {"status": "waiting", "reason": memory.reason}
    if found.seen is None:
        return {"status": "waiting", "reason": found.reason}
    why = still_waiting(found.seen, what.refused, what.not_before)
    if why is None:
        return {"status": "found", "reason": ""}
    refused_before = still_waiting(found.seen, (), what.not_before) is None
    memory.seen, memory.reason = found.seen, what.reason if refused_before else why
    return {"status": "waiting", "reason": memory.reason}
