"""Starting a sandbox: as a server of its own, or inside a process (for tests) with :func:`running`."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from include.errors import ConfigError
from include.sandbox.app import create_app
from include.sandbox.parts import Parts
from include.sandbox.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 1


@dataclass(frozen=True)
class Running:
    """A sandbox that answers at ``url``."""

    url: str
    parts: Parts

    @property
    def tracker(self) -> str:
        """The tracker that it serves."""
        return self.parts.settings.tracker

    @property
    def private_key(self) -> str:
        """The key that requests must be signed with."""
        return self.parts.settings.private_key

    @property
    def state(self) -> Path:
        """The folder that its state lies in."""
        return self.parts.settings.state


class Protocol(HttpToolsProtocol):
    """HTTP with a way to break the connection, for the faults that do so."""

    def on_message_begin(self) -> None:
        """Give each request the means to reset its connection."""
        super().on_message_begin()
        self.scope["extensions"] = {"sandbox.reset": self.reset}  # type: ignore[dict-item]

    def reset(self) -> None:
        """Close without lingering: the client sees the connection reset, not ended."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def prepare(settings: Settings, host: str, port: int) -> tuple[Parts, socket.socket]:
    """The parts of a sandbox, and the socket that it will listen on.

    Raises:
        ConfigError: the address or the state folder cannot be used.
        BadInput: the catalogue cannot be read.
    """
    parts = Parts(settings)
    try:
        return parts, listen(host, port)
    except ConfigError:
        parts.store.close()
        raise


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 finds a free one.

    Raises:
        ConfigError: the address cannot be used.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}. Choose another with --port.") from None


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, but it notices at once that it shall stop."""

    async def main_loop(self) -> None:
        """Wait for the end."""
        while not self.should_exit:
            await asyncio.sleep(0.02)


def server_for(parts: Parts, listener: socket.socket) -> Server:
    """A server for these parts, that is not running yet."""
    parts.publisher.base_url = parts.settings.public_url or url_of(listener)
    config = uvicorn.Config(
        create_app(parts),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Server(config)


@contextmanager
def running(state: Path, **settings: Any) -> Iterator[Running]:
    """A sandbox on a free local port, in a thread, until the block ends. ``settings`` are those of ``Settings``.

    Raises:
        ConfigError: a setting is wrong.
        RuntimeError: the server did not start.
    """
    parts, listener = prepare(Settings(state=state, **settings), "127.0.0.1", 0)
    server = server_for(parts, listener)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
    started = Running(url_of(listener), parts)
    thread.start()
    try:
        _wait_for(server, thread)
        yield started
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    waiting = threading.Event()
    for _ in range(int(START_SECONDS / 0.01)):
        if server.started:
            return
        if not thread.is_alive():
            break
        waiting.wait(0.01)
    raise RuntimeError("the sandbox did not start; its log says why")
