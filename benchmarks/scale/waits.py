"""A minute of many waits in one triggerer's loop, each looking at a link every 30 seconds: the processor's seconds."""

from benchmarks import bench_triggerer
from benchmarks.bench_upload import sandbox
from benchmarks.harness import Case, measure, workplace
from benchmarks.scale.curves import Point

TITLE = "Waits: a minute of many waits in one event loop"
UNIT = "waits"
SIZES = (100, 1_000, 3_000)
QUICK = (1, 5)


def run(sizes: list[int], quick: bool) -> list[Point]:
    points = []
    pause, minute = (1.0, 1.0) if quick else (bench_triggerer.POLL_SECONDS, 2 * bench_triggerer.POLL_SECONDS)
    with workplace("scale-waits") as folder, sandbox(folder / "state") as (url, _):
        bench_triggerer.publish(url, folder)
        imports = ["airflow.sdk", "luigisbox.triggers", "luigisbox.result_link", "httpx"]
        for size in sizes:
            arguments = {"url": url, "warm_up": pause, "seconds": minute, "waits": size}
            case = Case("benchmarks.bench_triggerer:wait", arguments, imports=imports)
            found = measure({f"{size} waits": case}, 1)[f"{size} waits"]
            points.append(Point("waits", size, minute, found.result["share"] * minute, found.memory_mb))
    return points
