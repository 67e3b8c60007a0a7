"""Tables and plots, put into ``docs/scaling.md`` between the markers of their study; a rerun replaces them."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale.curves import Point, exponent, stages


def short(number: float) -> str:
    """``1,500,000`` as ``1.5 M``."""
    for unit, name in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:g} {name}"
    return f"{number:g}"


def table(points: Sequence[Point], unit: str) -> str:
    """A line for each stage: seconds, the processor's and peak memory at each size, and how they grow."""
    found = stages(points)
    sizes = sorted({each.size for each in points})
    head = [unit, *map(short, sizes), *(f"{name} as n^" for name in ("seconds", "cpu", "memory"))]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for stage, of in found.items():
        at = {each.size: _cell(each) for each in of}
        grows = [_grows(of, what) for what in ("seconds", "cpu_seconds", "memory_mb")]
        lines.append([stage, *(at.get(size, "") for size in sizes), *grows])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(point: Point) -> str:
    asked = "" if point.requests is None else f"{point.requests:,} requests, "
    return f"{asked}{point.seconds:.1f} s, cpu {point.cpu_seconds:.1f} s, {point.memory_mb:,.0f} MB"


def _grows(found: Sequence[Point], what: str) -> str:
    fitted = exponent([each.size for each in found], [getattr(each, what) for each in found])
    if fitted is None:
        return ""
    return f"{fitted.k:.2f}" + ("" if fitted.plus_minus is None else f" ± {fitted.plus_minus:.2f}")


def replace(page: Path, study: str, text: str) -> None:
    """Put a study's text between its markers.

    Raises:
        ValueError: the page does not have them.
    """
    begin, end = f"<!-- scale:{study} -->", f"<!-- /scale:{study} -->"
    before = page.read_text("utf-8")
    after, found = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", before, count=1, flags=re.DOTALL
    )
    if not found:
        raise ValueError(f"{page}: has no place for the study {study}: write {begin} and {end} into it")
    page.write_text(after, "utf-8")
