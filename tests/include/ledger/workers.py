"""What other processes do in the tests of the ledger: they import this module, and no test."""

import hashlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from include.ledger import AlreadyClaimed, FileNote, Ledger, postgres_ledger, sqlite_ledger, steps

BOOK = "shop/transactions"
Place = tuple[str, str]
"""What kind of ledger, and where: a path, or the address of a database."""


def open_ledger(place: Place, wait_seconds: float = 30) -> Ledger:
    kind, where = place
    if kind == "sqlite":
        return sqlite_ledger(Path(where), wait_seconds)
    return postgres_ledger(partial(importlib.import_module(kind).connect, where), wait_seconds)


def index_of(units: list[int] | range, content: int = 1, day: int | None = 20_000, rows: int = 2) -> pa.Table:
    """An index of units that are named by numbers."""
    keys = [hashlib.blake2b(str(unit).encode(), digest_size=16).digest() for unit in units]
    number = len(keys)
    return pa.table(
        {
            "key": pa.array(keys, pa.binary(16)),
            "content": pa.array([content] * number, pa.int64()),
            "rows": pa.array([rows] * number, pa.int32()),
            "bytes": pa.array([100 * rows] * number, pa.int64()),
            "day": pa.array([day] * number, pa.int32()),
        }
    )


def note_of(index: pa.Table, name: str = "a", run: str = "run-1") -> FileNote:
    """A file with these units; its hash is that of its name."""
    rows = sum(index["rows"].to_pylist())
    return FileNote(sha256(name), f"file:///{name}.json", index.num_rows, rows, 100 * rows, run)


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def claim(ledger: Ledger, units: list[int] | range, name: str = "a", by: str = "me", **more: Any) -> FileNote:
    index = index_of(units, **more)
    note = note_of(index, name)
    ledger.claim(BOOK, note, index, by)
    return note


def race(place: Place, number: int) -> tuple[str, list[int]]:
    """Try to claim units that others want too; gives what became of it."""
    units = list(range(number * 2, number * 2 + 6))
    if number % 3:
        units.reverse()
    try:
        claim(open_ledger(place), units, f"file {number}", f"process {number}")
    except AlreadyClaimed:
        return "refused", []
    return "claimed", units


def race_for_one(place: Place, number: int) -> str:
    try:
        claim(open_ledger(place), range(50), "the one", f"process {number}")
    except AlreadyClaimed:
        return "refused"
    return "claimed"


def stay_inside_a_claim(place: Place, told: Connection) -> None:
    def change(*_: object, **__: object) -> None:
        told.send("inside")
        time.sleep(60)

    steps._add_months = change  # type: ignore[assignment]
    claim(open_ledger(place), range(100), "killed", "the killed one")


def stay_inside_a_settlement(place: Place, told: Connection) -> None:
    ledger = open_ledger(place)
    claim(ledger, range(100), "killed", "the killed one")

    def change(*_: object, **__: object) -> None:
        told.send("inside")
        time.sleep(60)

    steps.change = change  # type: ignore[assignment]
    ledger.settle(BOOK, sha256("killed"), "refused", "the killed one", "422")


def stay_after_the_claim(place: Place, told: Connection) -> None:
    ledger = open_ledger(place)
    with ledger.one_sender(BOOK, "the killed one"):
        claim(ledger, range(100), "killed", "the killed one")
        told.send("claimed")
        time.sleep(60)


def claim_many(place: Place, told: Connection, index: str) -> None:
    """A claim long enough to be killed at any moment of it."""
    ledger = open_ledger(place)
    units = 20_000
    told.send("begins")
    ledger.claim(BOOK, FileNote(sha256("killed"), "file:///x", units, 2 * units, 1, "run-1"), Path(index), "killed")
    told.send("ended")
    time.sleep(60)


def take_turns(place: Place, number: int, diary: str) -> None:
    """Be the one sender for a moment; the diary shows if two ever were."""
    with open_ledger(place).one_sender(BOOK, f"process {number}", wait_seconds=30):
        with Path(diary).open("a") as file:
            file.write(f"in {number}\n")
        time.sleep(0.02)
        with Path(diary).open("a") as file:
            file.write(f"out {number}\n")


@contextmanager
def running(target: Callable[..., None], context: Any, *arguments: object) -> Iterator[tuple[Any, Connection]]:
    """A process that talks through a pipe, and is killed at the end."""
    told, tells = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(arguments[0], tells, *arguments[1:]))
    process.start()
    try:
        yield process, told
    finally:
        if process.is_alive():
            os.kill(process.pid, 9)
        process.join()
        told.close()
        tells.close()
