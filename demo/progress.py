"""What a person sees while the demo works: one line, rewritten on a terminal, added now and then elsewhere."""

import sys
import time


class Progress:
    """A line that says what goes on and for how long."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._shown = ""
        self._last = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def step(self, text: str) -> None:
        """Say something that stays."""
        self._end_line()
        print(f"{self.seconds:6.1f} s  {text}", flush=True)

    def show(self, text: str) -> None:
        """Say something that the next word replaces."""
        if sys.stdout.isatty():
            line = f"{self.seconds:6.1f} s  … {text}"
            print("\r" + line.ljust(len(self._shown)), end="", flush=True)
            self._shown = line
        elif text != self._shown and time.monotonic() - self._last >= 5:
            print(f"{self.seconds:6.1f} s  … {text}", flush=True)
            self._shown, self._last = text, time.monotonic()

    def _end_line(self) -> None:
        if self._shown and sys.stdout.isatty():
            print("\r" + " " * len(self._shown) + "\r", end="")
        self._shown = ""
