"""Senders that die: a process that forks one for each job, and the watch that kills it with signal 9 at a given point.

``python -m tests.plugins.luigisbox.kill_child`` reads jobs from standard input, a JSON line each, and prints two lines
for each: ``number pid`` when its process is there, ``number = code`` when it has ended (negative: the signal). The line
``{"kill_number": 3}`` kills one. A job may also say where somebody ends its task: an exception is raised there. Only
this process imports; a fork costs milliseconds. It imports no Airflow, but for an object store.
"""

import contextlib
import json
import os
import select
import signal
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pandas  # noqa: F401 - pyarrow imports these three when they are first needed: once is enough
import psycopg

import luigisbox.body
from include.errors import NotReady
from include.ledger import Ledger, Unsettled, postgres_ledger, sqlite_ledger, tables  # noqa: F401
from include.objects import ObjectPath
from include.staging import staging_root, to_path
from include.transactions import changed, rest  # noqa: F401
from luigisbox.client import Client, Settings
from luigisbox.transactions import send_transactions
from vendor_http.retry import Retry

PIECE_BYTES = 256
SENT, FAILED, UNSETTLED, WAITING, ENDED = range(5)
"""Exit codes of a sender that was not killed."""
_TURNS = {
    ("call", Ledger.claim.__qualname__): "in the claim",
    ("return", Ledger.claim.__qualname__): "claimed, before the first byte",
    ("return", "SocketIO.readinto"): "answered, before it is read",
    ("return", "Client._post"): "after the answer, before the note",
    ("call", Ledger.settle.__qualname__): "in the note",
    ("return", Ledger.settle.__qualname__): "after the note",
}
BODY, CLOSING = "in the body", "after the body, before the answer"
PHASES = ("before the claim", "in the claim", "claimed, before the first byte", BODY, CLOSING)
PHASES += ("answered, before it is read", "after the answer, before the note", "in the note", "after the note")


class Watch:
    """Follows every call and return of a sender, and kills its process at the given event of a phase.

    Or it ends it as a signal's handler does, by an exception. Without a point it only counts the events, so that points
    can be chosen among them.
    """

    def __init__(self, phase: str = "", number: int = -1, *, kill: bool = True) -> None:
        self.counts: Counter[str] = Counter()
        self._point = (phase, number)
        self._kill = kill
        self._phase = PHASES[0]

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_code.co_qualname
        self._phase = _TURNS.get((event, name), self._phase)
        if name == "MultipartBody.__iter__":
            self._phase = CLOSING if frame.f_locals["self"].closing else BODY
        if (self._phase, self.counts[self._phase]) == self._point:
            if not self._kill:
                raise SystemExit("SIGTERM")
            os.kill(os.getpid(), signal.SIGKILL)
        self.counts[self._phase] += 1


def ledger_at(place: str) -> Ledger:
    """The ledger in a SQLite file, or in the Postgres of a ``postgresql://`` URL."""
    if place.startswith("postgresql:"):
        return postgres_ledger(lambda: psycopg.connect(place))
    return sqlite_ledger(Path(place))


def send(job: dict[str, Any]) -> int:
    """One attempt to send a run, as a task makes it."""
    luigisbox.body.PIECE_BYTES = PIECE_BYTES
    client = Client(Settings(job["url"], job["tracker"], job["key"]), Retry(attempts=2, sleep=lambda _: None))
    ledger, run = ledger_at(job["ledger"]), to_path(job["run"])
    watch = Watch(*job.get("kill") or job.get("end") or (), kill="kill" in job)
    sys.setprofile(watch)
    try:
        send_transactions(client, ledger, job["shop"], run, f"process {os.getpid()}", job.get("on_unknown", "fail"))
    except Unsettled:
        return UNSETTLED
    except NotReady:
        return WAITING
    except SystemExit:
        return ENDED
    except Exception as error:  # noqa: BLE001 - the driver judges by what arrived
        (run / "failed.txt").write_text(f"{type(error).__name__}: {error}")
        return FAILED
    finally:
        sys.setprofile(None)
        if counts := job.get("counts"):
            Path(counts).write_text(json.dumps(watch.counts))
    return SENT


def _fork(job: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    code = FAILED
    with contextlib.suppress(BaseException):
        os.close(0)
        os.dup2(2, 1)  # standard output is for answers
        code = send(job)
    os._exit(code)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _do(order: dict[str, Any], running: dict[int, int]) -> None:
    """Start a sender, or kill one: only this process knows that the process id is still that sender's."""
    if "kill_number" in order:
        for pid in [pid for pid, number in running.items() if number == order["kill_number"]]:
            os.kill(pid, signal.SIGKILL)
        return
    pid = _fork(order)
    running[pid] = order["number"]
    _say(order["number"], pid)


def main() -> None:
    """Do what the lines say, until no more come and all senders have ended."""
    if isinstance(staging_root(), ObjectPath):
        for module in ("airflow.sdk.io", "airflow.providers.amazon.aws.fs.s3", "s3fs"):  # each fork opens it itself
            import_module(module)

    running: dict[int, int] = {}
    waiting = b""
    ended = False
    while running or not ended:
        if not ended and select.select([0], [], [], 0.002 if running else None)[0]:
            piece = os.read(0, 1 << 16)
            ended, waiting = not piece, waiting + piece
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            _do(json.loads(line), running)
        while running and (found := os.waitpid(-1, os.WNOHANG))[0]:
            _say(running.pop(found[0]), "=", os.waitstatus_to_exitcode(found[1]))


if __name__ == "__main__":
    main()
