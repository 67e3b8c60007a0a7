"""Units of a run: lines as they are sent, and beside each file of lines an index that the ledger understands.

``lines/units-00000.jsonl`` holds up to 100,000 JSON objects, ``index/units-00000.parquet`` a row for each, as
``include.transactions.index`` has it. The key is that of kind and line, so all of a unit is in it; the content repeats
64 bits of the key: a unit with another content is another unit. What is sent together is cut out of the files later.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.errors import BadInput
from include.files import LinesFiles, steady
from include.lines import text_borders
from include.transactions.index import INDEX, IndexFile, keys_of

UNITS_PER_FILE = 100_000
_DAY = 86_400_000


def write_units(run: Path, kind: str, rows: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """Write lines and indexes below ``run``, in place of what a former try left.

    Args:
        run: the folder of the run.
        kind: what the units are; goes into their keys.
        rows: columns ``line`` (``large_string``, ends with a newline) and ``moment`` (milliseconds since 1970, or
            null).

    Returns:
        ``rows``, ``bytes``, ``sha256`` of all lines, and ``chunks``, an entry for each file.
    """
    for folder in ("lines", "index"):
        shutil.rmtree(run / folder, ignore_errors=True)
    with LinesFiles(run / "lines", "units", "jsonl") as files:
        for number, batch in enumerate(steady(rows, UNITS_PER_FILE)):
            with IndexFile(run / "index" / f"units-{number:05d}.parquet") as index:
                index.write(_index_of(kind, batch["line"], batch["moment"]))
            files.write(batch["line"])
            files.cut()
    return {**files.whole, "chunks": files.entries}


def _index_of(kind: str, lines: pa.Array, moments: pa.Array) -> pa.Table:
    keys = _keys(kind, lines)
    columns = [
        keys,
        pa.array(np.frombuffer(keys.buffers()[1], "<i8")[::2]),
        pa.array(np.ones(len(keys), np.int32)),
        pa.array(np.diff(text_borders(lines))),
        pc.floor(pc.divide(moments.cast(pa.float64()), _DAY)).cast(pa.int32()),
    ]
    return pa.Table.from_arrays(columns, schema=INDEX)


def _keys(kind: str, lines: pa.Array) -> pa.Array:
    opening, glue = (pa.scalar(text, pa.large_string()) for text in (f"{kind} ", ""))
    return keys_of(pc.binary_join_element_wise(opening, lines, glue))


@dataclass(frozen=True)
class Chunk:
    """One file of units of a kind, and its index."""

    kind: str
    lines: Path
    index: Path


def chunks_of(run: Path, kind: str, manifest: dict[str, Any]) -> list[Chunk]:
    """The files of a run, in order."""
    names = [Path(chunk["name"]) for chunk in manifest["chunks"]]
    return [Chunk(kind, run / name, run / "index" / f"{name.stem}.parquet") for name in names]


@dataclass(frozen=True)
class Group:
    """Some units of one file that are claimed together: their lines, without newlines, and their index."""

    lines: list[bytes]
    index: pa.Table
    uri: str

    @property
    def sha256(self) -> str:
        """Of the keys: the same units in the same order are the same group."""
        return hashlib.sha256(b"".join(self.index["key"].to_pylist())).hexdigest()

    @property
    def bytes(self) -> int:
        """Of the lines."""
        return int(pc.sum(self.index["bytes"]).as_py() or 0)

    def take(self, places: list[int]) -> "Group":
        """Some of its units."""
        return Group([self.lines[place] for place in places], self.index.take(places), self.uri)

    def __len__(self) -> int:
        return len(self.lines)


def groups(chunk: Chunk, wanted: pa.Array, size: int) -> Iterator[Group]:
    """The wanted units of a file, ``size`` together; the lines of one group are in memory at a time.

    Args:
        chunk: the file.
        wanted: for each unit whether it is wanted.
        size: most units of a group.

    Raises:
        BadInput: the file is not the one that was built.
    """
    index = pq.read_table(chunk.index)
    lengths = index["bytes"].to_numpy()
    begins = np.cumsum(lengths) - lengths
    places = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
    with chunk.lines.open("rb") as handle:
        for start in range(0, len(places), size):
            some = places[start : start + size]
            lines = []
            for place in some:
                handle.seek(int(begins[place]))
                lines.append(handle.read(int(lengths[place])))
            group = Group(
                [line.rstrip(b"\n") for line in lines],
                index.take(some).combine_chunks(),
                f"{chunk.lines.as_uri()}#{some[0] + 1}-{some[-1] + 1}",
            )
            _check(chunk, group, lines)
            yield group


def _check(chunk: Chunk, group: Group, lines: list[bytes]) -> None:
    read = pa.array(lines, pa.large_binary())
    kind = pa.scalar(f"{chunk.kind} ".encode(), pa.large_binary())
    keys = keys_of(pc.binary_join_element_wise(kind, read, pa.scalar(b"", pa.large_binary())))
    if keys.to_pylist() != group.index["key"].to_pylist():
        raise BadInput(
            f"{chunk.lines}: it is not the file that was built (its lines are others). Nothing more of it is sent. "
            "Clear the build of this run."
        )
