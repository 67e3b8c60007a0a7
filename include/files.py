"""Files of rows and of lines, written and hashed in one go; what comes out is what a manifest says of them.

Nothing is read back, and nothing is forced to disk file by file: the manifest, written last, holds the hashes, and
whoever uses the files checks those.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from include.lines import text_bytes

ROW_GROUP = 131_072


def steady(reader: Iterable[pa.RecordBatch], rows: int = ROW_GROUP) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of always the same size (the last may be shorter), so that files repeat."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in reader:
        waiting.append(batch)
        held += len(batch)
        while held >= rows:
            whole = pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]
            yield whole.slice(0, rows)
            held -= rows
            waiting = [whole.slice(rows)] if held else []
    if held:
        yield pa.concat_batches(waiting)


class Background:
    """One thread that does one thing at a time beside the caller; errors surface at the next call."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[Any] | None = None

    def run(self, job: Callable[..., Any], *values: Any) -> None:
        """Start a job, after the one before has ended."""
        self.wait()
        self._pending = self._thread.submit(job, *values)

    def wait(self) -> None:
        """Wait for the job; raises what it raised."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


class _Hashed:
    """A binary file that hashes what is written to it; as much of a file as Parquet needs."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        left = memoryview(data).cast("B")
        while left:
            left = left[self._file.write(left) :]
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
        self._file.close()

    def end(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it; after an error, whatever of it is not visible yet in an object store never will be."""
        self.closed = True
        self._file.__exit__(kind, error, at)


class RowsFile:
    """A Parquet file, written beside the caller; after the ``with`` block ``entry`` says what it is."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self.entry: dict[str, Any] = {"name": path.name, "rows": 0, "bytes": 0, "sha256": ""}
        self._schema = pa.schema([(name, pa.large_string()) for name in columns])
        self._sink = _Hashed(path)
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
        )
        self._aside = Background()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._aside.wait()
        finally:
            self._aside.close()
            self._writer.close()
            self._sink.end(kind, error, at)
        self.entry |= {"bytes": self._sink.size, "sha256": self._sink.sha256.hexdigest()}

    def write(self, *columns: pa.Array) -> None:
        """Append rows as a row group."""
        if len(columns[0]):
            self.entry["rows"] += len(columns[0])
            self._aside.run(self._writer.write_table, pa.table(list(columns), schema=self._schema), ROW_GROUP)


class LinesFiles:
    """Numbered files of lines, each hashed, and all of them hashed as if they were one; written beside the caller.

    After the ``with`` block ``entries`` says what the files are, and ``whole`` what they are end to end.
    """

    def __init__(self, folder: Path, name: str, suffix: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[dict[str, Any]] = []
        self.whole: dict[str, Any] = {"rows": 0, "bytes": 0, "sha256": ""}
        self._folder, self._name, self._suffix = folder, name, suffix
        self._all: Any = None  # the hash of one file alone serves for both
        self._open: _Hashed | None = None
        self._aside = Background()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.cut()
                self.whole["sha256"] = (self._all or hashlib.sha256()).hexdigest()
        finally:
            self._aside.close()
            if self._open:
                self._open.end(kind, error, at)

    def write(self, lines: pa.Array, **counts: int) -> None:
        """Append lines to the open file, or to a new one after :meth:`cut`; counts are added to its entry."""
        if not len(lines):
            return
        if not self._open:
            path = self._folder / f"{self._name}-{len(self.entries):05d}.{self._suffix}"
            self._open = _Hashed(path)
            self.entries.append({"name": f"{self._folder.name}/{path.name}", "rows": 0, "bytes": 0, "sha256": ""})
        data = text_bytes(lines)
        for figures in (self.entries[-1], self.whole):
            for name, count in {"rows": len(lines), "bytes": len(data), **counts}.items():
                figures[name] = figures.get(name, 0) + count
        self._aside.run(self._append, self._open, data)

    @property
    def rows_in_open(self) -> int:
        """Rows in the open file so far."""
        return int(self.entries[-1]["rows"]) if self._open else 0

    @property
    def bytes_in_open(self) -> int:
        """Bytes in the open file so far."""
        return int(self.entries[-1]["bytes"]) if self._open else 0

    def cut(self) -> None:
        """End the open file, if there is one."""
        self._aside.wait()
        if self._open:
            self._open.close()
            self.entries[-1]["sha256"] = self._open.sha256.hexdigest()
            self._all = self._all or self._open.sha256
            self._open = None

    def _append(self, file: _Hashed, data: memoryview) -> None:
        file.write(data)
        if self._all:
            self._all.update(data)
