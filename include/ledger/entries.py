"""The words of the ledger: files, their states, what a comparison found, and the errors."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pyarrow as pa

from include.errors import NotReady, PipelineError
from include.staging import LEDGER_CONNECTION

State = Literal["prepared", "sending", "confirmed", "refused", "unknown"]
STATES: tuple[State, ...] = ("prepared", "sending", "confirmed", "refused", "unknown")
NEW, SENT, CHANGED, UNKNOWN = range(4)
"""Codes of a comparison: never sent; sent as it is; sent with another content; in a file of unknown fate."""


@dataclass(frozen=True)
class FileNote:
    """What is claimed: one file that is ready to be sent."""

    sha256: str
    uri: str
    units: int
    rows: int
    bytes: int
    run: str


@dataclass(frozen=True)
class Entry(FileNote):
    """One file in the ledger: what it is, and what became of it. Times are ISO-8601 in UTC."""

    book: str
    state: State
    claimed_by: str
    claimed_at: str
    changed_at: str
    changed_by: str
    note: str

    def label(self) -> str:
        """How sentences name the file."""
        return (
            f"{self.book}, file {self.sha256[:12]} of run {self.run} "
            f"({self.units:,} {units_of(self.book)}, {self.rows:,} rows, {self.bytes:,} bytes)"
        )

    @property
    def of_many(self) -> bool:
        """Whether it is on its way, and some of its units may have arrived and others not; its sender can tell."""
        return self.state == "sending" and self.units > 1 and self.book.endswith("/interactions")


REMARK = "remark"
"""In a history, instead of a state: what a sender said that came too late to change anything."""


class Change(NamedTuple):
    """One line of a file's history."""

    at: str
    by: str
    state: str
    why: str


class Remark(NamedTuple):
    """What a person decided about a whole book."""

    at: str
    by: str
    what: str
    why: str


class Month(NamedTuple):
    """What files of one state hold of one month of purchase."""

    month: str
    """Such as ``2026-03``; empty for units without a known time."""
    state: State
    files: int
    units: int
    rows: int


class Count(NamedTuple):
    """Units and their rows."""

    units: int
    rows: int


@dataclass(frozen=True)
class Compared:
    """What the ledger knows of the units of an index."""

    codes: pa.UInt8Array
    """``NEW``, ``SENT``, ``CHANGED`` or ``UNKNOWN``, one for each row of the index, in its order."""
    unknown: list[Entry]
    """The files of unknown fate that hold some of these units."""
    counts: Mapping[int, Count]
    """Units and rows by code; every code is there."""


class Unusable(PipelineError):
    """The ledger's database cannot be used as it is; what is not certain is not sent."""


class Busy(NotReady):
    """Somebody else is at work on the same book, or on the database; waiting mends it."""


class Unreachable(Exception):
    """The ledger's database does not answer; another try may help."""


class AlreadyClaimed(PipelineError):
    """The file, or some of its units, is another's that is being sent, was sent, or may have been."""

    def __init__(self, sentence: str, entries: Sequence[Entry] = ()) -> None:
        super().__init__(sentence)
        self.entries = list(entries)


class AlreadySent(AlreadyClaimed):
    """The vendor has this very file; there is nothing to do."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.label()}: was confirmed at {entry.changed_at}; it is not sent again", [entry])


class Unsettled(PipelineError):
    """Files whose sending began and of which nobody knows how it ended; only a person, or a policy, can say."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__("\n".join(_sentences(entries)))
        self.entries = list(entries)


class Overtaken(PipelineError):
    """An attempt ended after somebody had taken it for dead: the same may have been sent twice."""


def units_of(book: str) -> str:
    """What people call the units of a book."""
    return {"transactions": "sessions", "interactions": "interactions"}.get(book.partition("/")[2], "units")


def in_postgres() -> str:
    """How a command line names a ledger in Postgres, but for its address; empty where it is a file."""
    return " --database postgresql://…" if os.environ.get(LEDGER_CONNECTION) else ""


def command(what: str, book: str) -> str:
    """The beginning of a command line about a book."""
    publisher, _, room = book.partition("/")
    of_room = "" if room == "transactions" else f" --room {room}"
    return f"python -m include.transactions {what} --publisher {publisher}{of_room}{in_postgres()}"


def how_to_settle(entry: Entry) -> str:
    """The command that settles a file, but for the outcome and the reason."""
    return f"{command('settle', entry.book)} --sha256 {entry.sha256[:12]}"


def _sentences(entries: Sequence[Entry], most: int = 10) -> list[str]:
    what = (
        f"{len(entries)} file(s) of unknown fate: the sending began and ended without an answer, so the vendor may "
        "have them or not. Sent twice they would count twice, so they are not sent. Check at the vendor (in its "
        "application, or with its support) whether they arrived at that time, then say so for each: trigger the DAG "
        "settle_upload with the publisher, the file, what you found and why you know (or use the commands below). Then "
        "clear the task that failed."
    )
    lines = [what]
    for entry in entries[:most]:
        lines.append(f"{entry.label()}, claimed by {entry.claimed_by} at {entry.claimed_at}:")
        lines.append(f'  it arrived:          {how_to_settle(entry)} --as confirmed --why "…"')
        lines.append(f'  it did not arrive:   {how_to_settle(entry)} --as prepared --why "…"   (then it is sent again)')
    if len(entries) > most:
        lines.append(f"… and {len(entries) - most} more")
    return lines
