"""The same tasks done one after the other and two at once: what a second worker on this machine is worth.

Each task is a process of its own, so starting Python counts, as it does in Airflow. A task that keeps more than one
core busy alone (DuckDB's threads, the two processes of ``parse``) gains less; what one worker keeps busy is the most
that a second one can add, and stands in the name of the stage.
"""

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.harness import PROJECT, Case, Measurement, measure, workplace
from benchmarks.scale import batch as batches
from benchmarks.scale import parts
from benchmarks.scale.curves import Point, point

TITLE = "Workers: the same tasks by one and by two processes at once"
UNIT = "workers"
SIZES = (1, 2)
QUICK = (1, 2)
HERE = "benchmarks.scale.workers"
IDS, ROWS, USERS = 1_000_000, 1_000_000, 200_000


def run(sizes: list[int], quick: bool) -> list[Point]:
    points = []
    with workplace("scale-workers") as folder:
        stages = _stages(folder, 0.001 if quick else 1)
        found: dict[str, dict[int, Measurement]] = {stage: {} for stage in stages}
        for stage, tasks in stages.items():
            for size in sizes:
                at_once = Case(f"{HERE}:together", {"tasks": tasks, "workers": size})
                found[stage][size] = measure({f"{stage}, {size} at once": at_once}, 1)[stage + f", {size} at once"]
    for stage, measured in found.items():
        busy = measured[min(measured)].result["cores"]
        label = f"{stage} ({busy:.1f} cores busy with one worker)"
        points += [point(label, size, each) for size, each in measured.items()]
    return points


def _stages(folder: Path, share: float) -> dict[str, list[list[Any]]]:
    """Tasks by stage: target and arguments."""
    audiences = [{"run": str(folder / f"audience-{number}")} for number in range(4)]
    purchases = [{"run": str(folder / f"purchases-{number}")} for number in range(4)]
    users, made = int(USERS * share), str(folder)
    data = {
        f"audience {number}": Case("benchmarks.bench_audience:make", {**each, "users": int(IDS * share)})
        for number, each in enumerate(audiences)
    } | {
        f"purchases {number}": Case("benchmarks.bench_transactions:make", {**each, "rows": int(ROWS * share)})
        for number, each in enumerate(purchases)
    }
    measure(data, 1)
    batch = measure({"batch": Case(f"{parts.HERE}:make", {"folder": made, "users": users})}, 1)["batch"].result
    measure({"parse": Case(f"{batches.HERE}:parse", {"batch": batch, "parts": 16})}, 1)
    measure({"reconcile": Case(f"{batches.HERE}:reconcile", {"batch": batch, "folder": made})}, 1)
    feed = [[f"{parts.HERE}:deliver", {"batch": batch, "folder": made, "part": part}] for part in range(16)]
    return {
        "four audiences built": [["benchmarks.bench_audience:build", each] for each in audiences],
        "purchases built four times": [["benchmarks.bench_transactions:build", each] for each in purchases],
        "sixteen parts of a feed": feed,
    }


def together(tasks: list[list[Any]], workers: int) -> dict[str, float]:
    """Do the tasks, so many at once; returns how many cores they kept busy."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(_task, tasks))
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cores": min(cpu / seconds, float(os.cpu_count() or 1))}


def _task(task: list[Any]) -> None:
    target, arguments = task
    command = [sys.executable, "-m", "benchmarks.harness", target, json.dumps(arguments)]
    subprocess.run(command, cwd=PROJECT, stdout=subprocess.DEVNULL, check=True)
