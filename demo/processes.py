"""The demo's processes: each in a process group of its own, its output in a file, and gone when the demo ends."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

GRACE_SECONDS = 10


class DemoError(Exception):
    """The demo cannot go on; the sentence says why and where to look."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block lasts; at its end the whole process group is stopped, by force if it must be.

    Airflow's standalone passes SIGTERM on to none of its children, so the signal goes to the group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        stop_group(process)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A Ctrl-C, or a wish that this process end, does not break the block off."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, wait, then insist."""
    with undisturbed():
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stop in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, stop)
        except ProcessLookupError:
            break
        until = time.monotonic() + GRACE_SECONDS
        while group_lives(process) and time.monotonic() < until:
            time.sleep(0.2)
        if not group_lives(process):
            break


def group_lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group is left."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
