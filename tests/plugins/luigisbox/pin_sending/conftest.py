"""A sandbox that keeps a part of a refused call or not, and names lines or not; runs of pins that are sent to it."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from include.pins.build import build_pins
from include.pins.newest import one_sender
from include.publishers.senders import Pins
from include.sandbox.server import Running, running
from include.staging import write_json
from luigisbox.client import Settings
from luigisbox.pin_sending import send_pins
from luigisbox.pins import PinClient
from vendor_http.retry import Retry

NOW = datetime(2026, 4, 1, tzinfo=UTC)
BAD = 7
"""A widget_id that is no text: the sandbox refuses it, this project does not look at it."""


EVERY_VENDOR = pytest.mark.parametrize(
    "vendor",
    [(False, "fields"), (True, "fields"), (True, "lines")],
    ids=["whole-fields", "partial-fields", "partial-lines"],
    indirect=True,
)
"""Does a refused call keep the lines before the bad one? Does the answer name lines, or fields only?"""


@pytest.fixture(scope="module")
def vendor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    partial, details = getattr(request, "param", (False, "fields"))
    with running(tmp_path_factory.mktemp("sandbox"), pins_partial=partial, pins_details=details) as started:
        yield started


def built(run: Path, scopes: Sequence[Any], **settings: Any) -> tuple[Path, Pins]:
    """A run with these scopes, ready to be sent."""
    (run / "raw").mkdir(parents=True)
    (run / "raw/s.ndjson").write_text("\n".join(map(json.dumps, scopes)))
    write_json(run / "raw/files.json", {"files": [{"name": "pins.ndjson", "staged": "s.ndjson"}]})
    wanted = Pins(files="x", **{"scopes_per_call": 8, "refuse_reject_percent": 100, **settings})
    build_pins(run, wanted)
    return run, wanted


class Place:
    """A tracker with its pins, and runs that send to it."""

    def __init__(self, vendor: Running, folder: Path) -> None:
        self.url, self._folder, self._runs = vendor.url, folder, 0
        self.client = PinClient(Settings(vendor.url, vendor.tracker, vendor.private_key), Retry(sleep=lambda _: None))
        for what in ("pins", "faults", "requests"):
            requests.delete(f"{vendor.url}/_sandbox/{what}").raise_for_status()
        self.names_lines = vendor.parts.settings.pins_details == "lines"

    def put(self, *scopes: Any) -> None:
        self.client.bulk("\n".join(map(json.dumps, scopes)).encode(), "override")
        requests.delete(f"{self.url}/_sandbox/requests").raise_for_status()

    def fault(self, name: str, **options: Any) -> None:
        requests.post(f"{self.url}/_sandbox/faults", json={"fault": name, **options}).raise_for_status()

    def run(self, scopes: Sequence[Any], **settings: Any) -> tuple[Path, Pins]:
        self._runs += 1
        return built(self._folder / f"run{self._runs}", scopes, **settings)

    def send(
        self, run: tuple[Path, Pins], strategy: Any = "raise", mode: Any = "create", at: datetime = NOW, **more: Any
    ) -> dict[str, Any]:
        with one_sender(self._folder, at, run[0]) as newest:
            return send_pins(self.client, *run, newest, mode=mode, conflict_strategy=strategy, **more)

    def there(self) -> dict[str, Any]:
        return {each["target_identity"]: each for each in requests.get(f"{self.url}/_sandbox/pins").json()}

    def calls(self, ending: str = "_bulk") -> int:
        return sum(each["path"].endswith(ending) for each in requests.get(f"{self.url}/_sandbox/requests").json())


@pytest.fixture
def place(vendor: Running, tmp_path: Path) -> Place:
    return Place(vendor, tmp_path)


def scope(name: str, *, bad: bool = False, **more: Any) -> dict[str, Any]:
    pin: dict[str, Any] = {"pin_type": "item", "pin_identity": "p9", "position": 1}
    if bad:
        pin["widget_id"] = BAD
    return {"model": "basket", "target_type": "item", "target_identity": name, "pin_definitions": [pin], **more}


def scopes(count: int, bad: Sequence[int] = (), start: int = 0) -> list[dict[str, Any]]:
    return [scope(f"p{number}", bad=number in bad) for number in range(start, start + count)]


def outcomes(run: tuple[Path, Pins]) -> dict[int, str]:
    rows = pq.read_table(run[0] / "results.parquet").to_pylist()
    return {row["line"]: row["outcome"] for row in rows if row["line"]}


def reasons(run: tuple[Path, Pins]) -> dict[int, str]:
    return {row["line"]: row["reason"] for row in pq.read_table(run[0] / "results.parquet").to_pylist()}


def lines_with(run: tuple[Path, Pins], outcome: str) -> list[int]:
    return [line for line, found in outcomes(run).items() if found == outcome]
