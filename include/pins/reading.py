"""Lines of NDJSON files with their numbers, one at a time, whatever is in them."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, cast

from include.errors import BadInput
from include.pins.scopes import MAX_LINE_BYTES

SUFFIXES = (".ndjson", ".jsonl", ".json", ".ndjson.gz", ".jsonl.gz", ".json.gz")
_BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20


def is_ndjson(name: str) -> bool:
    """Whether a file of that name holds a scope a line."""
    return name.lower().endswith(SUFFIXES)


def read_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Number, from 1, and content of each line; None for one that is too large. Blank lines are left out.

    Raises:
        BadInput: the file cannot be read to its end.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with path.open("rb") as file, gzip.open(file) if packed else nullcontext(file) as handle:
            yield from _lines(cast(IO[bytes], handle))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(
            f"{path.name}: is damaged or was cut off ({error}). Nothing is sent: half a file must not pass for a whole "
            "one. Copy the file again, and clear the pull of this run."
        ) from error


def _lines(handle: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    number = 0
    while line := handle.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip(handle)
            yield number, None
        elif line.strip():
            yield number, line


def _skip(handle: IO[bytes]) -> None:
    """Read on to the end of the line."""
    while (piece := handle.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass
