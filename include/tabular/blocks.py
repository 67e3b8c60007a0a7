"""The bytes of a file, plain or gzipped, block by block; and where the lines in a block end."""

import gzip
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from include.errors import BadInput

BLOCK = 8 * 1024 * 1024
LONGEST_LINE = 1024 * 1024  # bytes; no row of ids is longer
SHOWN = 1_000  # bytes of an unreadable line that are kept among the refused rows
LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
Places = NDArray[np.int64]


def blocks(path: Path, zipped: bool) -> Iterator[bytes]:
    """The bytes of a file without its byte order mark.

    Raises:
        BadInput: a gzipped file ends too early or is damaged.
    """
    with _open(path, zipped) as handle:
        block = _read(handle).removeprefix(BOM_UTF8)
        while block:
            yield block
            block = _read(handle)


def _open(path: Path, zipped: bool) -> BinaryIO | gzip.GzipFile:
    if not zipped:
        return path.open("rb")
    if not path.stat().st_size:
        raise BadInput("it ends with .gz and holds no byte at all, so it is not a whole gzip file.")
    return gzip.open(path)


def _read(handle: BinaryIO | gzip.GzipFile) -> bytes:
    try:
        return handle.read(BLOCK)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(
            f"not a whole gzip file ({error}): a half file must not pass as the whole one. Fetch or write it anew."
        ) from error


@dataclass(frozen=True)
class Overlong:
    """A line that is longer than any may be: what it begins with."""

    begins: bytes


def whole_lines(path: Path, zipped: bool) -> Iterator[bytes | Overlong]:
    r"""A file cut behind ends of lines (``\n``, ``\r\n``, or ``\r`` alone); only the last line may lack its end.

    A line that reaches over several blocks and is longer than ``LONGEST_LINE`` comes by itself; others as long may lie
    within a block.

    Raises:
        BadInput: a gzipped file ends too early or is damaged.
    """
    rest, skipping = b"", False
    for block in blocks(path, zipped):
        data = rest + block
        if skipping:
            found = LINE_END.search(data)
            if found is None:
                rest = _half_an_end(data)
                continue
            data, skipping = data[found.end() :], False
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(0, len(data) - 1))) + 1
        if end:
            yield data[:end]
        rest = data[end:]
        if len(rest) > LONGEST_LINE:
            yield Overlong(rest[:SHOWN])
            rest, skipping = _half_an_end(rest), True
    if rest and not skipping:
        yield rest


def _half_an_end(data: bytes) -> bytes:
    return data[-1:] if data.endswith(b"\r") else b""


def line_ends(view: NDArray[np.uint8], whole: bool) -> Places:
    """The places just behind the lines.

    Args:
        view: some bytes.
        whole: they end with a line, even if its end is missing; otherwise what is behind the last end is left out.
    """
    feeds = np.flatnonzero(view == ord("\n"))
    returns = np.flatnonzero(view == ord("\r"))
    if len(returns):
        inside = returns[returns < len(view) - 1]
        alone = inside[view[inside + 1] != ord("\n")]
        feeds = np.sort(np.concatenate([feeds, alone])) if len(alone) else feeds
    ends = feeds + 1
    return np.append(ends, len(view)) if whole and len(view) and (not len(ends) or ends[-1] != len(view)) else ends


def not_utf8(data: bytes, ends: Places) -> Iterator[int]:
    """The numbers of the records that are not UTF-8, by the places behind them."""
    at = 0
    while at < len(data):
        try:
            str(memoryview(data)[at:], "utf-8")
        except UnicodeDecodeError as error:
            row = int(np.searchsorted(ends, at + error.start, "right"))
            yield row
            at = int(ends[row])
        else:
            return
