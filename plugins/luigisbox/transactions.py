"""Sending past purchases so that each session is sent once: the ledger is asked before, and told before and after.

What a run sends is whole sessions that the vendor was never sent. The others stay where they are and are counted:
sent before as they are today, sent before with other content (``changed.parquet``: the vendor cannot take them back),
or part of a file of which nobody knows whether it arrived.

The first file that does not go through ends the attempt. Known not to be stored, its sessions are free again; else
nobody knows, and the line or the vendor is in no state to be trusted with the next file.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import BadInput, BooksDoNotBalance
from include.staging import utc_text, write_json
from luigisbox.uploads import manifest_of
from vendor_http.errors import PermanentError, TooSlow, TransientError

if TYPE_CHECKING:
    import pyarrow as pa

    from include.ledger import Entry, Ledger
    from include.publishers.base import OnUnknown
    from include.transactions.changed import ChangedSessions
    from luigisbox.client import Client, Receipt

log = logging.getLogger(__name__)
SENT = "sent.json"
"""The books of the last attempt that came to its end, in the run's folder."""
OUTCOMES = ("sent", "already_sent", "changed", "unknown")
"""What becomes of a session, in the order of the ledger's codes."""
_POLICY = "policy on_unknown"


def book_of(publisher: str) -> str:
    """The account of a publisher's purchases in the ledger."""
    return f"{publisher}/transactions"


def send_transactions(
    client: "Client", ledger: "Ledger", publisher: str, run: Path, by: str, on_unknown: "OnUnknown" = "fail"
) -> dict[str, Any]:
    """Send those sessions of a transactions run that were not sent before.

    Args:
        client: of the publisher's tracker.
        ledger: what was sent.
        publisher: name.
        run: the run's folder.
        by: who sends, for the ledger.
        on_unknown: what to do with files of earlier attempts whose fate nobody knows and that hold sessions of this
            run: ``fail`` (send the others, then raise), ``resend`` or ``assume_sent``.

    Returns:
        ``files`` sent, ``sent``, ``already_sent``, ``changed`` and ``unknown`` (each ``sessions`` and ``rows``),
        ``bytes`` sent and the ``seconds`` that took.

    Raises:
        Unsettled: of a file nobody knows whether it was stored. Of this very attempt: the files after it were not
            sent. Of an earlier one: all others were.
        Busy: another sender of this publisher did not end.
        VendorError: Luigi's Box did not take a file; the files after it were not sent.
        BadInput: the run is not whole; nothing of the file in question was stored.
        BooksDoNotBalance: a row was neither sent nor accounted for.
    """
    from include.ledger import Unsettled, tables
    from include.transactions.changed import ChangedSessions

    manifest, book = manifest_of(run, "transactions"), book_of(publisher)
    if any("index" not in chunk for chunk in manifest["chunks"]):
        raise BadInput(f"{run}: was built by an older version, without an index. Nothing was sent. Clear `build`.")
    (run / SENT).unlink(missing_ok=True)
    with ledger.one_sender(book, by), ChangedSessions(run) as changed:
        ledger.recover(book, by)
        sending = _Sending(client, ledger, book, run, by, on_unknown, changed)
        for chunk in manifest["chunks"]:
            sending.send(chunk)
    books = _books(manifest["books"], sending)
    figures = sending.figures()
    write_json(run / SENT, {**figures, "books": books, "by": by, "at": utc_text(datetime.now(UTC))})
    _say(publisher, run, books, sending)
    log.info("%s", tables.book_text(ledger, book))
    if sending.unknown:
        raise Unsettled(list(sending.unknown.values()))
    return figures


@dataclass
class _Sending:
    """One attempt: what it works with, and what it came to so far."""

    client: "Client"
    ledger: "Ledger"
    book: str
    run: Path
    by: str
    on_unknown: "OnUnknown"
    changed: "ChangedSessions"
    sessions: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    unknown: dict[str, "Entry"] = field(default_factory=dict)
    receipts: list["Receipt"] = field(default_factory=list)

    def send(self, chunk: dict[str, Any]) -> None:
        """Send what is new in a file of the manifest: the file itself, or one of the sessions that are new."""
        import pyarrow.compute as pc

        from include.ledger import CHANGED, NEW
        from include.transactions.rest import write_rest

        index = self._index(chunk)
        codes = self._compare(self.run / chunk["index"])
        new = pc.equal(codes, NEW)
        if new.true_count == len(new):
            self._upload(chunk, self.run / chunk["index"])
        elif new.true_count:
            self._upload(*write_rest(self.run, chunk, new, self._rests_of(chunk)))
        self.changed.add(chunk, index, pc.equal(codes, CHANGED))
        for code, outcome in enumerate(OUTCOMES):
            rows = index["rows"].filter(pc.equal(codes, code))
            self.sessions[outcome] += len(rows)
            self.rows[outcome] += pc.sum(rows).as_py() or 0

    def figures(self) -> dict[str, Any]:
        """What the task returns."""
        outcomes = {name: {"sessions": self.sessions[name], "rows": self.rows[name]} for name in OUTCOMES}
        return {
            "files": len(self.receipts),
            **outcomes,
            "bytes": sum(receipt.bytes for receipt in self.receipts),
            "seconds": round(sum(receipt.seconds for receipt in self.receipts), 3),
        }

    def _rests_of(self, chunk: dict[str, Any]) -> int:
        """How many rests of a file were written before; the ledger may know them, so they stay as they are."""
        source = self.run / chunk["name"]
        return len(list((self.run / "rest").glob(f"{source.stem}-*{source.suffix}")))

    def _index(self, chunk: dict[str, Any]) -> "pa.Table":
        """The index of a file, which must be the index of this very file."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self.run / chunk["index"]
        try:
            index = pq.read_table(path, columns=["rows", "bytes", "day"])
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: cannot be read ({error}). Nothing of its file was sent. Clear `build`.") from error
        sums = {name: pc.sum(index[name].cast("int64")).as_py() or 0 for name in ("rows", "bytes")}
        if (len(index), sums["rows"], sums["bytes"]) != (chunk["sessions"], chunk["rows"], chunk["bytes"]):
            raise BadInput(
                f"{path}: lists {len(index):,} sessions, {sums['rows']:,} rows, {sums['bytes']:,} bytes; the manifest "
                f"has {chunk['sessions']:,}, {chunk['rows']:,}, {chunk['bytes']:,} for {chunk['name']}. Nothing of it "
                "was sent. Clear `build`."
            )
        return index

    def _compare(self, index: Path) -> "pa.UInt8Array":
        """What the ledger knows of each session, after the policy has settled the files nobody knows about."""
        compared = self.ledger.compare(self.book, index)
        if compared.unknown and self.on_unknown != "fail":
            for entry in compared.unknown:
                self._settle_by_policy(entry)
            compared = self.ledger.compare(self.book, index)
        self.unknown |= {entry.sha256: entry for entry in compared.unknown}
        return compared.codes

    def _settle_by_policy(self, entry: "Entry") -> None:
        resend = self.on_unknown == "resend"
        why = f"on_unknown: {self.on_unknown}, when {self.by} came to it"
        self.ledger.settle(self.book, entry.sha256, "prepared" if resend else "confirmed", _POLICY, why)
        log.warning("%s: its fate was unknown; settled by on_unknown: %s.", entry.label(), self.on_unknown)
        if resend and entry.run != self.run.name:
            log.warning(
                "That file was sent by run %s. Those of its sessions that are not in this run are sent when `upload` "
                "of that run is cleared.",
                entry.run,
            )

    def _upload(self, chunk: dict[str, Any], index: Path) -> None:
        """Send one file between two notes.

        Only failures that are known to store nothing free its sessions; after any other, nobody knows.
        """
        from include.ledger import FileNote, Unsettled

        path, sha256 = self.run / chunk["name"], chunk["sha256"]
        note = FileNote(sha256, path.as_uri(), chunk["sessions"], chunk["rows"], chunk["bytes"], self.run.name)
        self.ledger.claim(self.book, note, index, self.by)
        try:
            receipt = self.client.upload_transactions(path, chunk)
        except PermanentError as error:
            self.ledger.settle(self.book, sha256, "refused", self.by, str(error))
            raise
        except (TransientError, TooSlow, BadInput) as error:
            self.ledger.settle(self.book, sha256, "prepared", self.by, f"not stored: {error}")
            raise
        except Exception as error:
            log.error("%s: %s", path.name, error)  # noqa: TRY400 - the traceback follows with the error that is raised
            why = f"{type(error).__name__}: {error}"
            raise Unsettled([self.ledger.settle(self.book, sha256, "unknown", self.by, why)]) from error
        self.ledger.settle(self.book, sha256, "confirmed", self.by, f"answered {receipt.status}")
        self.receipts.append(receipt)


def _books(built: dict[str, int], sending: _Sending) -> dict[str, int]:
    """The books of the run, from what was extracted to what became of it.

    Raises:
        BooksDoNotBalance: they do not add up.
    """
    before = {name: built.get(name, 0) for name in ("rejected", "duplicates", "elsewhere")}
    after = {name: sending.rows[name] for name in OUTCOMES}
    total = sum(before.values()) + sum(after.values())
    if total != built["extracted"]:
        raise BooksDoNotBalance(
            f"{built['extracted']} rows were extracted, but {before | after} are {total}. What was sent is in the "
            "ledger and stays sent. Clear `build`; if it happens again, keep the folder of the run and report it."
        )
    return {"extracted": built["extracted"], **before, **after}


def _say(publisher: str, run: Path, books: dict[str, int], sending: _Sending) -> None:
    """The books in the log, and what a person should know about them."""
    if not books["extracted"]:
        log.info("publisher %s: no rows came, so there was nothing to send.", publisher)
    if changed := sending.sessions["changed"]:
        log.warning(
            "%d session(s) of %d row(s) were sent before and are not the same now. Luigi's Box cannot take them back, "
            "so they were not sent again; they are listed in %s.",
            *(changed, sending.rows["changed"], run / "changed.parquet"),
        )
    lines = [f"{'':14} {'sessions':>12} {'rows':>14}"]
    for name, rows in books.items():
        sessions = f"{sending.sessions[name]:,}" if name in OUTCOMES else ""
        lines.append(f"{name.replace('_', ' '):14} {sessions:>12} {rows:>14,}")
    log.info("books of this run:\n%s", "\n".join(lines))
