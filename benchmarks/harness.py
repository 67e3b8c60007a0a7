"""Measure functions in processes of their own, and compare them within one run.

To add a bench, write ``benchmarks/bench_NAME.py`` with::

    def run(quick: bool) -> list[Row]: ...

It makes its data in ``workplace("NAME")``, hands cases to ``measure`` (a case is ``package.module:function`` and its
arguments, which must be JSON; name the heavy modules it imports in ``imports``; the data is made by a case too),
and turns the measurements into rows with ``faster``, ``at_most``, ``memory`` or ``Row`` itself. ``quick`` asks for
small data and one repeat: it shows that the bench works, not how fast anything is. Run it with
``python -m benchmarks NAME``.

Seconds are those of the call alone, without starting Python and importing the module. Repeats are interleaved and the
median counts, so that a machine with other things to do disturbs all cases alike. Trust ratios, not seconds.
"""

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """One function to be measured."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fresh: Sequence[str] = ()
    """Files and folders that are removed before each repeat."""
    imports: Sequence[str] = ()
    """Modules that are imported before the clock starts, so that starting up is not measured."""


@dataclass(frozen=True)
class Measurement:
    """Median seconds, largest peak of resident memory (children included), and what the last repeat returned.

    ``cpu_seconds``: median of the processor's, of the process and its children.
    """

    seconds: float
    memory_mb: float
    result: Any
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ours: float | None
    peer_name: str
    peer: float | None
    ratio: float | None
    goal: str
    met: bool
    memory_mb: float | None = None
    note: str = ""


def measure(cases: Mapping[str, Case], repeats: int = 3) -> dict[str, Measurement]:
    """Run each case in a fresh process, all of them in turn, ``repeats`` times."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    for turn in range(repeats):
        for name, case in cases.items():
            print(f"  {name}, {turn + 1} of {repeats} ...", end="", file=sys.stderr, flush=True)
            runs[name].append(_run(case))
            print(f" {runs[name][-1]['seconds']:.2f} s", file=sys.stderr, flush=True)
    return {
        name: Measurement(
            statistics.median(run["seconds"] for run in found),
            max(run["memory_mb"] for run in found),
            found[-1]["result"],
            statistics.median(run["cpu_seconds"] for run in found),
        )
        for name, found in runs.items()
    }


def faster(name: str, ours: Measurement, peer_name: str, peer: Measurement, at_least: float, note: str = "") -> Row:
    """A row whose ratio says how many times faster than the peer ours is."""
    ratio = peer.seconds / ours.seconds
    goal = f"≥ {at_least:g}x as fast"
    return Row(name, ours.seconds, peer_name, peer.seconds, ratio, goal, ratio >= at_least, ours.memory_mb, note)


def at_most(name: str, ours: Measurement, peer_name: str, peer: Measurement, most: float, note: str = "") -> Row:
    """A row whose ratio says how many times the peer's seconds ours takes."""
    ratio = ours.seconds / peer.seconds
    goal = f"≤ {most:g}x the time"
    return Row(name, ours.seconds, peer_name, peer.seconds, ratio, goal, ratio <= most, ours.memory_mb, note)


def memory(name: str, ours: Measurement, most_mb: float, note: str = "") -> Row:
    """A row about peak memory alone."""
    goal = f"≤ {most_mb:,.0f} MB"
    return Row(name, ours.seconds, "", None, None, goal, ours.memory_mb <= most_mb, ours.memory_mb, note)


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """An empty folder for the data of a bench, removed afterwards."""
    folder = PROJECT / "build" / "bench" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(case: Case) -> dict[str, Any]:
    for path in map(Path, case.fresh):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.harness", case.target, json.dumps(dict(case.arguments))]
    command += case.imports
    finished = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=False)
    if finished.returncode:
        raise SystemExit(f"{case.target} failed with exit code {finished.returncode}; its error is above")
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _child(target: str, arguments: str, *imports: str) -> None:
    for name in imports:
        import_module(name)
    module, function = target.split(":")
    call = getattr(import_module(module), function)
    started, before = time.perf_counter(), _cpu_seconds()
    result = call(**json.loads(arguments))
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - before
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "memory_mb": _peak_mb(), "result": result}))


def _cpu_seconds() -> float:
    """The processor's seconds of this process and of its children that have ended."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _peak_mb() -> float:
    """Peak resident memory of this process or of its largest child, whichever is more, in MB (10^6 bytes)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would also count the parent's memory from before exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return max(int(line.split()[1]), children) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children) * unit / 1e6


if __name__ == "__main__":
    _child(*sys.argv[1:])
