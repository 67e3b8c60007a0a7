"""How the cluster on this machine is told to end."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import __main__ as command


@pytest.fixture
def _ignored() -> Iterator[None]:
    """SIGINT and SIGTERM as a shell gives them to what it starts in the background; put back at the end."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_it_also_where_they_were_ignored(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)
        raise AssertionError("it went on")

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr("sys.argv", ["cluster"])
    assert command.main() == 130
