"""The books of an attempt to send purchases: what became of every row, in the log and in ``sent.json``.

They are written however the attempt ended.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import BooksDoNotBalance
from include.staging import utc_text, write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from luigisbox.client import Receipt

log = logging.getLogger(__name__)
SENT = "sent.json"
"""The books of the last attempt that had its turn, in the run's folder."""
OUTCOMES = ("sent", "already_sent", "changed", "unknown")
"""What becomes of a session, in the order of the ledger's codes."""
LEFT = ("not_stored", "not_tried")
"""Of an attempt that did not come to its end: in the file that ended it and is known not to be stored; never begun."""


@dataclass
class TransactionBooks:
    """Counts sessions and rows of one attempt, by what became of them."""

    run: Path
    manifest: dict[str, Any]
    sessions: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    receipts: list["Receipt"] = field(default_factory=list)

    def add(self, outcome: str, sessions: int, rows: int) -> None:
        """Count sessions and their rows."""
        self.sessions[outcome] += sessions
        self.rows[outcome] += rows

    def add_known(self, codes: "pa.UInt8Array", rows: "pa.ChunkedArray") -> None:
        """Count the sessions of a file that the ledger knows; those that are new are counted when they are sent."""
        import pyarrow.compute as pc

        for code, outcome in list(enumerate(OUTCOMES))[1:]:
            of_code = rows.filter(pc.equal(codes, code))
            self.add(outcome, len(of_code), pc.sum(of_code).as_py() or 0)

    def figures(self) -> dict[str, Any]:
        """What the task returns."""
        outcomes = {name: {"sessions": self.sessions[name], "rows": self.rows[name]} for name in OUTCOMES}
        return {
            "files": len(self.receipts),
            **outcomes,
            "bytes": sum(receipt.bytes for receipt in self.receipts),
            "seconds": round(sum(receipt.seconds for receipt in self.receipts), 3),
        }

    def close(self, publisher: str, by: str, *, complete: bool) -> None:
        """Write the books and say them in the log.

        Args:
            publisher: name.
            by: who sent.
            complete: the attempt came to its end; else what was not counted was not tried.

        Raises:
            BooksDoNotBalance: they do not add up.
        """
        if not complete:
            chunks = self.manifest["chunks"]
            sessions = sum(chunk["sessions"] for chunk in chunks) - self.sessions.total()
            self.add("not_tried", sessions, sum(chunk["rows"] for chunk in chunks) - self.rows.total())
        books = self._books()
        left = {name: {"sessions": self.sessions[name], "rows": self.rows[name]} for name in LEFT}
        record = {**self.figures(), **left, "complete": complete, "books": books}
        write_json(self.run / SENT, {**record, "by": by, "at": utc_text(datetime.now(UTC))})
        self._say(publisher, books, complete=complete)

    def _books(self) -> dict[str, int]:
        """From what was extracted to what became of it."""
        built = self.manifest["books"]
        before = {name: built.get(name, 0) for name in ("rejected", "duplicates", "elsewhere")}
        after = {name: self.rows[name] for name in (*OUTCOMES, *LEFT)}
        total = sum(before.values()) + sum(after.values())
        if total != built["extracted"]:
            raise BooksDoNotBalance(
                f"{built['extracted']} rows were extracted, but {before | after} are {total}. What was sent is in the "
                "ledger and stays sent. Clear `build`; if it happens again, keep the folder of the run and report it."
            )
        return {"extracted": built["extracted"], **before, **after}

    def _say(self, publisher: str, books: dict[str, int], *, complete: bool) -> None:
        """The books in the log, and what a person should know about them."""
        if not books["extracted"]:
            log.info("publisher %s: no rows came, so there was nothing to send.", publisher)
        if changed := self.sessions["changed"]:
            log.warning(
                "%d session(s) of %d row(s) were sent before and are not the same now. Luigi's Box cannot take them "
                "back, so they were not sent again; they are listed in %s.",
                *(changed, self.rows["changed"], self.run / "changed.parquet"),
            )
        lines = [f"{'':14} {'sessions':>12} {'rows':>14}"]
        for name, rows in books.items():
            sessions = f"{self.sessions[name]:,}" if name in (*OUTCOMES, *LEFT) else ""
            lines.append(f"{name.replace('_', ' '):14} {sessions:>12} {rows:>14,}")
        how = "" if complete else " (the attempt did not come to its end)"
        log.info("books of this run%s:\n%s", how, "\n".join(lines))
