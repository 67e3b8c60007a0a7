"""Sends runs in processes that are killed: ``python kill_child.py``, one JSON order a line on standard input.

All is imported once; each order is done in a fork, which kills itself (SIGKILL) at the point that the order names:
before or after the n-th call of a function. What became of it comes as a line: 0 done, 3 unsettled, 5 some were
refused, -9 killed.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import airflow.providers.amazon.aws.hooks.s3
import airflow.providers.postgres.hooks.postgres
import airflow.sdk.io.fs
import psycopg  # noqa: F401
import s3fs  # type: ignore[import-untyped]  # noqa: F401

import include.files
import include.interactions.units
import include.ledger.tables  # noqa: F401 - imported once here, not in each fork
from advisable.client import Client
from advisable.connections import Settings
from advisable.sending import send_units
from include.errors import BadInput
from include.ledger import Ledger, Unsettled
from include.publishers.senders import Interactions
from include.staging import to_path
from ledgers import open_ledger
from vendor_http.errors import VendorError
from vendor_http.retry import Retry
from vendor_http.session import VendorSession

POINTS: dict[str, tuple[type, str]] = {
    "claim": (Ledger, "claim"),
    "settle": (Ledger, "settle"),
    "split": (Ledger, "split"),
    "request": (VendorSession, "request"),
    "recover": (Ledger, "recover"),
    "compare": (Ledger, "compare"),
}


def arm(point: str, when: str, number: int) -> None:
    """Let this process die before or after the n-th call."""
    place, name = POINTS[point]
    real: Callable[..., Any] = getattr(place, name)
    calls, lock = [0], threading.Lock()

    def deadly(*values: Any, **named: Any) -> Any:
        with lock:
            calls[0] += 1
            mine = calls[0] == number
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*values, **named)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, deadly)


def work(order: dict[str, Any]) -> int:
    if order.get("point"):
        arm(order["point"], order["when"], order["number"])
    os.environ.update(order["environment"])
    settings = Settings(base_url=order["url"], app_id="sandbox", app_secret="sandbox_secret", batch_size=7)
    try:
        with Client(settings, Retry(attempts=2, base_seconds=0.01)) as client:
            form = Interactions.model_validate(order["settings"])
            figures = send_units(client, open_ledger(), "shop", to_path(order["run"]), form, f"process {os.getpid()}")
    except Unsettled:
        return 3
    except VendorError:
        return 4
    except BadInput:
        return 5
    return 5 if figures["refused"] else 0


def main() -> None:
    airflow.sdk.io.fs.has_fs("s3")  # looks through all providers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is logged is no answer
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(work(json.loads(line)))
        status = os.waitpid(child, 0)[1]
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
