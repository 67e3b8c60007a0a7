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
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.audience.profiles import Page
from include.errors import BadInput
from include.objects import arrow
from include.staging import open_whole, utc_text

SEGMENT_ROWS = 20_000
SEGMENT_BYTES = 16 * 1024 * 1024
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
    begun_at: set[str | None] = field(default_factory=set)
    """The cursors that the segments began at: coming to one of them again is a circle."""
    finished: bool = False


class OpenPages:
    """Pages that came and are not on disk yet.

    Args:
        folder: of the source.
        about: names the question that the rows answer; see :func:`chain`.
        done: what is staged; kept up to date.
        table_of: makes the rows of a page a table, of an empty one too; all of one schema.
    """

    def __init__(self, folder: Path, about: str, done: Pass, table_of: Callable[[list[Any]], pa.Table]) -> None:
        self.cursor = done.cursor
        self._folder, self._about, self._done, self._table_of = folder, about, done, table_of
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._finished = False
        self._kept = time.monotonic()
        self.rows = 0

    def add(self, page: Page) -> None:
        """Take a page; write a segment if enough came, or long enough ago."""
        table = self._table_of(page.rows)
        self._tables.append(table)
        self.rows += table.num_rows
        self._bytes += table.nbytes
        self.cursor, self._finished = page.cursor, page.cursor is None
        long_ago = time.monotonic() - self._kept >= SEGMENT_SECONDS
        if long_ago or self.rows >= SEGMENT_ROWS or self._bytes >= SEGMENT_BYTES:
            self.keep()

    def keep(self) -> None:
        """Write a segment of what is held: rows and cursor in one file, at once."""
        if not self._tables:
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
        table = pa.concat_tables(self._tables).replace_schema_metadata({_CHECKPOINT: json.dumps(note).encode()})
        with open_whole(_segment(self._folder, done.segments)) as sink:
            pq.write_table(table, sink)
        done.begun_at.add(done.cursor)
        done.segments += 1
        done.rows += self.rows
        done.cursor, done.finished = self.cursor, self._finished
        self._tables, self.rows, self._bytes, self._kept = [], 0, 0, time.monotonic()


def chain(folder: Path, about: str | None) -> tuple[Pass, list[str]]:
    """Follow the segments as far as each goes on where the one before ended; of another ``about``: nothing."""
    done, paths = Pass(), []
    while not done.finished and (found := _look(path := _segment(folder, done.segments))):
        note, rows = found
        if done.segments == 0 and note["from"] is None and about in (None, note["about"]):
            done.mark, done.started, done.counted = note["pass"], note["started"], note["counted"]
        if (note["pass"], note["from"]) != (done.mark, done.cursor):
            break
        paths.append(str(path))
        done.begun_at.add(done.cursor)
        done.segments += 1
        done.rows += rows
        done.cursor, done.finished = note["to"], note["last"]
    return done, paths


def _look(path: Path) -> tuple[dict[str, Any], int] | None:
    """What a segment says of itself, and its rows; None if there is none of that number."""
    try:
        metadata = pq.read_metadata(str(path), filesystem=arrow(path))
        note: dict[str, Any] = json.loads(metadata.metadata[_CHECKPOINT])
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a staged segment ({error}). Remove it and clear the pull task.") from error
    return note, int(metadata.num_rows)


def _segment(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:06d}.parquet"
