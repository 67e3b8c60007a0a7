"""Purchases: files of whole sessions with their indexes, claimed in an empty ledger, then compared with it."""

from pathlib import Path
from typing import Any

from benchmarks.harness import Case, measure, workplace
from benchmarks.scale.curves import Point, point

TITLE = "Purchases: built, claimed in the ledger, compared with it (five rows a session)"
UNIT = "rows"
SIZES = (1_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000)
QUICK = (5_000, 10_000)
HERE = "benchmarks.scale.transactions"
LEDGER = ["include.ledger", "pandas"]


def run(sizes: list[int], quick: bool) -> list[Point]:  # noqa: ARG001
    points = []
    for size in sizes:
        with workplace("scale-transactions") as folder:
            place: dict[str, Any] = {"run": str(folder)}
            measure({"data": Case("benchmarks.bench_transactions:make", {**place, "rows": size})}, 1)
            build = Case("benchmarks.bench_transactions:build", place, imports=["include.transactions.build", "pandas"])
            cases = {
                "build": build,
                "ledger: claim": Case(f"{HERE}:claim", place, imports=LEDGER),
                "ledger: compare": Case(f"{HERE}:compare", place, imports=LEDGER),
            }
            found = measure(cases, 1)
        points += [point(stage, size, measured) for stage, measured in found.items()]
        assert found["ledger: claim"].result == found["ledger: compare"].result == found["build"].result[1]
    return points


def claim(run: str) -> int:
    """Claim all files of a build and confirm them; returns how many sessions."""
    from include.ledger import FileNote

    book, ledger = _ledger(run)
    for chunk, index in _files(run):
        note = FileNote(chunk["sha256"], "file:///bench", chunk["sessions"], chunk["rows"], chunk["bytes"], "bench")
        ledger.claim(book, note, index, "bench")
        ledger.settle(book, note.sha256, "confirmed", "bench", "200")
    return sum(chunk["sessions"] for chunk, _ in _files(run))


def compare(run: str) -> int:
    """Compare all files with the ledger that knows them; returns how many sessions were sent."""
    from include.ledger import SENT

    book, ledger = _ledger(run)
    return sum(ledger.compare(book, index).counts[SENT].units for _, index in _files(run))


def _ledger(run: str) -> tuple[str, Any]:
    from include.ledger import sqlite_ledger

    return "shop/transactions", sqlite_ledger(Path(run) / "ledger.sqlite")


def _files(run: str) -> list[tuple[dict[str, Any], Path]]:
    from include.staging import MANIFEST, read_json

    return [(chunk, Path(run) / chunk["index"]) for chunk in read_json(Path(run) / MANIFEST)["chunks"]]
