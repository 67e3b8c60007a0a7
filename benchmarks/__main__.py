"""Run the benches, print a table of ratios, and write ``benchmarks/results.md`` when all of them ran in full.

python -m benchmarks [NAME ...] [--quick]
"""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Row

HERE = Path(__file__).resolve().parent
LIBRARIES = ("apache-airflow", "duckdb", "lxml", "numpy", "pandas", "pyarrow", "requests", "requests-toolbelt")
HEAD = ("what", "ours", "peer", "peer's", "ratio", "goal", "met", "peak memory", "note")


def main() -> int:
    """Exit code 1 if a goal was missed in a full run."""
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="measure the stages against their peers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small data, once: shows that the benches work")
    options = parser.parse_args()
    names = options.names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no bench {', '.join(unknown)}; known are {', '.join(known)}")
    rows: list[Row] = []
    for name in names:
        print(f"{name}:", file=sys.stderr, flush=True)
        rows += import_module(f"benchmarks.bench_{name}").run(options.quick)
    text = table(rows)
    print(text)
    if not options.quick and names == known:
        (HERE / "results.md").write_text(f"# Benchmarks\n\n{facts()}\n\n{text}\n", "utf-8")
    return 0 if options.quick or all(row.met for row in rows) else 1


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, columns aligned."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        "" if row.ours is None else f"{row.ours:.2f} s",
        row.peer_name,
        "" if row.peer is None else f"{row.peer:.2f} s",
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        row.goal,
        "yes" if row.met else "NO",
        "" if row.memory_mb is None else f"{row.memory_mb:,.0f} MB",
        row.note,
    )


def facts() -> str:
    """What the figures were measured on, and how they are to be read."""
    return (
        f"{machine('make bench')}\n"
        "Ours and the peer's seconds are medians of interleaved runs in processes of their own; trust the ratios, not "
        "the seconds."
    )


def machine(command: str) -> str:
    """When and on what a command measured, as a sentence."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `{command}` on {os.cpu_count()} cores ({_processor()}), "
        f"{memory_gb:.0f} GB, {platform.system()}, Python {platform.python_version()}, {libraries}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
