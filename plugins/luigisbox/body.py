"""The body of an upload: files in their order as one multipart part, streamed in 1 MiB pieces of a known length.

It counts and hashes what it sends and compares that with what the manifest promises *before* it sends the closing
boundary: without that boundary the other side never has a whole body, so a wrong file is never accepted there.
It also keeps the vendor's time limit: every piece has only the time that is left, and an upload that cannot make it
at the speed measured so far is given up early. A body is used for one attempt only.
"""

import hashlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from include.errors import BadInput
from vendor_http.errors import TooSlow

PIECE_BYTES = 1 << 20
PREDICT_AFTER = 0.25
"""From this share of the time limit on, the measured speed counts as the speed of the whole upload."""


@dataclass(frozen=True)
class Upload:
    """What is to be sent: the files, as which file name, and what the manifest says about them.

    ``bytes`` and ``sha256`` are those of the files' content put together in order.
    """

    files: Sequence[Path]
    name: str
    content_type: str
    bytes: int
    sha256: str


class MultipartBody:
    """One attempt's body: an iterator of pieces with a length, as ``requests`` takes it."""

    def __init__(
        self, upload: Upload, limit_seconds: float, stall_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.closing = False
        """True from the moment the closing boundary is handed over: from then on the vendor may have it all."""
        self.sent = 0
        self.started = clock()
        self._upload = upload
        self._limit = limit_seconds
        self._stall = stall_seconds
        self._clock = clock
        self._socket: socket.socket | None = None
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{upload.name}"\r\n'
            f"Content-Type: {upload.content_type}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + self._upload.bytes + len(self._tail)

    def attach(self, connection: socket.socket) -> None:
        """Take the socket, to limit the time of each piece."""
        self._socket = connection

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Give the pieces; each view is valid until the next one is asked for.

        Raises:
            BadInput: the files are not what the manifest says.
            TooSlow: the time limit passed, or will.
        """
        digest = hashlib.sha256()
        self._set_time_limit()
        yield self._head
        for piece in self._pieces():
            digest.update(piece)
            self._set_time_limit()
            yield piece
            self.sent += len(piece)
        self._verify(digest.hexdigest())
        self._set_time_limit()
        self.closing = True
        yield self._tail

    def late(self) -> TooSlow | None:
        """The error if the time limit has passed, or the upload cannot make it any more."""
        elapsed = self._clock() - self.started
        needed = elapsed * self._upload.bytes / self.sent if self.sent else 0.0
        if elapsed < self._limit and (elapsed < self._limit * PREDICT_AFTER or needed <= self._limit):
            return None
        speed = self.sent / max(elapsed, 1e-6) / 1e6
        return TooSlow(
            f"upload given up after {elapsed:.1f} s: {self.sent:,} of {self._upload.bytes:,} bytes sent at {speed:.3g} "
            f"MB/s; all of it must arrive within {self._limit:g} s. Nothing was stored. Send less, or faster."
        )

    def _pieces(self) -> Iterator[memoryview]:
        view = memoryview(bytearray(PIECE_BYTES))
        total = 0
        for path in self._upload.files:
            with path.open("rb", buffering=0) as handle:
                while size := handle.readinto(view):
                    total += size
                    if total > self._upload.bytes:
                        raise self._changed(f"more than the {self._upload.bytes:,} bytes it lists")
                    yield view[:size]

    def _verify(self, sha256: str) -> None:
        if self.sent != self._upload.bytes:
            raise self._changed(f"{self.sent:,} bytes, it lists {self._upload.bytes:,}")
        if sha256 != self._upload.sha256:
            raise self._changed(f"SHA-256 {sha256[:12]}…, it lists {self._upload.sha256[:12]}…")

    def _changed(self, what: str) -> BadInput:
        folder = self._upload.files[0].parent if self._upload.files else "no files"
        return BadInput(
            f"{folder}: the files are not what their manifest lists ({what}). The upload was broken off before its "
            "end, so nothing was stored. Build again: clear the build step of this run."
        )

    def _set_time_limit(self) -> None:
        if late := self.late():
            raise late
        if self._socket is not None:
            left = self._limit - (self._clock() - self.started)
            self._socket.settimeout(min(self._stall, max(left, 0.01)))
