"""One batch cut into more and more parts: parsed, held against the list, delivered as a feed one part after the other.

Seconds of ``deliver`` are those of all parts together; ``deliver, longest part`` is what is left of them with as many
workers as parts. Each part is a process of its own, as it is a task of its own.
"""

from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Measurement, measure, workplace
from benchmarks.scale import batch as batches
from benchmarks.scale.curves import Point, point

TITLE = "Parts: one batch of 200,000 users, cut into more and more parts"
UNIT = "parts"
SIZES = (1, 4, 16, 64)
QUICK = (1, 2)
HERE = "benchmarks.scale.parts"
USERS, QUICK_USERS = 200_000, 200
FEED = ["include.deliveries.feed", "pandas"]


def run(sizes: list[int], quick: bool) -> list[Point]:
    points = []
    with workplace("scale-parts") as folder:
        users = QUICK_USERS if quick else USERS
        place: dict[str, Any] = {"folder": str(folder)}
        batch = measure({"data": Case(f"{HERE}:make", {**place, "users": users})}, 1)["data"].result
        for size in sizes:
            cases = {
                "parse": Case("benchmarks.scale.batch:parse", {"batch": batch, "parts": size}, imports=batches.PARSE),
                "reconcile": Case(
                    "benchmarks.scale.batch:reconcile", {"batch": batch, **place}, imports=batches.RECONCILE
                ),
            }
            found = measure(cases, 1)
            parts = {
                f"part {part} of {size}": Case(f"{HERE}:deliver", {"batch": batch, **place, "part": part}, imports=FEED)
                for part in range(size)
            }
            delivered = measure(parts, 1)
            assert sum(each.result for each in delivered.values()) == users, "a recipient was lost"
            found["deliver"] = _together(delivered)
            found["deliver, longest part"] = max(delivered.values(), key=lambda each: each.seconds)
            points += [point(stage, size, measured) for stage, measured in found.items()]
    return points


def _together(found: dict[str, Measurement]) -> Measurement:
    each = list(found.values())
    seconds, cpu = sum(one.seconds for one in each), sum(one.cpu_seconds for one in each)
    return Measurement(seconds, max(one.memory_mb for one in each), None, cpu)


def make(folder: str, users: int) -> str:
    """A fetched batch; returns its folder."""
    batches.make(folder, users)
    batch = Path(folder) / "batch"
    batch.mkdir()
    (Path(folder) / "batch.xml").rename(batch / "raw.xml")
    return str(batch)


def deliver(batch: str, folder: str, part: int) -> int:
    """Write one part of the feed; returns how many recipients it has."""
    from include.deliveries.feed import write_feed_part
    from include.publishers.deliveries import FeedDelivery
    from include.recommendations.layout import list_folder

    settings = FeedDelivery(name="feed", kind="feed")
    out = Path(folder) / "feed"
    return int(write_feed_part(Path(batch), list_folder(Path(batch), "list"), part, out, settings)["recipients"])
