"""Processes and ports of this machine."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from demo.processes import DemoError

_DEATH_SIGNAL = 1


def spawn(command: Sequence[str], environment: Mapping[str, str], home: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output at the end of a log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )


def free_port() -> int:
    """A port that nobody listens on, from below those that the kernel gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise DemoError("no free port between 20000 and 32000")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])


def _end_with_parent() -> None:
    """Let the kernel end this process when its parent is gone, however that went."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and everything that it started, in whatever session."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
