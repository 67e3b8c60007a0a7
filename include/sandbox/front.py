"""The first thing a request meets: its faults, its entry in the journal, the Date header, and the end of its body.

An answer that is given before the body was read is followed by reading on for a while: closing at once would make
the client's system drop the answer together with the connection.
"""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from include.sandbox.clock import Clock, http_date
from include.sandbox.faults import SOCKET_FAULTS, STATUS_FAULTS, Fault, Faults
from include.sandbox.journal import Entry, Journal, path_without_ids

LINGER_SECONDS = 5.0
SMALL_BODY = 65_536  # read to its end before the answer, so that the connection can be used again
VENDOR_PATHS = ("/v1/", "/batches/", "/api/", "/advisable/")
REASONS = {"401": "the signature does not fit", "429": "too many requests"}
log = logging.getLogger("include.sandbox")


class Front:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, faults: Faults, journal: Journal, clock: Clock) -> None:
        self.app, self.faults, self.journal, self.clock = app, faults, journal, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or let it meet its fault."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        fault = self.faults.take(*STATUS_FAULTS, *SOCKET_FAULTS, path=path)
        exchange = Exchange(scope, receive, send, fault, self.clock)
        try:
            if fault and fault.fault in STATUS_FAULTS:
                await exchange.answer_fault()
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the server stops, and has waited long enough
            await exchange.reset()
        finally:
            if path.startswith(VENDOR_PATHS):
                self._note(exchange)

    def _note(self, exchange: "Exchange") -> None:
        seconds = time.monotonic() - exchange.started
        entry: Entry = {
            "method": exchange.scope["method"],
            "path": path_without_ids(exchange.scope["path"]),
            "status": exchange.status,
            "bytes": exchange.received,
            "bytes_sent": exchange.sent,
            "seconds": round(seconds, 3),
            "started_at": exchange.started_at.isoformat().replace("+00:00", "Z"),
            "fault": exchange.fault.fault if exchange.fault else None,
        }
        self.journal.note(entry)
        log.info(
            "%s %s %s  %.1f MB in, %.1f MB out, %.2f s%s",
            entry["method"],
            entry["path"],
            entry["status"] or "reset",
            entry["bytes"] / 1e6,
            entry["bytes_sent"] / 1e6,
            seconds,
            f"  (fault {entry['fault']})" if entry["fault"] else "",
        )


class Exchange:
    """One request and its answer, with the fault it meets."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, fault: Fault | None, clock: Clock) -> None:
        self.scope, self.fault, self.clock = scope, fault, clock
        self._receive, self._send = receive, send
        self.started, self.started_at = time.monotonic(), datetime.now(UTC)
        self.status: int | None = None
        self.received = self.sent = 0
        headers = dict(scope["headers"])
        self._length = int(headers.get(b"content-length", 0))
        self._body_left = self._length > 0 or b"transfer-encoding" in headers
        cut = fault is not None and fault.fault == "reset_mid_body"
        self._cut_body, self._cut_answer = cut and self._body_left, cut and not self._body_left
        self._gone = False

    async def receive(self) -> Message:
        """The next piece of the body, slowed down or cut off where the fault says so."""
        if self._gone:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            return message
        size = len(message.get("body", b""))
        self.received += size
        self._body_left = message.get("more_body", False)
        if self.fault and self.fault.fault == "slow_read":
            await asyncio.sleep(size / self.fault.bytes_per_second)
        if self._cut_body and self.received >= self._cut_point(self._length):
            return await self.reset()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, or break the connection where the fault says so."""
        if self._gone:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
        else:
            await self._body(message)

    async def answer_fault(self) -> None:
        """The answer that a status fault asks for, before the body is read."""
        assert self.fault is not None
        status = int(self.fault.fault)
        reason = REASONS.get(self.fault.fault, "the service is not available")
        body = json.dumps(_as_the_vendor(self.scope["path"], status, f"{reason} (a fault that was asked for)")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if self.fault.retry_after is not None:
            headers.append((b"retry-after", str(self.fault.retry_after).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def _start(self, message: Message) -> None:
        if self.fault and self.fault.fault == "reset_after_store" and message["status"] < 300:
            await self.reset()
            return
        if self._body_left and self._length <= SMALL_BODY:
            await self._read_on()
        self.status = message["status"]
        headers = [*message.get("headers", []), (b"date", http_date(self.clock.now()).encode())]
        if self._body_left:
            headers.append((b"connection", b"close"))
        self._length = int(dict(headers).get(b"content-length", 0))
        await self._send({**message, "headers": headers})

    async def _body(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._cut_answer and self.sent + len(body) >= self._cut_point(self._length):
            await self._send_some_and_reset(body[: self._cut_point(self._length) - self.sent])
            return
        self.sent += len(body)
        if more or not self._body_left:
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._read_on()
        await self._send({"type": "http.response.body", "body": b""})

    async def _read_on(self) -> None:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._body_left and not self._gone:
                    message = await self._receive()
                    self._gone = message["type"] == "http.disconnect"
                    self._body_left = message.get("more_body", False)
        except TimeoutError:
            pass

    def _cut_point(self, length: int) -> int:
        assert self.fault is not None
        return length // 2 if self.fault.after_bytes is None else self.fault.after_bytes

    async def _send_some_and_reset(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0.05)  # what was sent should arrive; the reset would overtake it
        await self.reset()

    async def reset(self) -> Message:
        """Break the connection; gives the message that says so."""
        self._gone, self.status = True, None
        self.scope["extensions"]["sandbox.reset"]()
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message


def _as_the_vendor(path: str, status: int, reason: str) -> dict[str, object]:
    """An error in the shape of the vendor whose path it is."""
    if path.startswith("/api/v3/"):
        return {"status": "error", "meta": [], "message": reason}
    if path.startswith("/api/"):
        return {"errors": [{"id": "fault", "status": status, "code": "error", "title": reason, "detail": reason}]}
    if path.startswith("/advisable/"):
        return {"error": {"code": status, "message": reason}}
    return {"reason": reason}
