"""A stream of pages from a newsletter platform becomes staged rows; a try that dies is gone on with.

The rows lie in ``{run}/pages/{index}``, in the segments of ``include.audience.segments``. ``source.json`` is written
last: how many rows and profiles came, what the platform itself counted, and whether that proves that all came.
Nothing here is ever removed: the audience is gathered from it, also when the build is run again.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from include.audience.profiles import Page, table_of
from include.audience.segments import OpenPages, Pass, chain
from include.audience.sources import Source, Turn
from include.engine import open_engine
from include.errors import BadInput, PipelineError
from include.staging import find_json, write_json

RECORD = "source.json"
PROGRESS_SECONDS = 5.0
REPEATED_ROWS = 1_000  # so many rows over twice the platform's own count: a listing that would never end
RESUME_WITHIN = timedelta(days=1)  # later the first pages are too old to go on with
log = logging.getLogger(__name__)


class CursorRefused(PipelineError):
    """The platform does not know the cursor of an earlier try any more; the source is read from its beginning."""


class Record(TypedDict):
    """What a source came to.

    ``profiles`` are distinct (of ``ids``: contacts with a value, which is what the platform counts there); ``counted``
    is the platform's own count before and after; ``mark`` is that of the pass it was read in.
    """

    source: str
    role: str
    rows: int
    profiles: int
    counted: list[int | None]
    complete: bool
    mark: str


@dataclass(frozen=True)
class Stream:
    """A source and how it is read.

    ``about`` says, in JSON, all that shapes the rows (connection, fields, settings): rows of another shape are not gone
    on with. ``read`` gives the pages from a cursor on, None is the beginning; it raises :class:`CursorRefused` before
    the first page if that is of no use any more. ``count`` asks for the platform's own count, None if it has none.
    ``table_of`` makes the rows of a page a table with a column ``key``.
    """

    item: Source
    about: dict[str, Any]
    read: Callable[[str | None], Iterator[Page]]
    count: Callable[[], int | None] = lambda: None
    table_of: Callable[[list[Any]], pa.Table] = table_of


class Done:
    """Which sources of a pull were read to their end, so that a retry does not read them once more.

    ``{run}/pages/turn-{index}.json`` has the marks of the passes of the last pull that came to its end. A source whose
    record has another mark was read since, by a try that died later.

    Args:
        run: the folder of the run.
        turn: what the pull reads.
    """

    def __init__(self, run: Path, turn: Turn) -> None:
        self._run, self._turn = run, turn
        self._path = run / "pages" / f"turn-{turn['index']:05d}.json"
        self._old = (find_json(self._path) or {"marks": []})["marks"]

    def record(self, item: Source) -> Record | None:
        """The record of a source that an earlier try of this pull read; None: it is to be read."""
        record = staged(self._run, item)[1]
        return None if record is None or record["mark"] in self._old else record

    def close(self, records: list[Record]) -> None:
        """Note that the pull came to its end: when it is run again, all is read anew."""
        write_json(self._path, {"marks": [record["mark"] for record in records]})


def pages_folder(run: Path, index: int) -> Path:
    """Where the pages of a source lie."""
    return run / "pages" / f"{index:05d}"


def stage(run: Path, stream: Stream, tolerance_percent: float) -> Record:
    """Read a source to its end into ``run/pages``, going on where an earlier try stopped.

    A source that was read to its end before is read anew: whoever runs it again wants to know how it is now.

    Args:
        run: the folder of the run.
        stream: the source.
        tolerance_percent: by how much the number of profiles may differ from the platform's own count.

    Raises:
        BadInput: the pages would never end.
        Exception: what reading raises; the pages that came are staged.
    """
    folder = pages_folder(run, stream.item["index"])
    anew = (folder / RECORD).exists()
    (folder / RECORD).unlink(missing_ok=True)
    done, paths = read(folder, stream, anew)
    record = prove(folder, done, paths, stream, tolerance_percent)
    write_json(folder / RECORD, dict(record))
    return record


def read(folder: Path, stream: Stream, anew: bool = False) -> tuple[Pass, list[str]]:
    """Read a stream to its end into a folder, going on where an earlier try stopped, even if that was the end.

    Args:
        folder: of this stream alone.
        stream: what is read.
        anew: do not go on with an earlier try.

    Returns:
        What is staged, and the segments in order.

    Raises:
        BadInput: the pages would never end.
        Exception: what reading raises; the pages that came are staged.
    """
    about = _fingerprint(stream)
    done, _ = chain(folder, about)
    if anew or not _fresh(done) or _endless(done, done.rows):
        done = Pass()
    try:
        _read_on(folder, about, stream, done)
    except CursorRefused as error:
        log.warning("%s: %s", _name(stream), error)
        _read_on(folder, about, stream, Pass())
    return chain(folder, about)


def staged(run: Path, item: Source) -> tuple[list[str], Record | None]:
    """The segments of a source, in order, and its record; None if it was not read to its end, or was begun anew."""
    folder = pages_folder(run, item["index"])
    done, paths = chain(folder, None)
    record: Record | None = find_json(folder / RECORD) if done.finished else None  # type: ignore[assignment]
    if record is None:
        return paths, None
    same = (record["mark"], record["rows"], record["source"], record["role"])
    return paths, record if same == (done.mark, done.rows, item["source"], item["role"]) else None


def _read_on(folder: Path, about: str, stream: Stream, done: Pass) -> None:
    """Read from the checkpoint to the last page, keeping what comes every few seconds and at whatever ends it."""
    if done.finished:
        return
    if done.segments:
        log.info("%s: %s rows are staged from an earlier try; going on after them", _name(stream), f"{done.rows:,}")
    else:
        done.counted = stream.count()
    progress = _Progress(_name(stream), done)
    open_pages = OpenPages(folder, about, done, stream.table_of)
    try:
        for page in stream.read(done.cursor):
            rows = done.rows + open_pages.rows
            if page.cursor is not None and page.cursor in (open_pages.cursor, *done.begun_at):
                raise BadInput(
                    f"{_name(stream)}: after {rows:,} rows the platform names the same "
                    "next page again; it would never end. What came is staged; the next try asks that page again."
                )
            if _endless(done, rows):
                raise BadInput(
                    f"{_name(stream)}: {rows:,} rows came, the platform counts {done.counted:,}; it would never end, "
                    "so this source is not complete. The next try reads it anew."
                )
            open_pages.add(page)
            progress.tell(done.rows + open_pages.rows)
            if page.cursor is None:
                break
        else:
            raise BadInput(f"{_name(stream)}: the pages ended without a last one. What came is staged; try again.")
    finally:
        open_pages.keep()
    progress.tell(done.rows, at_the_end=True)


def _fingerprint(stream: Stream) -> str:
    item = stream.item
    text = json.dumps([item["source"], item["role"], stream.about], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fresh(done: Pass) -> bool:
    return datetime.now(UTC) - datetime.fromisoformat(done.started) < RESUME_WITHIN


def _endless(done: Pass, rows: int) -> bool:
    """Whether more than twice as many rows came as there are: some repeat, but not so many."""
    return done.counted is not None and rows > 2 * done.counted + REPEATED_ROWS


def _name(stream: Stream) -> str:
    return f"{stream.about.get('connection', 'source')}, {stream.item['source']} ({stream.item['role']})"


def prove(folder: Path, done: Pass, paths: list[str], stream: Stream, tolerance_percent: float) -> Record:
    """Does what came agree with what the platform counted?

    Args:
        folder: of the stream.
        done: what :func:`read` gave.
        paths: what it gave, too.
        stream: what was read.
        tolerance_percent: by how much the number of profiles may differ from the platform's own count.

    Raises:
        Exception: what counting raises.
    """
    profiles = _distinct(folder, paths, "(key, auth_user_id)" if stream.item["role"] == "ids" else "key")
    counted = [done.counted, stream.count()]
    agrees = within(profiles, counted, tolerance_percent)
    record: Record = {
        "source": stream.item["source"],
        "role": stream.item["role"],
        "rows": done.rows,
        "profiles": profiles,
        "counted": counted,
        "complete": done.finished and agrees,
        "mark": done.mark,
    }
    level = logging.INFO if record["complete"] else logging.ERROR
    log.log(
        level,
        "%s: %s rows, %s of them distinct; the platform counts %s before and %s after%s",
        _name(stream),
        f"{done.rows:,}",
        f"{profiles:,}",
        *("nothing" if count is None else f"{count:,}" for count in counted),
        "" if agrees else f": more than {tolerance_percent:g} % apart, so this source is NOT COMPLETE",
    )
    return record


def within(profiles: int, counted: list[int | None], tolerance_percent: float) -> bool:
    """Whether so many distinct profiles agree with the counts; a source without counts has only its last page.

    While it is read a source may move from the first count to the second; what lies between both is no difference.
    """
    known = [count for count in counted if count is not None]
    if not known:
        return True
    apart = max(min(known) - profiles, profiles - max(known), 0)
    return 100 * apart <= tolerance_percent * max(known)


def _distinct(folder: Path, paths: list[str], what: str) -> int:
    if not paths:
        return 0
    with open_engine(folder / ".work", "256MB") as engine:  # a plain count(DISTINCT …) would not spill
        query = f"SELECT count(*) FROM (SELECT DISTINCT {what} FROM read_parquet(?) WHERE key IS NOT NULL)"
        counted = engine.execute(query, [paths]).fetchall()
    return int(counted[0][0])


class _Progress:
    """Says every few seconds how far a pull is, and how fast."""

    def __init__(self, name: str, done: Pass) -> None:
        self._name, self._of, self._before = name, done.counted, done.rows
        self._started = self._told = time.monotonic()

    def tell(self, rows: int, at_the_end: bool = False) -> None:
        """Log, if it is time to."""
        now = time.monotonic()
        if at_the_end or now - self._told >= PROGRESS_SECONDS:
            self._told = now
            speed = (rows - self._before) / max(now - self._started, 1e-3)
            whole = f" of {self._of:,}" if self._of is not None else ""
            log.info("%s: %s%s rows, %s rows/s", self._name, f"{rows:,}", whole, f"{speed:,.0f}")
