"""What a build writes: scopes in parts of one call each, the lines they came from, and what is refused."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from include.books import DUPLICATE, Rejects
from include.errors import BadInput
from include.files import LinesFiles
from include.objects import arrow
from include.pins.drafts import SHOWN_CHARACTERS, Draft
from include.staging import atomic_write

LINES = "lines.parquet"
CALL_BYTES = 64_000_000
"""A call is cut above this, however few scopes it has, so that memory stays small."""
_WRITE_ROWS = 1_000
_WRITE_BYTES = 4_000_000
_TOLD = 10
_DETAIL_CHARACTERS = 200
LINES_SCHEMA = pa.schema(
    [
        ("part", pa.int32()),
        ("place", pa.int32()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("rows", pa.int64()),
        ("key", pa.binary()),
    ]
)


class PinParts:
    """``chunks/pins-NNNNN.ndjson`` with at most so many scopes each, and ``lines.parquet`` with a row a scope."""

    def __init__(self, run: Path, scopes_per_call: int) -> None:
        self.lines = 0
        """Lines or rows that the scopes were made of."""
        self._most = scopes_per_call
        self._run = run
        self._files = LinesFiles(run / "chunks", "pins", "ndjson")
        self._waiting: list[str] = []
        self._bytes = self._waiting_bytes = 0
        self._origins: list[dict[str, Any]] = []
        self._part = self._place = 0

    def __enter__(self) -> Self:
        self._writing = atomic_write(self._run / LINES)
        self._index = pq.ParquetWriter(self._writing.__enter__(), LINES_SCHEMA)
        self._files.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._files.__exit__(kind, error, at)
        self._index.close()
        self._writing.__exit__(kind, error, at)

    def add(self, line: str, drafts: Sequence[Draft]) -> None:
        """Append a scope that came from these lines."""
        size = len(line.encode()) + 1
        if self._place == self._most or self._bytes + size > CALL_BYTES:
            self._flush()
            self._files.cut()
            self._part, self._place, self._bytes = self._part + 1, 0, 0
        first = drafts[0]
        origin = {"part": self._part, "place": self._place, "file": first.file, "line": first.line}
        self._origins.append({**origin, "rows": len(drafts), "key": first.key})
        self._waiting.append(line + "\n")
        self._place += 1
        self._bytes += size
        self._waiting_bytes += size
        self.lines += len(drafts)
        if len(self._waiting) >= _WRITE_ROWS or self._waiting_bytes > _WRITE_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._files.write(pa.array(self._waiting, pa.large_string()))
        self._index.write_table(pa.Table.from_pylist(self._origins, LINES_SCHEMA))
        self._waiting, self._origins, self._waiting_bytes = [], [], 0

    def figures(self) -> dict[str, Any]:
        """For the manifest: scopes, bytes, hash and parts; after the ``with`` block."""
        whole = self._files.whole
        return {
            "scopes": whole["rows"],
            "bytes": whole["bytes"],
            "sha256": whole["sha256"],
            "chunks": self._files.entries,
        }


@dataclass(frozen=True)
class Part:
    """The scopes of one call: the number of the first one in the run, and of each its key and line."""

    name: str
    sha256: str
    first: int
    keys: Sequence[bytes]
    lines: Sequence[bytes]


def read_parts(run: Path, manifest: Mapping[str, Any]) -> Iterator[Part]:
    """The parts of a run that was built, one after the other.

    Raises:
        BadInput: a part is not what the manifest says.
    """
    keys = pq.read_table(str(run / LINES), filesystem=arrow(run), columns=["key"])["key"]
    first = 0
    for chunk in manifest["chunks"]:
        path = run / chunk["name"]
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != chunk["sha256"] or first + chunk["rows"] > len(keys):
            raise BadInput(f"{path}: not what the manifest lists. It was not sent. Clear the build of this run.")
        lines = content.split(b"\n")[:-1]
        yield Part(chunk["name"], chunk["sha256"], first, keys.slice(first, len(lines)).to_pylist(), lines)
        first += len(lines)


class PinRejects(Rejects):
    """``rejects.parquet``: file, line, what is wrong, the line itself as far as it can be shown, and the reason."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, ("file", "line", "detail", "content"))
        self.first: list[str] = []
        """The first ones, in words."""
        self._waiting: list[tuple[str | None, ...]] = []

    def add_draft(self, draft: Draft, reason: str, detail: str) -> None:
        """Refuse a line or row."""
        if reason != DUPLICATE and len(self.first) < _TOLD:
            self.first.append(f"{draft.place}: {reason} ({detail[:_DETAIL_CHARACTERS]})")
        line = None if draft.line is None else str(draft.line)
        content = "".join(text for text in (draft.scope, draft.pin) if text)[:SHOWN_CHARACTERS]
        self._waiting.append((draft.file, line, detail, content, reason))
        if len(self._waiting) >= _WRITE_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            *rows, reasons = (pa.array(column, pa.large_string()) for column in zip(*self._waiting, strict=True))
            self.add(rows, reasons)
            self._waiting = []
