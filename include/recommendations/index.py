"""The index of a publisher's batches: which there are, when each came last, and the lists it was accepted for.

No folder is listed to find a batch: it is in ``index.json`` before its first file is in its folder, and leaves after
the last. Whoever changes the index takes turns with all other workers. A folder of an earlier version has none: there
it is made, once, of what lies in the folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from include.objects import ObjectPath
from include.recommendations.layout import ACCEPTED, FETCH
from include.staging import find_json, locked, read_json, utc_text, write_json

INDEX = "index.json"
LOCK = ".lock"


class Entry(TypedDict):
    """What is known of a batch without a look into its folder; ``lists``: names of those it was accepted for."""

    fetched_at: str
    lists: list[str]


def entries(folder: Path) -> dict[str, Entry]:
    """All batches in a publisher's folder, by the names of their folders."""
    content = find_json(folder / INDEX)
    known: dict[str, Entry] = content["batches"] if content else _found(folder)
    return known


def _found(folder: Path) -> dict[str, Entry]:
    """What an earlier version left: batches that were fetched whole, and the lists that took them."""
    if isinstance(folder, ObjectPath):
        return {}
    return {
        record.parent.name: {
            "fetched_at": read_json(record).get("finished_at", ""),
            "lists": sorted(read_json(note)["user_set"] for note in record.parent.glob(f"for-*/{ACCEPTED}")),
        }
        for record in folder.glob(f"*/{FETCH}")
    }


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, Entry]]:
    """The same to be changed, alone; written if the block does not fail."""
    with locked(folder, LOCK):
        known = entries(folder)
        yield known
        write_json(folder / INDEX, {"batches": known})


def enter(known: dict[str, Entry], name: str) -> Entry:
    """The entry of a batch, made if there is none."""
    return known.setdefault(name, {"fetched_at": utc_text(datetime.now(UTC)), "lists": []})


def register(batch: Path) -> None:
    """Note that a batch came just now, again or for the first time: before anything is written to its folder."""
    with changing(batch.parent) as known:
        enter(known, batch.name)["fetched_at"] = utc_text(datetime.now(UTC))
