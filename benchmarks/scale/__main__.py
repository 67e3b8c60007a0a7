"""Run the studies of growth, print their tables, and put tables and plots into the docs.

python -m benchmarks.scale [STUDY[=SIZE,SIZE,...] ...] [--quick]

Without sizes a study takes its own; ``--quick`` takes small ones and writes nothing: it shows that the studies work.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.harness import PROJECT
from benchmarks.scale.page import replace, table
from benchmarks.scale.plot import plot

STUDIES = ("audience", "transactions", "postgres", "batch", "parts", "workers", "waits", "publishers", "requests")
PAGE = PROJECT / "docs" / "scaling.md"


def main(arguments: list[str] | None = None, page: Path = PAGE) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="how time and memory grow with size"
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY[=SIZE,...]", help=f"some of: {', '.join(STUDIES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes; writes nothing")
    options = parser.parse_args(arguments)
    wanted = dict(_asked(each, parser) for each in options.studies or STUDIES)
    for name, sizes in wanted.items():
        print(f"{name}:", file=sys.stderr, flush=True)
        study = import_module(f"benchmarks.scale.{name}")
        points = study.run(sorted(sizes or (study.QUICK if options.quick else study.SIZES)), options.quick)
        text = table(points, study.UNIT)
        print(f"{study.TITLE}\n\n{text}\n")
        if not options.quick:
            picture = page.parent / "scaling" / f"{name}.svg"
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(plot(study.TITLE, study.UNIT, points), "utf-8")
            replace(page, name, f"{text}\n\n![{study.TITLE}](scaling/{name}.svg)\n\n{machine('make bench-scale')}")
    return 0


def _asked(text: str, parser: argparse.ArgumentParser) -> tuple[str, list[int]]:
    """``audience=1e6,2e6`` as a name and sizes."""
    name, _, sizes = text.partition("=")
    if name not in STUDIES:
        parser.error(f"no study {name!r}; known are {', '.join(STUDIES)}")
    try:
        return name, [int(float(size)) for size in sizes.split(",") if size]
    except ValueError:
        parser.error(f"{text}: sizes are numbers such as 1000000 or 1e6")


if __name__ == "__main__":
    sys.exit(main())
