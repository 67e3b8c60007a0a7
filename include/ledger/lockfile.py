"""A lock between processes of one machine: on a file, for as long as its holder lives."""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from include.staging import utc_text


class LockFile:
    """One process's hold on a lock file; whoever has it writes his name into it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: TextIO | None = None
        self._taken = False

    def take(self) -> bool:
        """Try once, without waiting.

        The lock is on the file that is open, not on its name: a file that was removed meanwhile keeps nobody away, so
        then the one that has the name now is tried.
        """
        while True:
            if self._handle is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = self._path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._taken = True
            if self.mine():
                return True
            self.free()

    def mine(self) -> bool:
        """Whether it is held, and its file still has the name by which others look for it."""
        if self._handle is None or not self._taken:
            return False
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def holder(self) -> str:
        """Who has it, for people."""
        if self._handle is None:
            return "it has just ended"
        self._handle.seek(0)
        return self._handle.read() or "it has not said who it is"

    def sign(self, by: str) -> None:
        """Write down who has it."""
        if self._handle is not None:
            self._handle.truncate(0)
            at = utc_text(datetime.now(UTC))[:19]
            self._handle.write(f"{by or 'somebody'}, process {os.getpid()}, since {at} UTC")
            self._handle.flush()

    def free(self) -> None:
        """Give it back; nothing happens if it is not held."""
        if self._handle is None:
            return
        with self._handle:
            if self._taken:
                self._handle.truncate(0)
                fcntl.flock(self._handle, fcntl.LOCK_UN)  # not by closing alone: a forked child may have it open
        self._handle, self._taken = None, False
