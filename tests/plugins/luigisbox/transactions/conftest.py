"""Runs of purchases, sent to the sandbox by the operator, and what arrived there."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import requests
from airflow.sdk import RetryAction

from include.extract import write_rows
from include.ledger import FILE, Ledger, sqlite_ledger
from include.publishers.senders import Transactions
from include.staging import read_json
from include.transactions.build import build_transactions
from luigisbox.operators import UploadTransactionsOperator
from luigisbox.retries import RETRY_POLICY

BOOK = "shop/transactions"
NAMES = ["session_id", "identity", "user_id", "created_at"]
NOW = datetime(2026, 4, 1, tzinfo=UTC)
MARCH = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-04-01T00:00:00+00:00"}
ROWS = [(f"s{n // 2:02}", f"p{n}", "u1", f"2026-03-{n % 28 + 1:02}T{n % 24:02}:00:00Z") for n in range(40)]
"""20 sessions of two rows; in files of :data:`SMALL` bytes they are five."""
SMALL = 1_000

Build = Callable[..., Path]


def context() -> Any:
    return {"ti": SimpleNamespace(dag_id="dag", task_id="upload"), "run_id": "manual__1"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    from luigisbox import client
    from vendor_http.retry import Retry

    monkeypatch.setattr(client, "Retry", lambda: Retry(sleep=lambda _: None))


@pytest.fixture(autouse=True)
def _sells(shop: Any, tmp_path: Path) -> None:
    sell(tmp_path)


def sell(tmp_path: Path, **settings: Any) -> None:
    file = tmp_path / "publishers" / "shop.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("past_transactions")]
    section = {"connection": "none", "sql": "SELECT 1", **settings}
    file.write_text("\n".join([*lines, f"past_transactions: {section}"]))


@pytest.fixture
def build(staging: Path, request: pytest.FixtureRequest) -> Build:
    """Makes runs; the sessions of each test are its own, because the sandbox is shared."""

    def made(name: str = "one", rows: Any = ROWS, window: Any = None, **changes: Any) -> Path:
        run = staging / "shop" / "transactions" / name
        own = [(session and f"{request.node.name} {session}", *others) for session, *others in rows]
        write_rows([own], NAMES, NAMES, [], run / "raw", 0)
        settings = {"connection": "w", "sql": "SELECT 1", "max_file_bytes": SMALL, "max_id_bytes": 500, **changes}
        build_transactions(run, Transactions(**settings), window=window, now=NOW)
        return run

    return made


@pytest.fixture
def run(build: Build) -> Path:
    return build()


@pytest.fixture
def ledger(staging: Path) -> Ledger:
    return sqlite_ledger(staging / FILE)


def send(run: Path) -> dict[str, Any]:
    figures = UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri()).execute(context())
    assert sum(figures[name]["rows"] for name in ("sent", "already_sent", "changed", "unknown")) == rows_of(run)
    return figures


def rows_of(run: Path) -> int:
    return int(read_json(run / "manifest.json")["rows"])


def sessions(figures: dict[str, Any]) -> tuple[int, ...]:
    return tuple(figures[name]["sessions"] for name in ("sent", "already_sent", "changed", "unknown"))


def states(ledger: Ledger) -> list[str]:
    return [entry.state for entry in ledger.entries(BOOK)]


def statuses(shop: Any) -> list[int | None]:
    return [entry["status"] for entry in shop.box.requests()]


@pytest.fixture
def arrived(shop: Any, request: pytest.FixtureRequest) -> Callable[[], Counter[str]]:
    """Rows that the sandbox accepted, by the session of the test; of no session in two uploads."""

    def found() -> Counter[str]:
        answer = requests.get(f"{shop.box.url}/_sandbox/sessions", timeout=10)
        rows = [json.loads(line) for line in answer.text.splitlines()]
        own = [row for row in rows if row["session_id"].startswith(f"{request.node.name} ")]
        assert len({(row["session_id"], row["upload"]) for row in own}) == len({row["session_id"] for row in own})
        return Counter(row["session_id"].rpartition(" ")[2] for row in own)

    return found


EVERY = Counter({f"s{n:02}": 2 for n in range(20)})


def tried_again(error: BaseException) -> bool:
    """Whether Airflow tries the task again, by the policy that all tasks have."""
    return RETRY_POLICY.evaluate(error, 1, 3).action is not RetryAction.FAIL


@contextlib.contextmanager
def ended_at(function: str, event: str, number: int) -> Iterator[None]:
    """Somebody ends the task at a given moment: the signal's handler raises there."""
    seen = [0]

    def handler(frame: FrameType, what: str, _argument: Any) -> None:
        if (frame.f_code.co_qualname, what) == (function, event):
            seen[0] += 1
            if seen[0] == number:
                sys.setprofile(None)
                raise SystemExit("SIGTERM")

    sys.setprofile(handler)
    try:
        yield
    finally:
        sys.setprofile(None)
