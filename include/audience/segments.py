"""Segments: the staged pages of one source, and the chain that they form.

``segment-NNNNNN.parquet`` holds the rows of some pages; its metadata has the cursor it began at and the one to go on
with. A segment is written whole or not at all, so whatever ends a pull, the next try goes on at the last cursor that
was kept, and no row is lost or doubled.

Each segment begins at the cursor its predecessor ended with, and carries the mark of the same pass. Reading stops
where the chain breaks: there a pass was begun anew over an older one, or a try that was thought dead wrote once more.
So nothing is ever deleted or appended to, and no folder is listed.
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.audience.profiles import Page, Row, table_of
from include.errors import BadInput
from include.staging import atomic_write, utc_text

SEGMENT_ROWS = 20_000
SEGMENT_SECONDS = 5.0
_CHECKPOINT = b"checkpoint"


@dataclass
class Pass:
    """One reading of a source, perhaps over several tries: what is staged of it."""

    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: str = field(default_factory=lambda: utc_text(datetime.now(UTC)))
    counted: int | None = None
    segments: int = 0
    rows: int = 0
    cursor: str | None = None
    finished: bool = False


class OpenPages:
    """Pages that came and are not on disk yet."""

    def __init__(self, folder: Path, about: str, done: Pass) -> None:
        self.rows: list[Row] = []
        self.cursor = done.cursor
        self._folder, self._about, self._done = folder, about, done
        self._pages = 0
        self._finished = False
        self._kept = time.monotonic()

    def add(self, page: Page) -> None:
        """Take a page; write a segment if enough came, or long enough ago."""
        self.rows += page.rows
        self.cursor, self._finished = page.cursor, page.cursor is None
        self._pages += 1
        if len(self.rows) >= SEGMENT_ROWS or time.monotonic() - self._kept >= SEGMENT_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write a segment of what is held: rows and cursor in one file, at once."""
        if not self._pages:
            return
        done = self._done
        note = {
            "about": self._about,
            "pass": done.mark,
            "started": done.started,
            "counted": done.counted,
            "from": done.cursor,
            "to": self.cursor,
            "last": self._finished,
        }
        table = table_of(self.rows).replace_schema_metadata({_CHECKPOINT: json.dumps(note).encode()})
        with atomic_write(_segment(self._folder, done.segments)) as path:
            pq.write_table(table, path)
        done.segments += 1
        done.rows += len(self.rows)
        done.cursor, done.finished = self.cursor, self._finished
        self.rows, self._pages, self._kept = [], 0, time.monotonic()


def chain(folder: Path, about: str | None) -> tuple[Pass, list[str]]:
    """Follow the segments as far as each goes on where the one before ended; of another ``about``: nothing."""
    done, paths = Pass(), []
    while not done.finished and (path := _segment(folder, done.segments)).exists():
        note, rows = _look(path)
        if done.segments == 0 and note["from"] is None and about in (None, note["about"]):
            done.mark, done.started, done.counted = note["pass"], note["started"], note["counted"]
        if (note["pass"], note["from"]) != (done.mark, done.cursor):
            break
        paths.append(str(path))
        done.segments += 1
        done.rows += rows
        done.cursor, done.finished = note["to"], note["last"]
    return done, paths


def _look(path: Path) -> tuple[dict[str, Any], int]:
    try:
        metadata = pq.read_metadata(path)
        note: dict[str, Any] = json.loads(metadata.metadata[_CHECKPOINT])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a staged segment ({error}). Remove it and clear the pull task.") from error
    return note, int(metadata.num_rows)


def _segment(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:06d}.parquet"
