"""Senders of pins that die: one forked process a job, which kills itself with signal 9 at a given call or return.

``python -m tests.plugins.luigisbox.pin_kill_child`` reads jobs from standard input, a JSON line each, and answers each
with the exit code of its process (negative: the signal). Only this process imports. It imports no Airflow.
"""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pandas  # noqa: F401 - pyarrow imports it when it is first needed

from include.errors import PipelineError
from include.pins.newest import one_sender
from include.publishers.senders import Pins
from luigisbox.client import Settings
from luigisbox.pin_sending import send_pins
from luigisbox.pins import PinClient
from vendor_http.retry import Retry


class Death:
    """Ends the process at the given call (``call``) or return (``return``) of a function, counted from 1."""

    def __init__(self, event: str, function: str, left: int) -> None:
        self._point = event, function
        self._left = left

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if (event, frame.f_code.co_qualname) == self._point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def send(job: dict[str, Any]) -> int:
    run, settings = Path(job["run"]), Pins(files="x", **job["settings"])
    client = PinClient(Settings(job["url"], job["tracker"], job["key"]), Retry(sleep=lambda _: None))
    if job["point"]:
        sys.setprofile(Death(*job["point"]))
    try:
        with one_sender(run.parent, datetime.now(UTC), run) as newest:
            send_pins(client, run, settings, newest, mode=job["mode"], conflict_strategy=job["strategy"])
    except PipelineError:
        return 1
    return 0


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                os._exit(send(json.loads(line)))
            finally:
                os._exit(2)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
