"""A sandbox of Advisable over a real socket, a ledger, and runs that are built from rows."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from advisable.client import Client
from advisable.connections import Settings
from advisable.sending import send_units
from advisable.transfers import send_transfers
from include.extract import write_rows
from include.interactions.build import build_interactions
from include.interactions.transfers import COLUMNS, build_transfers
from include.ledger import FILE, Ledger, sqlite_ledger
from include.publishers.senders import INTERACTION_COLUMNS, Interactions, InteractionSource
from include.sandbox.server import Running, running
from include.staging import to_path
from vendor_http.retry import Retry

BOOK = "shop/interactions"
TIME = 1_760_000_000_000


class Box:
    """A running sandbox with the handles that tests turn."""

    def __init__(self, sandbox: Running) -> None:
        self.host = sandbox.url
        self.url = f"{sandbox.url}/advisable"

    def fault(self, name: str, **options: Any) -> None:
        form = {"fault": name, "path": "/advisable/", **options}
        requests.post(f"{self.host}/_sandbox/faults", json=form, timeout=10).raise_for_status()

    def stored(self, kind: str | None = None) -> Counter[tuple[str, str, int]]:
        params = {"type": kind} if kind else {}
        rows = requests.get(f"{self.host}/_sandbox/interactions", params=params, timeout=10).json()
        return Counter((row["user_id"], row["item_id"], row["timestamp"]) for row in rows)

    def requests(self) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.host}/_sandbox/requests", timeout=10).json())

    def forget(self) -> None:
        for what in ("faults", "requests", "interactions"):
            requests.delete(f"{self.host}/_sandbox/{what}", timeout=10).raise_for_status()

    def settings(self, **changes: Any) -> Settings:
        known = {"base_url": self.url, "app_id": "sandbox", "app_secret": "sandbox_secret", "connection": "shop"}
        return Settings(**{**known, **changes})

    def client(self, **changes: Any) -> Client:
        """A client whose retry loop does not sleep; the pauses are on ``client.pauses``."""
        pauses: list[float] = []
        client = Client(self.settings(**changes), Retry(sleep=pauses.append))
        client.pauses = pauses  # type: ignore[attr-defined]
        return client


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture
def box(sandbox: Running) -> Box:
    box = Box(sandbox)
    box.forget()
    return box


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return sqlite_ledger(tmp_path / FILE)


def interactions(kind: str = "view", **changes: Any) -> Interactions:
    source = {"name": "rows", "type": kind, "files": "none"}
    transfers = changes.pop("transfers", None)
    return Interactions.model_validate({"sources": [source], "transfers": transfers, "concurrency": 3, **changes})


def rows_of(number: int, kind: str = "view") -> list[tuple[Any, ...]]:
    """Rows of a type: user, item, time; a rating has a value."""
    value = 4 if kind == "rating" else None
    return [(f"u{n % 7}", f"i{n}", TIME + n, None, value, None, None, None) for n in range(number)]


def build(run: Path, rows: list[tuple[Any, ...]], settings: Interactions) -> dict[str, Any]:
    """Stage and build rows of the first source."""
    write_rows([rows], INTERACTION_COLUMNS, INTERACTION_COLUMNS[:3], INTERACTION_COLUMNS[3:], run / "raw", 0)
    source: InteractionSource = settings.sources[0]
    return build_interactions(run, source, settings)


def build_pairs(run: Path, rows: list[tuple[Any, ...]], settings: Interactions) -> dict[str, Any]:
    """Stage and build transfers."""
    write_rows([rows], COLUMNS, COLUMNS, [], run / "raw", 0)
    return build_transfers(run, settings)


def settle(ledger: Ledger, box: Box) -> None:
    """What a person does: look at the vendor, and say what is there."""
    stored = box.stored()
    for entry in ledger.entries(BOOK, ("unknown",)):
        there = []
        for row in pq.read_table(BytesIO(to_path(entry.uri).read_bytes()))["line"].to_pylist():
            found = json.loads(row)
            there.append((found["user_id"], found["item_id"], found["timestamp"]) in stored)
        assert len(set(there)) == 1
        ledger.settle(BOOK, entry.sha256, "confirmed" if there[0] else "prepared", "test", "looked")


@pytest.fixture
def transfer(box: Box) -> Callable[..., dict[str, Any]]:
    """Send a run of transfers."""

    def transfer(run: Path, settings: Interactions, **changes: Any) -> dict[str, Any]:
        with box.client(**changes) as client:
            return send_transfers(client, run, settings, "test")

    return transfer


@pytest.fixture
def send(box: Box, ledger: Ledger, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Send a run of the publisher ``shop``."""

    def send(run: Path, settings: Interactions, **changes: Any) -> dict[str, Any]:
        with box.client(**changes) as client:
            return send_units(client, ledger, "shop", run, settings, "test")

    return send
