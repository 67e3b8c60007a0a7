"""Three small plots side by side, time, processor time and memory over size, all axes logarithmic, as SVG."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.scale.curves import Point, stages
from benchmarks.scale.page import short

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b0b000", "#8b4513")
WIDTH, HEIGHT, GAP = 240, 230, 75
WHAT = {"seconds": "seconds", "cpu_seconds": "processor seconds", "memory_mb": "peak memory, MB"}
LEFT, TOP, BOTTOM = 70, 50, 50


def plot(title: str, unit: str, points: Sequence[Point]) -> str:
    """The picture."""
    found = stages(points)
    wide = len(WHAT) * (WIDTH + GAP) + LEFT - GAP + 20
    columns = 3 if max(map(len, found)) <= 30 else 1
    legend = 20 * math.ceil(len(found) / columns)
    high = TOP + HEIGHT + BOTTOM + legend
    size = f'viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
        f'<text x="{wide / 2}" y="22" text-anchor="middle" font-size="15">{escape(title)}</text>',
    ]
    for number, (what, name) in enumerate(WHAT.items()):
        body += _panel(LEFT + number * (WIDTH + GAP), name, unit, {
            stage: [(each.size, getattr(each, what)) for each in of] for stage, of in found.items()
        })  # fmt: skip
    for number, stage in enumerate(found):
        x, y = LEFT + number % columns * 240, TOP + HEIGHT + BOTTOM + number // columns * 20
        body.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{_colour(number)}"/>')
        body.append(f'<text x="{x + 10}" y="{y + 4}">{escape(stage)}</text>')
    return "\n".join([*body, "</svg>\n"])


def _panel(left: float, name: str, unit: str, curves: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    xs = [x for curve in curves.values() for x, _ in curve]
    ys = [max(y, 1e-3) for curve in curves.values() for _, y in curve]
    across, up = _Axis(xs, left, WIDTH), _Axis([min(ys), max(ys)], TOP + HEIGHT, -HEIGHT, pad=True)
    yield f'<text x="{left}" y="{TOP - 8}" font-weight="bold">{name}</text>'
    yield f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>'
    for tick in up.ticks():
        y = up.at(tick)
        yield f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>'
    for tick in sorted(set(xs)):
        x = across.at(tick)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + HEIGHT}" stroke="#eee"/>'
        yield f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{short(tick)}</text>'
    yield f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 32}" text-anchor="middle">{escape(unit)}</text>'
    for number, curve in enumerate(curves.values()):
        placed = [(across.at(x), up.at(max(y, 1e-3))) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        yield f'<polyline points="{line}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_colour(number)}"/>' for x, y in placed)


class _Axis:
    """A logarithmic axis from ``start``, ``length`` pixels long; negative: upwards. Padded, it ends at 1, 2 or 5."""

    def __init__(self, values: Sequence[float], start: float, length: float, *, pad: bool = False) -> None:
        low, high = min(values), max(values)
        if pad:
            steps = [mantissa * 10.0**power for power in range(-4, 8) for mantissa in (1, 2, 5)]
            low = max(step for step in steps if step <= low)
            high = min(step for step in steps if step >= high and step > low)
        self._low, self._high, self._start, self._length, self._pad = low, high, start, length, 0 if pad else 0.06

    def at(self, value: float) -> float:
        """The pixel."""
        whole = math.log(self._high / self._low) or 1
        share = self._pad + (1 - 2 * self._pad) * math.log(value / self._low) / whole
        return self._start + self._length * share

    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten; only the powers if those were too many."""
        steps = [(mantissa, mantissa * 10.0**power) for power in range(-4, 8) for mantissa in (1, 2, 5)]
        inside = [(mantissa, step) for mantissa, step in steps if self._low <= step <= self._high * 1.001]
        return [step for mantissa, step in inside if mantissa == 1 or len(inside) <= 8]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
