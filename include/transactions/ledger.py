"""What was sent: a file of purchases counts for ever at the vendor, so it is sent once or not at all.

    prepared ──claim──▶ sending ──settle──▶ confirmed     the vendor said yes: never sent again
        ▲                  │    ├─settle──▶ refused       the vendor said no, nothing was stored: may be claimed again
        └──settle──────────┴────┴─settle──▶ unknown       nobody knows: a person looks and settles

The key is the content (publisher and SHA-256 of the file), so a re-run, a backfill and a cleared task meet the same
entry. One SQLite file; a claim is atomic between processes and is on disk before a byte leaves.

The same purchases in other bytes (another format, another file size, one purchase that came late) are other files and
would count twice too. So each file keeps the window of time its purchases are of, and a file is not claimed while
another one of an overlapping window was sent, or may have been, that this run does not send as it is.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from include.errors import PipelineError
from include.staging import Ref, utc_text

State = Literal["prepared", "sending", "confirmed", "refused", "unknown"]
Outcome = Literal["confirmed", "refused", "unknown", "prepared"]
FILE = "ledger.sqlite"
WAIT_SECONDS = 30
_TABLE = """
    CREATE TABLE IF NOT EXISTS files (
        publisher TEXT NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL, uri TEXT NOT NULL, rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL, run TEXT NOT NULL, claimed_by TEXT NOT NULL,
        claimed_at TEXT NOT NULL, note TEXT NOT NULL, prepared_at TEXT NOT NULL, changed_at TEXT NOT NULL,
        "window" TEXT NOT NULL DEFAULT '', PRIMARY KEY (publisher, sha256)
    ) STRICT
"""


@dataclass(frozen=True)
class Entry:
    """One file: what it is, and what became of it."""

    publisher: str
    sha256: str
    state: State
    uri: str
    rows: int
    bytes: int
    run: str
    claimed_by: str
    claimed_at: str
    note: str
    prepared_at: str
    changed_at: str
    window: str
    """``start/end`` of the purchases, half-open, in UTC; empty if it was not said when the file was claimed."""

    def label(self) -> str:
        """How sentences name the file."""
        return f"publisher {self.publisher}, file {self.sha256[:12]} ({self.rows:,} rows, {self.bytes:,} bytes)"


class AlreadySent(PipelineError):
    """The vendor has this very file; there is nothing to do."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.label()}: was confirmed at {entry.changed_at}; it is not sent again")
        self.entry = entry


class Unsettled(PipelineError):
    """An earlier attempt began and nobody knows how it ended; only a person can say."""

    def __init__(self, entry: Entry) -> None:
        settle = f"python -m include.transactions settle --publisher {entry.publisher} --sha256 {entry.sha256[:12]}"
        super().__init__(
            f"{entry.label()}: the attempt by {entry.claimed_by} at {entry.claimed_at} ended without an answer, so the "
            "vendor may have the file or not. Sent twice, its purchases would count twice; it is not sent. Check in "
            "the Luigi's Box application (or ask their support) whether an import of "
            f"{entry.rows:,} rows arrived about that time, then say so:\n"
            f'  it arrived:          {settle} --as confirmed --why "…"\n'
            f'  it did not arrive:   {settle} --as prepared --why "…"   (the next run sends it)'
        )
        self.entry = entry


class Overlaps(PipelineError):
    """Other files with purchases of the same time were sent before, or may have been."""

    def __init__(self, entry: Entry, window: str, others: Sequence[Entry]) -> None:
        states = ", ".join(f"{other.sha256[:12]} {other.state} ({other.window})" for other in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        super().__init__(
            f"{entry.label()}: its window {window} overlaps that of {len(others)} file(s) which were sent before, or "
            f"may have been, and which are not the same today: {states}{more}. Purchases in both would count twice, so "
            "this file is not sent; a changed format, max_file_bytes or source makes other files of the same "
            "purchases. To go on, run a window that overlaps none of theirs. If one is unknown or sending and did not "
            f"arrive, first: python -m include.transactions settle --publisher {entry.publisher} --sha256 … --as "
            'prepared --why "…"'
        )
        self.others = others


def window_text(window: Mapping[str, str] | None) -> str:
    """A window (``start`` and ``end`` in ISO-8601 with a zone) as the ledger keeps it; empty without one."""
    if not window:
        return ""
    return "/".join(utc_text(datetime.fromisoformat(window[key])) for key in ("start", "end"))


class Ledger:
    """The ledger in one SQLite file, for any number of processes of one machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self, publisher: str, ref: Ref, run: str) -> Entry:
        """Enter a file that is ready to be sent; a file that is known keeps its entry."""
        now = utc_text(datetime.now(UTC))
        values = (publisher, ref["sha256"], ref["uri"], ref["rows"], ref["bytes"], run, now, now)
        with self._transaction() as database:
            database.execute(
                "INSERT INTO files VALUES (?, ?, 'prepared', ?, ?, ?, ?, '', '', '', ?, ?, '') ON CONFLICT DO NOTHING",
                values,
            )
            return _entry(database, publisher, ref["sha256"])

    def claim(self, publisher: str, sha256: str, by: str, window: str = "", together: Collection[str] = ()) -> Entry:
        """Take a file for sending. When this returns, the claim is on disk and nobody else has it.

        Args:
            publisher: name of the publisher.
            sha256: of the file.
            by: who takes it, for people, such as the task's run id.
            window: of its purchases, from :func:`window_text`; empty: nothing is compared.
            together: SHA-256 of all files of the run; those may share its window.

        Raises:
            AlreadySent: it was confirmed.
            Overlaps: other files of an overlapping window were sent, or may have been; nothing was changed.
            Unsettled: somebody claimed it before and has not said how that ended; it is now ``unknown``.
            PipelineError: it was never prepared.
        """
        with self._transaction() as database:
            entry = _entry(database, publisher, sha256)
            if entry.state in ("prepared", "refused"):
                if others := _overlapping(database, entry, window, together):
                    raise Overlaps(entry, window, others)
                now = utc_text(datetime.now(UTC))
                return _change(database, entry, state="sending", claimed_by=by, claimed_at=now, window=window)
            if entry.state == "sending":
                entry = _change(database, entry, state="unknown", note=f"claimed again by {by}")
        raise AlreadySent(entry) if entry.state == "confirmed" else Unsettled(entry)

    def settle(self, publisher: str, sha256: str, state: Outcome, note: str) -> Entry:
        """Say how an attempt ended: ``confirmed``, ``refused``, ``unknown``, or ``prepared`` (no byte left, or a
        person has made sure that nothing arrived).

        Raises:
            PipelineError: nobody attempted it, or the vendor has confirmed it (that is never taken back).
        """  # noqa: D205
        if state not in get_args(Outcome):
            raise PipelineError(f"cannot settle as {state!r}; allowed are {', '.join(get_args(Outcome))}")
        with self._transaction() as database:
            entry = _entry(database, publisher, sha256)
            if entry.state == state:
                return entry
            if entry.state not in ("sending", "unknown"):
                raise PipelineError(
                    f"{entry.label()}: is {entry.state}; there is no attempt to settle as {state}. Nothing was changed."
                )
            return _change(database, entry, state=state, note=note)

    def entries(self, publisher: str) -> list[Entry]:
        """All entries of a publisher, in the order they were prepared."""
        with self._transaction() as database:
            return _entries(database, publisher)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the write lock from the start; committed and on disk after the block."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            with database:
                database.execute(_TABLE)
                if "window" not in [column[1] for column in database.execute("PRAGMA table_info(files)")]:
                    database.execute("ALTER TABLE files ADD COLUMN \"window\" TEXT NOT NULL DEFAULT ''")
                yield database


def _entry(database: sqlite3.Connection, publisher: str, sha256: str) -> Entry:
    row = database.execute("SELECT * FROM files WHERE publisher = ? AND sha256 = ?", (publisher, sha256)).fetchone()
    if row is None:
        raise PipelineError(f"publisher {publisher}: the ledger knows no file {sha256[:12]}; prepare it first")
    return Entry(*row)


def _entries(database: sqlite3.Connection, publisher: str) -> list[Entry]:
    query = "SELECT * FROM files WHERE publisher = ? ORDER BY prepared_at, sha256"
    return [Entry(*row) for row in database.execute(query, (publisher,))]


def _overlapping(database: sqlite3.Connection, entry: Entry, window: str, together: Collection[str]) -> list[Entry]:
    """Files of an overlapping window that the vendor has, or may have, and that are not among ``together``."""
    return [
        other
        for other in _entries(database, entry.publisher)
        if other.state in ("sending", "confirmed", "unknown")
        and other.sha256 not in together
        and _overlap(other.window, window)
    ]


def _overlap(one: str, other: str) -> bool:
    """Do two windows share a moment? Their texts sort as their times do."""
    if not (one and other):
        return False
    (start, end), (other_start, other_end) = one.split("/"), other.split("/")
    return start < other_end and other_start < end


def _change(database: sqlite3.Connection, entry: Entry, **values: str) -> Entry:
    values |= {"changed_at": utc_text(datetime.now(UTC))}
    database.execute(
        f"UPDATE files SET {', '.join(f'{name} = ?' for name in values)} WHERE publisher = ? AND sha256 = ?",
        (*values.values(), entry.publisher, entry.sha256),
    )
    return _entry(database, entry.publisher, entry.sha256)
