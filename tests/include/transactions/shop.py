"""Purchases for the tests: staged as an extraction stages them, built, and read back."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from include.extract import write_rows
from include.publishers.senders import Transactions, raw_columns
from include.transactions.build import COLUMNS, build_transactions

NOW = datetime(2024, 12, 1, tzinfo=UTC)


def rules(**values: Any) -> Transactions:
    """Settings under which nothing is too old and nothing too much."""
    return Transactions(
        connection="w", sql="SELECT 1", **{"refuse_reject_percent": 100, "max_age_weeks": None, **values}
    )


def stage(run: Path, rows: list[tuple[Any, ...]], settings: Transactions, part: int = 0, *columns: str) -> None:
    """Stage rows of our four columns, or of those named."""
    required, optional, _ = raw_columns(settings)
    write_rows([rows], columns or COLUMNS, required, optional, run / "raw", part)


def build(run: Path, *rows: tuple[Any, ...], names: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    """Stage rows of the columns named and build; ``window``, ``now`` and ``parts`` are the run's, others settings."""
    window, now, parts = values.pop("window", None), values.pop("now", NOW), values.pop("parts", 1)
    settings = rules(**values)
    stage(run, list(rows), settings, 0, *names)
    return build_transactions(run, settings, window, parts, now)


def contents(run: Path) -> list[bytes]:
    """All files."""
    return [path.read_bytes() for path in sorted((run / "chunks").iterdir())]


def uploaded(run: Path) -> list[dict[str, str]]:
    """All lines, where they are JSON."""
    return [json.loads(line) for line in b"".join(contents(run)).splitlines()]


def rejects(run: Path) -> list[tuple[Any, ...]]:
    """All rejected rows with their reasons; the quantity is left out."""
    return [
        tuple(value for name, value in row.items() if name != "quantity")
        for row in pq.read_table(run / "rejects.parquet").to_pylist()
    ]


def units(run: Path) -> list[dict[str, Any]]:
    """What the indexes of all files say."""
    return [unit for path in sorted((run / "index").glob("*.parquet")) for unit in pq.read_table(path).to_pylist()]


def sent(run: Path) -> dict[bytes, int]:
    """The content of each session by its key."""
    return {unit["key"]: unit["content"] for unit in units(run)}
