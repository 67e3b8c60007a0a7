"""A proxy between us and an S3 server, over real sockets, that breaks what tests ask it to break."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[[str, str], str | None]
"""Given method and path with query, the name of a fault, or None."""


class Faults:
    """What to break next, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._waiting: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()

    def add(self, fault: str, method: str, part: str = "", times: int = 1) -> None:
        """Break the next requests of a method whose path and query have that part in them.

        ``cut``: half of the answer comes, then the connection ends; ``cut_body``: the server never gets the whole
        request; ``lost``: it is done, the answer never comes; ``short``: half of the answer comes, and claims to be
        all; ``slow``: the answer begins after two seconds; a number: an answer with that status.
        """
        with self._lock:
            self._waiting += [(fault, method, part)] * times

    def forget(self) -> None:
        """Break nothing more."""
        with self._lock:
            self._waiting.clear()
            self.asked.clear()

    def next(self, method: str, path: str) -> str | None:
        """The fault of a request, once."""
        with self._lock:
            self.asked.append(f"{method} {path}")
            for waiting in self._waiting:
                if waiting[1] == method and waiting[2] in path:
                    self._waiting.remove(waiting)
                    return waiting[0]
        return None


@contextmanager
def faulty(address: str) -> Iterator[tuple[str, Faults]]:
    """Start one before the server at ``address``; gives its own address, and what to tell it."""
    faults = Faults()

    class Handler(_Handler):
        server_at = urlsplit(address).netloc
        told = faults

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_at: str
    told: Faults
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        fault = self.told.next(self.command, self.path) or ""
        size = int(self.headers.get("Content-Length", 0))
        if fault == "cut_body":
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault.isdecimal():
            self._answer(int(fault), {}, b"", "")
            return
        if fault == "slow":
            time.sleep(2)
        upstream = http.client.HTTPConnection(self.server_at, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OURS}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length", "0")
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(answer.status, headers, content, fault)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, fault: str) -> None:
        half = content[: len(content) // 2]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(half if fault == "short" else content)))
        self.end_headers()
        self.wfile.write(half if fault in ("cut", "short") else content)
        self.close_connection = fault == "cut"

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names that its base asks for

    def log_message(self, *values: object) -> None:
        """Say nothing."""


_OURS = ("content-length", "connection", "transfer-encoding", "date", "server")
