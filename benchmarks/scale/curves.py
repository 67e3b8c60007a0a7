"""Points of a curve, and the exponent with which it grows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.harness import Measurement


@dataclass(frozen=True)
class Point:
    """One stage at one size. ``memory_mb`` is the peak of the largest process, unless the study says otherwise."""

    stage: str
    size: int
    seconds: float
    cpu_seconds: float
    memory_mb: float
    requests: int | None = None
    """To an object store, where they were counted."""


@dataclass(frozen=True)
class Exponent:
    """``k`` of ``y = c · size**k``, and half the width of its 95 % interval; None with fewer than three sizes."""

    k: float
    plus_minus: float | None


# Student's t for 95 %, by degrees of freedom; no study has more than seven sizes.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57}


def point(stage: str, size: int, measured: Measurement) -> Point:
    """A measurement as a point, with ``memory_mb`` and ``requests`` as the case returned them, if it did."""
    told = measured.result if isinstance(measured.result, dict) else {}
    memory = told.get("memory_mb", measured.memory_mb)
    return Point(stage, size, measured.seconds, measured.cpu_seconds, memory, told.get("requests"))


def stages(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points of each stage, by size; stages in the order in which they first came."""
    found: dict[str, list[Point]] = {}
    for each in points:
        found.setdefault(each.stage, []).append(each)
    return {stage: sorted(of, key=lambda one: one.size) for stage, of in found.items()}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> Exponent | None:
    """By least squares over the logarithms; None with fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(max(value, 1e-6)) for value in values]
    middle_x, middle_y = fmean(x), fmean(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    k = sum((one - middle_x) * (other - middle_y) for one, other in zip(x, y, strict=True)) / spread
    free = len(x) - 2
    if not free:
        return Exponent(k, None)
    left = sum((other - middle_y - k * (one - middle_x)) ** 2 for one, other in zip(x, y, strict=True))
    return Exponent(k, _T.get(free, 2.45) * math.sqrt(left / free / spread))
