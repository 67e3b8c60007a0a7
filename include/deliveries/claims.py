"""Which batch may write: the newest that began. An older one stops, whatever state it is in; a dead one blocks nobody.

Every batch that begins leaves a file of its own, ``begun/{order}~….json`` in the folder of what was confirmed;
nobody changes another's, so two that begin at once see each other and only the newer goes on. Each asks again before
whatever it sends and confirms. The same batch may begin as often as it likes: it sends the same values.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from include.deliveries.part import DONE, Part, order_of
from include.errors import PipelineError
from include.staging import read_json, write_json

BEGUN = "begun"


class Overtaken(PipelineError):
    """A newer batch is being delivered, or was."""


def begin(part: Part) -> None:
    """Take the part for this batch; a try that finds it finished starts anew.

    Raises:
        Overtaken: a newer batch began.
    """
    write_json(part.confirmed / BEGUN / f"{part.name}.json", {"batch": part.batch, "parts": part.parts})
    check(part)
    if (part.folder / DONE).exists():
        shutil.rmtree(part.folder)
    part.folder.mkdir(parents=True, exist_ok=True)


def check(part: Part) -> None:
    """To be asked before anything is sent or confirmed.

    Raises:
        Overtaken: a newer batch began.
    """
    own = part.name.removeprefix(part.order)
    others = (path for path in (part.confirmed / BEGUN).glob("*.json") if not path.stem.endswith(own))
    newest = max(others, key=order_of, default=None)
    if newest and order_of(newest) > part.order:
        raise Overtaken(
            f"batch {part.batch}, part {part.number}: batch {read_json(newest)['batch']}, which is newer, is being "
            "delivered to the same platform, or was. An older batch never overwrites a newer one: this one stops, and "
            "the newer one sends again whatever this one left open. Nothing is to be done; for customers that only "
            "this list has, trigger a new run."
        )


def overtaken_folders(part: Part) -> Iterator[Path]:
    """Folders of the older batches' parts that may have had the same recipients."""
    deliveries, delivery = part.folder.parents[2], part.folder.parent.name
    for path in sorted((part.confirmed / BEGUN).glob("*.json")):
        if order_of(path) < part.order:
            other = read_json(path)
            same_cut = other["parts"] == part.parts
            yield from sorted((deliveries / other["batch"] / delivery).glob(part.folder.name if same_cut else "part-*"))


def forget_older(confirmed: Path, order: str) -> None:
    """All parts of a batch are confirmed: nothing that older ones noted is needed any more."""
    for path in [*confirmed.glob(f"{BEGUN}/*.json"), *confirmed.glob("of-*/*/*.parquet")]:
        if order_of(path) < order:
            path.unlink(missing_ok=True)
