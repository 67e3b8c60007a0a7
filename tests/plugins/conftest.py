"""Small real servers for tests of clients."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = Callable[[Any], None]
Serve = Callable[[Answer], str]


class QuietServer(ThreadingHTTPServer):
    """Clients that go away in the middle are part of the tests."""

    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server whose every request is answered by the given function of the request handler; gives its URL."""
    with contextlib.ExitStack() as servers:

        def start(answer: Answer) -> str:
            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"
                disable_nagle_algorithm = True  # head and body are two packets

                def log_message(self, *arguments: Any) -> None:
                    pass

                def do_GET(self) -> None:
                    answer(self)

                do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

                def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    if "Content_Length" not in headers:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def take(self) -> bytes:
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            server = QuietServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            servers.callback(server.server_close)
            servers.callback(thread.join)
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield start
