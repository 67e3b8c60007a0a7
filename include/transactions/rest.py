"""Part of an upload file: the sessions that were not sent before, copied out of it by their byte ranges.

The file is read once from begin to end, so that its hash is checked on the way; memory is that of a block.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.errors import BadInput
from include.lines import text_bytes
from include.objects import arrow
from include.staging import atomic_write, open_whole
from include.transactions.index import INDEX, IndexFile

_BLOCK = 1 << 22
_UNITS = 65_536


def rest_name(chunk: dict[str, Any], number: int) -> str:
    """The name, within the run, of the rest with this number of a chunk."""
    source = Path(chunk["name"])
    return f"rest/{source.stem}-{number:03d}{source.suffix}"


def write_rest(run: Path, chunk: dict[str, Any], keep: pa.BooleanArray, number: int) -> tuple[dict[str, Any], Path]:
    """Write the sessions kept of a chunk to ``rest/{chunk}-{number}.{format}``, with an index of their own.

    Args:
        run: the folder of the run.
        chunk: the chunk's entry in the manifest.
        keep: for each session of the chunk, in order, whether it is kept; no nulls.
        number: which rest of this chunk it is; the same number replaces the same file.

    Returns:
        An entry as the manifest has for chunks, and where the index lies.

    Raises:
        BadInput: the chunk, its index and ``keep`` do not belong together, or a file was changed.
    """
    source, index = run / chunk["name"], run / chunk["index"]
    name = rest_name(chunk, number)
    entry = {"name": name, "index": str(Path(name).with_suffix(".parquet"))}
    if len(keep) != chunk["sessions"]:
        raise BadInput(f"{index}: told about {len(keep):,} sessions, but the file has {chunk['sessions']:,}")
    with (
        source.open("rb") as lines,
        open_whole(run / entry["name"]) as out,
        atomic_write(run / entry["index"]) as index_path,
    ):
        with IndexFile(index_path) as units:
            copied = _Copied(out)
            for batch, kept in _with(index, keep):
                copied.copy(lines, batch["bytes"].to_numpy(), kept.to_numpy(zero_copy_only=False))
                units.write(pa.Table.from_batches([batch.filter(kept)], INDEX))
                copied.rows += pc.sum(batch["rows"].filter(kept)).as_py() or 0
        if lines.read(1) or copied.whole.hexdigest() != chunk["sha256"]:
            raise BadInput(
                f"{source}: it is not the file that was built (its SHA-256 is another). Nothing of it is sent. Clear "
                "the build of this run."
            )
    figures = {"rows": copied.rows, "sessions": pc.sum(keep).as_py() or 0, "bytes": copied.bytes}
    return {**entry, **figures, "sha256": copied.kept.hexdigest()}, run / entry["index"]


def _with(index: Path, keep: pa.BooleanArray) -> Iterator[tuple[pa.RecordBatch, pa.BooleanArray]]:
    done = 0
    with pq.ParquetFile(str(index), filesystem=arrow(index)) as file:
        if file.metadata.num_rows != len(keep):
            raise BadInput(f"{index}: {file.metadata.num_rows:,} sessions instead of {len(keep):,}. Clear the build.")
        for batch in file.iter_batches(_UNITS):
            yield batch, keep.slice(done, len(batch))
            done += len(batch)


class _Copied:
    """The file while it is copied: hashes of all that was read and of what was kept."""

    def __init__(self, out: IO[bytes]) -> None:
        self.whole, self.kept = hashlib.sha256(), hashlib.sha256()
        self.rows = self.bytes = 0
        self._out = out

    def copy(self, lines: IO[bytes], sizes: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> None:
        """Read as many bytes as the sessions have, some sessions at a time, and write those of the sessions kept."""
        borders = np.append(0, np.cumsum(sizes))
        first = 0
        while first < len(sizes):
            fits = int(np.searchsorted(borders, borders[first] + _BLOCK, side="right")) - 1
            last = max(fits, first + 1)
            self._some(lines, borders[first : last + 1] - borders[first], kept[first:last])
            first = last

    def _some(self, lines: IO[bytes], borders: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> None:
        left = int(borders[-1])
        while len(kept) == 1 and left > _BLOCK and (block := lines.read(_BLOCK)):
            left -= len(block)  # one session larger than a block
            self._put(block, block if kept[0] else b"")
        block = lines.read(left)
        if len(kept) == 1 or len(block) < left:  # a file that is too short has another hash, too
            self._put(block, block if kept[0] else b"")
            return
        sessions = pa.Array.from_buffers(
            pa.large_binary(), len(kept), [None, pa.py_buffer(borders), pa.py_buffer(block)]
        )
        self._put(block, text_bytes(sessions.filter(pa.array(kept))))

    def _put(self, read: bytes, kept: bytes | memoryview) -> None:
        self.whole.update(read)
        self.kept.update(kept)
        self._out.write(kept)
        self.bytes += len(kept)
