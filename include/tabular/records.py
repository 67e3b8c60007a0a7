"""Where the records of a CSV file lie in some of its bytes, and which of them cannot be right; no loop over rows.

A record ends with a line, unless a quote is open there. Whether one is open is known by counting: behind an even number
of quotes none is. That holds as long as every quote stands where one may stand (it opens at the beginning of a value,
closes at its end, or is one of two inside); the first that does not is where counting ends.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from include.tabular.blocks import LONGEST_LINE, Places, line_ends

LONGEST_RECORD = 100  # lines; a quote that is open for longer was not meant to be one
_QUOTE, _FEED, _RETURN = ord('"'), ord("\n"), ord("\r")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Records:
    """Whole records at the beginning of some bytes.

    Attributes:
        size: how many bytes they take.
        starts: where each begins.
        ends: the place behind each, its line end included.
        values: how many values each has.
        blank: those without a character.
        bad: those with another number of values, or too long.
        lines: the places behind all lines of these bytes.
        quoted: whether there are quotes.
        broken: the line that begins at ``size`` cannot be part of a right record.
    """

    size: int
    starts: Places
    ends: Places
    values: Places
    blank: Mask
    bad: Mask
    lines: Places
    quoted: bool
    broken: bool

    def first(self, count: int) -> "Records":
        """The first of them; the line behind them is broken."""
        size = int(self.starts[count])
        return replace(
            self,
            size=size,
            starts=self.starts[:count],
            ends=self.ends[:count],
            values=self.values[:count],
            blank=self.blank[:count],
            bad=self.bad[:count],
            lines=self.lines[self.lines <= size],
            broken=True,
        )


def find_records(data: bytes, mark: int, width: int | None, whole: bool) -> Records:
    """Find the whole records at the beginning of the data.

    Args:
        data: bytes that begin with a record.
        mark: the delimiter's byte.
        width: how many values a record must have; None: it is not looked at.
        whole: the data end with a line, even if its end is missing.
    """
    view = np.frombuffer(data, np.uint8)
    lines = line_ends(view, whole)
    quotes = np.flatnonzero(view == _QUOTE)
    ends, broken = lines, False
    if len(quotes):
        ends = lines[_outside(quotes, lines)]
        fault = _first_fault(view, quotes, mark)
        if fault is not None:
            ends, broken = ends[ends <= fault], True
    size = int(ends[-1]) if len(ends) else 0
    broken = broken or (not size and len(lines) > LONGEST_RECORD)
    starts = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])
    marks = np.flatnonzero(view[:size] == mark)
    if len(quotes):
        marks = marks[_outside(quotes, marks)]
    values = np.searchsorted(marks, ends) - np.searchsorted(marks, starts) + 1
    lengths = _lengths(view, starts, ends)
    blank = lengths == 0
    bad = (lengths > LONGEST_LINE) | (False if width is None else values != width)
    records = Records(size, starts, ends, values, blank, bad & ~blank, lines[lines <= size], bool(len(quotes)), broken)
    return _without_long_faults(records) if len(quotes) else records


def _outside(quotes: Places, places: Places) -> Mask:
    outside: Mask = np.searchsorted(quotes, places) % 2 == 0
    return outside


def _first_fault(view: NDArray[np.uint8], quotes: Places, mark: int) -> int | None:
    """The first quote that neither opens nor closes a value nor is one of two inside."""
    opening, closing = quotes[::2], quotes[1::2]
    before = np.where(opening > 0, view[opening - 1], _FEED)
    behind = np.where(closing + 1 < len(view), view[np.minimum(closing + 1, len(view) - 1)], _FEED)
    faults = [
        quotes_[~np.isin(beside, [mark, _FEED, _RETURN, _QUOTE])]
        for quotes_, beside in ((opening, before), (closing, behind))
    ]
    return min((int(found[0]) for found in faults if len(found)), default=None)


def _lengths(view: NDArray[np.uint8], starts: Places, ends: Places) -> Places:
    """Bytes of each record without its line end."""
    if not len(ends):
        return ends
    last, before = view[ends - 1], view[np.maximum(ends - 2, 0)]
    one = (last == _FEED) | (last == _RETURN)
    two = (last == _FEED) & (before == _RETURN) & (ends - 2 >= starts)
    lengths: Places = ends - starts - one - two
    return lengths


def _without_long_faults(records: Records) -> Records:
    """A bad record of several lines, or one of very many, may have swallowed good ones: it is read line by line."""
    of_lines = np.searchsorted(records.lines, records.ends, "right") - np.searchsorted(
        records.lines, records.starts, "right"
    )
    swallowing = np.flatnonzero((records.bad & (of_lines > 1)) | (of_lines > LONGEST_RECORD))
    return records.first(int(swallowing[0])) if len(swallowing) else records
