"""A TCP forwarder that stops a conversation at a given piece of it: so the moment of a kill is certain.

Services listen on loopback; machines reach them through a gate. ``hold`` names a pattern in what clients send; the
connection that sends it is stopped there, until it is released, or dropped with all that came after that point.
"""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

PIECE = 65536


class Hold:
    """One stop: ``reached`` is set when a connection stands at it, and ``peer`` is where it comes from."""

    def __init__(self, pattern: str, after: int, nth: int) -> None:
        self.pattern, self.after, self.nth = re.compile(pattern.encode()), after, nth
        self.reached, self._released = threading.Event(), threading.Event()
        self.dropped = False
        self.peer = ""

    def wait(self, seconds: float) -> None:
        """Until a connection stands here."""
        assert self.reached.wait(seconds), f"nobody sent {self.pattern.pattern!r} within {seconds:.0f} s"

    def release(self) -> None:
        """Let it, and all that come after it, pass."""
        self._released.set()

    def drop(self) -> None:
        """Break it off, as if its client had died there, whatever it had sent meanwhile; let all others pass."""
        self.dropped = True
        self._released.set()

    def stops(self, data: bytes) -> int | None:
        """How many bytes may pass if this piece is to be stopped; else None."""
        if self.reached.is_set() or self._released.is_set():
            return None
        found = self.pattern.search(data)
        if not found:
            return None
        self.nth -= 1
        return None if self.nth else found.start() + self.after

    async def passed(self) -> None:
        while not self._released.is_set():
            await asyncio.sleep(0.02)


class Gate:
    """Forwards ``host:port`` to ``target``; made by :func:`gates`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self.port = target, 0
        self._holds: list[Hold] = []
        self._serving: set[asyncio.Task[None] | None] = set()

    def hold(self, pattern: str, after: int = 0, nth: int = 1) -> Hold:
        """Stop the connection that sends the pattern for the ``nth`` time, ``after`` bytes from its start."""
        hold = Hold(pattern, after, nth)
        self._holds.append(hold)
        return hold

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())  # the loop itself holds tasks by weak references only
        try:
            back, forth = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, forth, writer.get_extra_info("peername")[0]), _copy(back, writer))
        forth.transport.abort()
        writer.transport.abort()
        self._serving.discard(asyncio.current_task())

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        while data := await reader.read(PIECE):
            for hold in self._holds:
                cut = hold.stops(data)
                if cut is not None:
                    hold.peer = peer
                    data = await self._stand(hold, cut, data, reader, writer)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    @staticmethod
    async def _stand(
        hold: Hold, cut: int, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Pass ``cut`` bytes, then stand; gives what is to be passed afterwards."""
        while len(data) < cut:
            writer.write(data)
            cut, data = cut - len(data), await _piece(reader)
        writer.write(data[:cut])
        await writer.drain()
        hold.reached.set()
        rest, passed = data[cut:], asyncio.ensure_future(hold.passed())
        while not passed.done():
            more = asyncio.ensure_future(reader.read(PIECE))
            await asyncio.wait({passed, more}, return_when=asyncio.FIRST_COMPLETED)
            if not more.done():
                more.cancel()
                await asyncio.wait({more})
            elif not more.result():
                passed.cancel()
                raise ConnectionResetError("the client is gone")
            else:
                rest += more.result()
        if hold.dropped:
            raise ConnectionResetError("it was dropped")
        return rest


async def _piece(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(PIECE)
    if not data:
        raise ConnectionResetError("the client is gone")
    return data


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextmanager
def gates(host: str, **targets: tuple[str, int]) -> Iterator[dict[str, Gate]]:
    """Gates to these services, on free ports of ``host``, while the block lasts."""
    loop, made = asyncio.new_event_loop(), {name: Gate(target) for name, target in targets.items()}
    thread = threading.Thread(target=loop.run_forever, name="gates", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    servers: list[asyncio.Server] = []
    try:
        for gate in made.values():
            servers.append(run(asyncio.start_server(gate.serve, host, 0)))
            gate.port = servers[-1].sockets[0].getsockname()[1]
        yield made
    finally:
        run(_stop(servers))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.1)  # transports that were aborted are closed by the loop
