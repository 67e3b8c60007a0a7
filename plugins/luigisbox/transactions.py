"""Sending past purchases so that each session is sent once: the ledger is asked before, and told before and after.

What a run sends is whole sessions that the vendor was never sent. The others stay where they are and are counted:
sent before as they are today, sent before with other content (``changed.parquet``: the vendor cannot take them back),
or part of a file of which nobody knows whether it arrived.

The first file that does not go through ends the attempt. Known not to be stored, its sessions are free again; else
nobody knows, and the line or the vendor is in no state to be trusted with the next file.
"""

import logging
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import BadInput, NotReady
from include.objects import arrow
from ledgers.policy import SEEN, not_yet, settle_by_policy
from luigisbox.transaction_books import SENT, TransactionBooks
from luigisbox.uploads import manifest_of
from vendor_http.errors import PermanentError, TooSlow, TransientError

if TYPE_CHECKING:
    import pyarrow as pa

    from include.ledger import Entry, Ledger, State
    from include.publishers.base import OnUnknown
    from include.transactions.changed import ChangedSessions
    from luigisbox.client import Client

log = logging.getLogger(__name__)


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
        ``bytes`` sent and the ``seconds`` that took. The books are in ``sent.json`` of the run however it ended.

    Raises:
        Unsettled: of a file nobody knows whether it was stored. Of this very attempt: the files after it were not
            sent. Of an earlier one: all others were.
        TransientError: so it is with a file of this very attempt, and the next one will settle it by ``on_unknown``.
        NotReady: so it is with one of an earlier attempt, but too soon; all others were sent.
        Busy: another sender of this publisher did not end, or took this one's turn.
        VendorError: Luigi's Box did not take a file; the files after it were not sent.
        BadInput: the run is not whole; nothing of the file in question was stored.
        BooksDoNotBalance: a row was neither sent nor accounted for.
    """
    from include.ledger import Unsettled
    from include.transactions.changed import ChangedSessions

    manifest, book = manifest_of(run, "transactions"), book_of(publisher)
    if any("index" not in chunk for chunk in manifest["chunks"]):
        raise BadInput(f"{run}: was built by an older version, without an index. Nothing was sent. Clear `build`.")
    account = f"{client.settings.tracker}@{client.settings.base_url}"
    with ledger.one_sender(book, by, account=account), ChangedSessions(run) as changed:
        (run / SENT).unlink(missing_ok=True)
        books = TransactionBooks(run, manifest)
        sending = _Sending(client, ledger, book, run, by, on_unknown, changed, books)
        try:
            ledger.recover(book, by)
            for chunk in manifest["chunks"]:
                sending.send(chunk)
        except BaseException:
            _close_unfinished(sending, publisher)
            raise
        books.close(publisher, by, complete=True)
    _log_book(ledger, book)
    if sending.unknown and on_unknown == "fail":
        raise Unsettled(list(sending.unknown.values()))
    if sending.unknown:
        raise not_yet(list(sending.unknown.values()), on_unknown, client.attempt_seconds)
    return books.figures()


def _close_unfinished(sending: "_Sending", publisher: str) -> None:
    """The books of an attempt that ends with an error, which stays the one that is raised."""
    try:
        sending.books.close(publisher, sending.by, complete=False)
        _log_book(sending.ledger, sending.book)
    except Exception:
        log.exception("the books of this attempt could not be written")


def _log_book(ledger: "Ledger", book: str) -> None:
    from include.ledger import tables

    log.info("%s", tables.book_text(ledger, book))


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
    books: TransactionBooks
    unknown: dict[str, "Entry"] = field(default_factory=dict)

    def send(self, chunk: dict[str, Any]) -> None:
        """Send what is new in a file of the manifest: the file itself, or one of the sessions that are new."""
        import pyarrow.compute as pc

        from include.ledger import CHANGED, NEW
        from include.transactions.rest import write_rest

        index = self._index(chunk)
        codes = self._compare(self.run / chunk["index"])
        self.books.add_known(codes, index["rows"])
        self.changed.add(chunk, index, pc.equal(codes, CHANGED))
        new = pc.equal(codes, NEW)
        if new.true_count == len(new):
            self._upload(chunk, self.run / chunk["index"])
        elif new.true_count:
            self._upload(*write_rest(self.run, chunk, new, self._rest_of(chunk)))

    def _rest_of(self, chunk: dict[str, Any]) -> int:
        """Which rest of a file is the next: one that holds nothing the ledger still points at is written over."""
        from include.transactions.rest import rest_name

        states: tuple[State, ...] = ("sending", "confirmed", "unknown")
        kept = {entry.uri for entry in self.ledger.entries(self.book, states)}
        return next(n for n in count() if (self.run / rest_name(chunk, n)).as_uri() not in kept)

    def _index(self, chunk: dict[str, Any]) -> "pa.Table":
        """The index of a file, which must be the index of this very file."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self.run / chunk["index"]
        try:
            index = pq.read_table(str(path), filesystem=arrow(path), columns=["rows", "bytes", "day"])
        except (FileNotFoundError, ValueError) as error:
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
        seconds = self.client.attempt_seconds
        settled = settle_by_policy(self.ledger, self.book, compared.unknown, self.on_unknown, self.by, seconds)
        for entry in settled:
            log.warning("%s: its fate was unknown; settled by on_unknown: %s.", entry.label(), self.on_unknown)
            if self.on_unknown == "resend" and entry.run != self.run.name:
                log.warning(
                    "That file was sent by run %s. Those of its sessions that are not in this run are sent when "
                    "`upload` of that run is cleared.",
                    entry.run,
                )
        if settled:
            compared = self.ledger.compare(self.book, index)
        self.unknown |= {entry.sha256: entry for entry in compared.unknown}
        return compared.codes

    def _upload(self, chunk: dict[str, Any], index: Path) -> None:
        """Send one file between two notes.

        Only failures that are known to store nothing free its sessions; after any other, nobody knows.
        """
        from include.ledger import FileNote, Unsettled

        path = self.run / chunk["name"]
        note = FileNote(chunk["sha256"], path.as_uri(), chunk["sessions"], chunk["rows"], chunk["bytes"], self.run.name)
        claimed = self.ledger.claim(self.book, note, index, self.by)
        try:
            receipt = self.client.upload_transactions(path, chunk, partial(self._check_mine, claimed))
        except PermanentError as error:
            self._end(claimed, "refused", str(error))
            raise
        except (TransientError, TooSlow, BadInput, NotReady) as error:
            self._end(claimed, "prepared", f"not stored: {error}")
            raise
        except BaseException as error:  # also that somebody ends the task
            why = f"{type(error).__name__}: {error}"
            if not self.client.closing_left:
                self._end(claimed, "prepared", f"broken off before its end, so not stored: {why}")
                raise
            unknown = self._end(claimed, "unknown", SEEN + why)
            if not isinstance(error, Exception):
                raise
            log.error("%s: %s", path.name, error)  # noqa: TRY400 - the traceback follows with the error that is raised
            if self.on_unknown == "fail":
                raise Unsettled([unknown]) from error
            raise TransientError(f"{why} With the next try on_unknown: {self.on_unknown} settles it.") from error
        self.books.receipts.append(receipt)
        self._end(claimed, "confirmed", f"answered {receipt.status}")

    def _end(self, claimed: "Entry", state: "State", why: str) -> "Entry":
        """Note how the upload of a file ended."""
        outcome = {"confirmed": "sent", "unknown": "unknown"}.get(state, "not_stored")
        self.books.add(outcome, claimed.units, claimed.rows)
        return self.ledger.settle(self.book, claimed.sha256, state, self.by, why)

    def _check_mine(self, claimed: "Entry") -> None:
        """Before a file is sent once more: whether nobody took this sender for dead meanwhile.

        So what such a sender still has on its way was begun before that.

        Raises:
            NotReady: somebody did.
        """
        entry = self.ledger.entry(self.book, claimed.sha256)
        if (entry.state, entry.claimed_by, entry.claimed_at) != ("sending", claimed.claimed_by, claimed.claimed_at):
            raise NotReady(
                f"{entry.label()}: another sender took this one for dead (did it lose its connection to the ledger?); "
                f"the file is {entry.state} now. Nothing of this upload was stored, and it is not sent once more by it."
            )
