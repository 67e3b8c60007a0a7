"""Which batch may write: the newest that began. An older one stops, whatever state it is in; a dead one blocks nobody.

One record, ``begun.json`` in the folder of what was confirmed, names every batch that began; it is changed by one
worker at a time, so of two that begin at once the older sees the newer. Each asks again before whatever it sends and
confirms. The record is also how everything else that batches leave is found: nothing is listed. The same batch may
begin as often as it likes: it sends the same values.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from include.deliveries.part import (
    COMPARED,
    DONE,
    Part,
    bucket_of,
    folder_name,
    notes_name,
    order_of,
    sending_of,
)
from include.errors import PipelineError
from include.objects import ObjectPath
from include.staging import find_json, locked, read_json, remove_folder, write_json

BEGUN, LOCK = "begun.json", "begun.lock"


class Batch(TypedDict):
    """What is noted of a batch that began."""

    batch: str
    parts: int


class Overtaken(PipelineError):
    """A newer batch is being delivered, or was."""


def begun(confirmed: Path) -> dict[str, Batch]:
    """The batches that began and are not forgotten, by ``Part.name``."""
    record = find_json(confirmed / BEGUN)
    if record is None and not isinstance(confirmed, ObjectPath):  # an earlier version gave each a file, in a folder
        return {path.stem: cast("Batch", read_json(path)) for path in confirmed.glob("begun/*.json")}
    return dict(record["batches"]) if record else {}


def begin(part: Part) -> None:
    """Take the part for this batch; a try that finds it finished starts anew.

    Raises:
        Overtaken: a newer batch began.
    """
    if part.name not in begun(part.confirmed):
        with locked(part.confirmed, LOCK):
            own: Batch = {"batch": part.batch, "parts": part.parts}
            write_json(part.confirmed / BEGUN, {"batches": begun(part.confirmed) | {part.name: own}})
    check(part)
    if (part.folder / DONE).is_file():
        (part.folder / COMPARED).unlink(missing_ok=True)  # without it, nothing else that is there counts
        (part.folder / DONE).unlink()
        remove_folder(part.folder)
    part.folder.mkdir(parents=True, exist_ok=True)


def check(part: Part) -> None:
    """To be asked before anything is sent or confirmed.

    Raises:
        Overtaken: a newer batch began.
    """
    own = part.name.removeprefix(part.order)
    others = {name: other for name, other in begun(part.confirmed).items() if not name.endswith(own)}
    newest = max(others, key=order_of, default="")
    if order_of(newest) > part.order:
        raise Overtaken(
            f"batch {part.batch}, part {part.number}: batch {others[newest]['batch']}, which is newer, is being "
            "delivered to the same platform, or was. An older batch never overwrites a newer one: this one stops, and "
            "the newer one sends again whatever this one left open. Nothing is to be done; for customers that only "
            "this list has, trigger a new run."
        )


def overtaken_sendings(part: Part) -> Iterator[Path]:
    """Where the older batches noted what they sent of parts that may have had the same recipients."""
    deliveries, delivery = part.folder.parents[2], part.folder.parent.name
    for name, other in sorted(begun(part.confirmed).items()):
        if order_of(name) < part.order:
            for number in [part.number] if other["parts"] == part.parts else range(other["parts"]):
                folder = deliveries / other["batch"] / delivery / folder_name(number)
                if "id" in (find_json(folder / COMPARED) or {}):  # without it, of an earlier version
                    yield sending_of(folder)


def forget_older(confirmed: Path, order: str) -> None:
    """All parts of a batch are confirmed: nothing that older ones noted is needed any more."""
    if all(order_of(name) >= order for name in begun(confirmed)):
        return
    with locked(confirmed, LOCK):
        batches = begun(confirmed)
        older = {name: batch for name, batch in batches.items() if order_of(name) < order}
        for name, batch in older.items():
            for number in range(batch["parts"]):
                (bucket_of(confirmed, batch["parts"], number) / notes_name(name)).unlink(missing_ok=True)
        write_json(confirmed / BEGUN, {"batches": {name: batches[name] for name in batches.keys() - older.keys()}})
