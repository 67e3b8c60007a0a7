"""Sessions that were sent and are not the same now: listed by their ids, as data, for whoever corrects the source."""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CHANGED = "changed.parquet"
_SCHEMA = pa.schema([("session_id", pa.string()), ("rows", pa.int32()), ("day", pa.date32()), ("file", pa.string())])
_BATCH = 10_000


class ChangedSessions:
    """``changed.parquet`` of a run while it is written; without such sessions there is no such file.

    ``day`` is that of the session's last purchase, ``file`` the upload file of this run that holds it as it is now.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._files = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        (self._run / CHANGED).unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()  # whatever happened: what is listed has changed

    def add(self, chunk: dict[str, Any], index: pa.Table, changed: pa.BooleanArray) -> None:
        """Add those sessions of a file; their ids are read from the file, where the index says they lie."""
        sizes = index["bytes"].combine_chunks()
        lies = pc.subtract(pc.cumulative_sum(sizes), sizes).filter(changed)
        rows, days = (index[name].combine_chunks().filter(changed) for name in ("rows", "day"))
        for first in range(0, len(lies), _BATCH):
            ids = list(_session_ids(self._run / chunk["name"], lies.slice(first, _BATCH).to_pylist()))
            days_here = days.slice(first, _BATCH).cast(pa.int32()).cast(pa.date32())
            batch = [ids, rows.slice(first, _BATCH), days_here, pa.repeat(chunk["name"], len(ids))]
            self._open().write_table(pa.table(batch, schema=_SCHEMA))

    def _open(self) -> pq.ParquetWriter:
        if not self._writer:
            sink = self._files.enter_context((self._run / CHANGED).open("wb"))
            self._writer = self._files.enter_context(pq.ParquetWriter(sink, _SCHEMA))
        return self._writer


def _session_ids(file: Path, lies: list[int]) -> Iterator[str]:
    """The session of the lines that begin at these bytes."""
    with file.open("rb") as handle:
        for byte in lies:
            handle.seek(byte)
            line = handle.readline().decode()
            yield next(csv.reader([line]))[0] if file.suffix == ".csv" else json.loads(line)["session_id"]
