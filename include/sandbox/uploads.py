"""Uploads: received onto disk piece by piece, checked, and made part of the state.

Users are checked before the answer and replace the stored set. Transactions are answered once they are stored; their
lines are checked in the background, and one bad line cancels the whole file.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from include.sandbox.answers import ClientGone, Refused
from include.sandbox.clock import Clock
from include.sandbox.lines import BadLine, Format, Kind, load
from include.sandbox.multipart import FileField, boundary_of
from include.sandbox.settings import Settings
from include.sandbox.store import Store, Upload

BLOCK = 4 * 1024 * 1024
ENVELOPE = 20_000  # what the multipart form may add to the size of its file
FORMATS: Mapping[str, Format] = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv"}
log = logging.getLogger("include.sandbox")


class Disk:
    """Writes big blocks in a thread while the next pieces arrive."""

    def __init__(self, handle: BinaryIO) -> None:
        self.size = 0
        self._handle = handle
        self._pieces: list[bytes] = []
        self._held = 0
        self._writing: asyncio.Future[None] | None = None

    async def write(self, piece: bytes) -> None:
        """Take a piece; at most two blocks are held at a time."""
        self._pieces.append(piece)
        self._held += len(piece)
        self.size += len(piece)
        if self._held >= BLOCK:
            await self.flush()

    async def flush(self) -> None:
        """Start writing what is held, after what is being written."""
        await self.settle()
        pieces, self._pieces, self._held = self._pieces, [], 0
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._handle.writelines, pieces)

    async def settle(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await asyncio.shield(self._writing)  # a cancelled upload must not close the file under the writer
            self._writing = None


async def receive(request: Request, target: Path, limit: int, seconds: float) -> tuple[int, str]:
    """Receive the file of a multipart body onto disk; gives its size and its name.

    Raises:
        Refused: 408 too slow, 413 too large, 422 not the documented form.
        ClientGone: the connection was closed before the end.
    """
    field = FileField(boundary_of(request.headers.get("content-type", "")))
    if int(request.headers.get("content-length", 0)) > limit + ENVELOPE:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            with target.open("wb") as handle:
                size = await _receive_onto(Disk(handle), request, field, limit)
    except TimeoutError:
        raise Refused(408, f"the upload took longer than {seconds:g} s and was cancelled") from None
    field.finish()
    return size, field.filename or ""


async def _receive_onto(disk: Disk, request: Request, field: FileField, limit: int) -> int:
    more = True
    try:
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            await disk.write(field.feed(message["body"]))
            if disk.size > limit:
                raise _too_large(limit)
        await disk.flush()
    finally:
        await disk.settle()
    return disk.size


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the file is larger than {limit:,} bytes; nothing was stored")


class Uploads:
    """The two uploads of the vendor, over one store."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self.store, self.settings, self.clock = store, settings, clock
        self._replacing = asyncio.Lock()

    async def users(self, request: Request) -> None:
        """Take a user set; it replaces the stored one if every line is in order.

        Raises:
            Refused: the upload, or one of its lines, is not as documented; the stored set is untouched.
        """
        upload = await self._receive(request, "users", self.settings.users_limit)
        async with self._replacing:
            await asyncio.to_thread(self._replace_users, upload)

    async def transactions(self, request: Request) -> Upload:
        """Take a file of transactions; what is returned still has to be processed.

        Raises:
            Refused: the upload is not as documented.
        """
        upload = await self._receive(request, "transactions", self.settings.transactions_limit)
        self.store.note(upload)
        return upload

    def process(self, upload: Upload) -> None:
        """Check stored transactions and add them, or cancel the file. Runs in a thread; can be repeated."""
        number, body = upload["id"], self.store.body(upload["id"])
        upload = {**upload, "sha256": _sha256(body)}
        target = self.store.transactions_target(number)
        try:
            rows = load(body, "transactions", upload["format"], target, self.store.database)
            self.store.note({**upload, "state": "accepted", "rows": rows})
        except BadLine as error:
            self.store.note({**upload, "state": "cancelled", "line": error.line, "reason": str(error)})
        body.unlink(missing_ok=True)

    async def _receive(self, request: Request, kind: Kind, limit: int) -> Upload:
        number = self.store.next_id()
        body = self.store.body(number)
        try:
            size, name = await receive(request, body, limit, self.settings.upload_seconds)
            form = _format_of(body, name, kind)
        except BaseException:
            body.unlink(missing_ok=True)
            raise
        return {
            "id": number,
            "kind": kind,
            "format": form,
            "state": "processing",
            "bytes": size,
            "sha256": None,
            "rows": None,
            "received_at": self.clock.now().isoformat(),
            "line": None,
            "reason": None,
        }

    def _replace_users(self, upload: Upload) -> None:
        number, body = upload["id"], self.store.body(upload["id"])
        upload = {**upload, "sha256": _sha256(body)}
        try:
            rows = load(body, "users", upload["format"], self.store.users_target(number), self.store.database)
        except BadLine as error:
            self.store.note({**upload, "state": "cancelled", "line": error.line, "reason": str(error)})
            raise Refused(422, f"{error}; the stored users are unchanged", line=error.line) from None
        finally:
            body.unlink(missing_ok=True)
        self.store.replace_users(number, rows, self.clock.now())
        self.store.note({**upload, "state": "accepted", "rows": rows})


def _format_of(body: Path, name: str, kind: Kind) -> Format:
    """By extension and content, which must agree. Only users may come without a known extension."""
    with body.open("rb") as handle:
        start = handle.read(4096).lstrip(b" \t\r\n")
    looks: Format = "json" if start.startswith(b"{") else "csv"
    suffix = Path(name).suffix.lower()
    named = FORMATS.get(suffix)
    if named is None and kind == "transactions":
        raise Refused(422, f"the file's extension is {suffix or 'missing'}; documented are .json and .csv")
    if start and named is not None and named != looks:
        content = "JSON Lines" if looks == "json" else "no JSON Lines"
        raise Refused(422, f"the file's extension is {suffix}, but it holds {content}")
    return named or looks


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
