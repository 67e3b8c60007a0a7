"""The ledger in Postgres: sessions claimed file after file, then compared, as the table grows.

It needs a server in which databases may be made: ``SCALE_POSTGRES``, by default the one on this machine.
"""

import os
from pathlib import Path
from typing import Any

from benchmarks.bench_ledger import BOOK, IMPORTS
from benchmarks.harness import Case, measure, workplace
from benchmarks.scale.curves import Point, point

TITLE = "The ledger in Postgres: 200,000 sessions claimed and compared, with more and more known"
UNIT = "sessions known"
SIZES = (200_000, 1_000_000, 5_000_000)
QUICK = (1_000, 2_000)
HERE = "benchmarks.scale.postgres"
SERVER = "host=127.0.0.1 port=5432 user=postgres"
FILE = 200_000


def run(sizes: list[int], quick: bool) -> list[Point]:
    import psycopg

    server, name = os.environ.get("SCALE_POSTGRES", SERVER), f"scale_{os.getpid()}"
    points, known, of = [], 0, 200 if quick else FILE
    with workplace("scale-postgres") as folder, psycopg.connect(f"{server} dbname=postgres", autocommit=True) as made:
        made.execute(f"CREATE DATABASE {name}")
        place: dict[str, Any] = {"folder": str(folder), "server": f"{server} dbname={name}"}
        try:
            for size in sizes:
                fill = Case(f"{HERE}:fill", {**place, "start": known, "end": size - of, "of": of}, imports=IMPORTS)
                cases = {
                    f"fill up to {size:,}": fill,
                    "claim": Case(
                        f"{HERE}:fill", {**place, "start": size - of, "end": size, "of": of}, imports=IMPORTS
                    ),
                    "compare": Case(f"{HERE}:compare", {**place, "start": size - of}, imports=IMPORTS),
                }
                found, known = measure(cases, 1), size
                points += [point(stage, size, found[stage]) for stage in ("claim", "compare")]
        finally:
            made.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return points


def fill(folder: str, server: str, start: int, end: int, of: int) -> int:
    """Claim and confirm sessions from ``start`` to ``end``, in files of so many; returns how many."""
    from include.ledger import FileNote

    ledger = _ledger(server)
    for first in range(start, end, of):
        index = _index(folder, first, of)
        note = FileNote(f"{first:064x}", "file:///bench", of, 3 * of, 300 * of, "bench")
        ledger.claim(BOOK, note, index, "bench")
        ledger.settle(BOOK, note.sha256, "confirmed", "bench", "200")
    return end - start


def compare(folder: str, server: str, start: int) -> int:
    from include.ledger import SENT

    return int(_ledger(server).compare(BOOK, Path(folder) / f"{start}.parquet").counts[SENT].units)


def _index(folder: str, first: int, of: int) -> Path:
    import pyarrow.parquet as pq

    from benchmarks.bench_ledger import _units

    path = Path(folder) / f"{first}.parquet"
    pq.write_table(_units("scale", first, of, 10 * max(SIZES)), path)
    return path


def _ledger(server: str) -> Any:
    import psycopg

    from include.ledger import postgres_ledger

    return postgres_ledger(lambda: psycopg.connect(server))
