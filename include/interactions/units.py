"""Units of a run: lines as they are sent, and beside each file of lines an index that the ledger understands.

``lines/units-00000.jsonl`` holds up to 100,000 JSON objects, ``index/units-00000.parquet`` a row for each, as
``include.transactions.index`` has it. The key is that of kind, user, item and time: what a unit is. The content is that
of its line: the same unit with another price was changed. What is sent together is cut out of the files later.
"""

import hashlib
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
from include.objects import arrow
from include.staging import remove_folder
from include.transactions.index import INDEX, IndexFile, contents_of, keys_of

UNITS_PER_FILE = 100_000
_DAY = 86_400_000


def write_units(run: Path, kind: str, rows: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """Write lines and indexes below ``run``, in place of what a former try left.

    Args:
        run: the folder of the run.
        kind: what the units are; goes into their keys.
        rows: columns ``key`` (text, what the unit is), ``line`` (``large_string``, ends with a newline) and ``moment``
            (milliseconds since 1970).

    Returns:
        ``rows``, ``bytes``, ``sha256`` of all lines, and ``chunks``, an entry for each file.
    """
    for folder in ("lines", "index"):
        remove_folder(run / folder)
    with LinesFiles(run / "lines", "units", "jsonl") as files:
        for number, batch in enumerate(steady(rows, UNITS_PER_FILE)):
            with IndexFile(run / "index" / f"units-{number:05d}.parquet") as index:
                index.write(_index_of(kind, batch["key"], batch["line"], batch["moment"]))
            files.write(batch["line"])
            files.cut()
    return {**files.whole, "chunks": files.entries}


def _index_of(kind: str, ids: pa.Array, lines: pa.Array, moments: pa.Array) -> pa.Table:
    opening, glue = (pa.scalar(text, pa.large_string()) for text in (f"{kind} ", ""))
    columns = [
        keys_of(pc.binary_join_element_wise(opening, ids, glue)),
        contents_of(lines),
        pa.array(np.ones(len(lines), np.int32)),
        pa.array(np.diff(text_borders(lines))),
        pc.floor(pc.divide(moments.cast(pa.float64()), _DAY)).cast(pa.int32()),
    ]
    return pa.Table.from_arrays(columns, schema=INDEX)


@dataclass(frozen=True)
class Chunk:
    """One file of units, and its index."""

    lines: Path
    index: Path


def chunks_of(run: Path, manifest: dict[str, Any]) -> list[Chunk]:
    """The files of a run, in order."""
    names = [Path(chunk["name"]) for chunk in manifest["chunks"]]
    return [Chunk(run / name, run / "index" / f"{name.stem}.parquet") for name in names]


@dataclass(frozen=True)
class Group:
    """Some units of one file that are claimed together: their lines, without newlines, and their index."""

    lines: list[bytes]
    index: pa.Table
    uri: str

    @property
    def sha256(self) -> str:
        """The same units with the same content in the same order are the same group."""
        keys, contents = self.index["key"].to_pylist(), self.index["content"].to_numpy().astype("<i8")
        return hashlib.sha256(b"".join(keys) + contents.tobytes()).hexdigest()

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
    index = pq.read_table(str(chunk.index), filesystem=arrow(chunk.index))
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
    if contents_of(pa.array(lines, pa.large_binary())).to_pylist() != group.index["content"].to_pylist():
        raise BadInput(
            f"{chunk.lines}: it is not the file that was built (its lines are others). Nothing more of it is sent. "
            "Clear the build of this run."
        )
