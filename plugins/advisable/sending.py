"""Sending units so that each is sent once: the ledger is asked before, and told before and after.

Units that the ledger does not know go out group by group. Of a group whose units are requests of their own each has
its own fate. A purchase that the vendor refuses would keep all of its batch from being sent, so a refused batch is
halved until the purchases at fault are alone; that takes an answer 4xx for what it says: nothing of the request was
stored.

What the vendor refuses is kept in ``refused.parquet`` with its reason; the others go on. What did not get through, or
is unknown, ends the attempt after its group.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisable.calls import CONFIRMED, Calls, Fate, calls_for
from advisable.claims import Claims
from advisable.tally import Tally
from include.errors import BadInput
from include.staging import MANIFEST, read_json, utc_text, write_json
from vendor_http.errors import NotFound, TransientError

if TYPE_CHECKING:
    import pyarrow as pa

    from advisable.client import Client
    from include.interactions.units import Chunk, Group
    from include.ledger import Entry, Ledger, State
    from include.publishers.base import OnUnknown
    from include.publishers.senders import Interactions

log = logging.getLogger(__name__)
SENT = "sent.json"
"""The figures of the last attempt that came to its end, in the run's folder."""
TRANSFER = "transfer"
_POLICY = "policy on_unknown"
_SETTLED: "dict[str, State]" = {"resend": "prepared", "assume_sent": "confirmed"}


def book_of(publisher: str) -> str:
    """The account of a publisher's interactions and transfers in the ledger."""
    return f"{publisher}/interactions"


def send_units(
    client: "Client", ledger: "Ledger", publisher: str, run: Path, settings: "Interactions", by: str
) -> dict[str, Any]:
    """Send those interactions, or transfers, of a run that were not sent before.

    Args:
        client: of the publisher's connection.
        ledger: what was sent.
        publisher: name.
        run: the folder that ``include.interactions`` built.
        settings: of the publisher.
        by: who sends, for the ledger.

    Returns:
        ``sent``, ``already_sent``, ``refused``, ``absent`` (transfers of users whom the vendor does not know) and
        ``unknown`` units, ``requests`` and ``seconds``.

    Raises:
        Unsettled: of some units nobody knows whether they were stored. Of this very attempt: those after them were not
            sent. Of an earlier one: all others were.
        Busy: another sender of this publisher did not end.
        BadInput: too many units were refused, or the run is not the one that was built.
        VendorError: the vendor cannot be reached, or refuses the credentials; what was not sent is sent next time.
        BooksDoNotBalance: a unit was neither sent nor accounted for.
    """
    from include.interactions.units import chunks_of
    from include.ledger import Unsettled, tables

    manifest, book = read_json(run / MANIFEST), book_of(publisher)
    if manifest.get("kind") not in ("interactions", "transfers"):
        raise BadInput(f"{run / MANIFEST}: kind is {manifest.get('kind')!r}; it was built for another sender")
    (run / SENT).unlink(missing_ok=True)
    kind = manifest["type"]
    with (
        ledger.one_sender(book, by),
        calls_for(client, settings, kind) as calls,
        Tally(run, manifest, settings.refuse_reject_percent) as tally,
    ):
        claims = Claims(ledger, book, run, f"{run.parent.name}/{run.name}", by)
        claims.recover()
        # a transfer that is done twice does no harm, so there is nothing to ask
        sending = _Sending(
            claims, calls, "resend" if kind == TRANSFER else settings.on_unknown, kind == TRANSFER, tally
        )
        sending.send_all(chunks_of(run, kind, manifest))
        claims.tidy()
    tally.check(at_the_end=True)
    tally.check_books()
    figures = tally.figures()
    write_json(run / SENT, {**figures, "by": by, "at": utc_text(datetime.now(UTC))})
    log.info("%s", tables.book_text(ledger, book))
    if sending.unsettled:
        raise Unsettled(list(sending.unsettled.values()))
    return figures


@dataclass
class _Sending:
    """One attempt."""

    claims: Claims
    calls: Calls
    on_unknown: "OnUnknown"
    transfer: bool
    tally: Tally
    unsettled: dict[str, "Entry"] = field(default_factory=dict)

    def send_all(self, chunks: "list[Chunk]") -> None:
        """Send what is new in the files of a run."""
        import pyarrow.compute as pc

        from include.interactions.units import groups
        from include.ledger import NEW, SENT, UNKNOWN

        for chunk in chunks:
            codes = self._compare(chunk)
            self.tally.new += pc.equal(codes, NEW).true_count
            self.tally.counts["already_sent"] += pc.equal(codes, SENT).true_count
            self.tally.counts["unsettled"] += pc.equal(codes, UNKNOWN).true_count
        for chunk in chunks:
            wanted = pc.equal(self.claims.ledger.compare(self.claims.book, chunk.index).codes, NEW)
            for group in groups(chunk, wanted, self.calls.size):
                self._send(group)

    def _compare(self, chunk: "Chunk") -> "pa.UInt8Array":
        """What the ledger knows of each unit, after the policy has settled those that nobody knows about."""
        ledger, book = self.claims.ledger, self.claims.book
        compared = ledger.compare(book, chunk.index)
        if compared.unknown and self.on_unknown != "fail":
            why = f"on_unknown: {self.on_unknown}, when {self.claims.by} came to it"
            for entry in compared.unknown:
                ledger.settle(book, entry.sha256, _SETTLED[self.on_unknown], _POLICY, why)
            log.warning("%d claims of unknown fate: settled by on_unknown: %s", len(compared.unknown), self.on_unknown)
            compared = ledger.compare(book, chunk.index)
        self.unsettled |= {entry.sha256: entry for entry in compared.unknown}
        return compared.codes

    def _send(self, group: "Group") -> None:
        """Send a group between two notes; the purchases of a refused batch in halves.

        Raises:
            Unsettled, VendorError, BadInput: the attempt ends here.
        """
        together = self.calls.together
        self.claims.claim(group, together=together)
        fates = [self._judged(group, place, fate) for place, fate in enumerate(self.calls.send(group.lines))]
        self.tally.requests += 1 if together else len(group)
        unknown = self.claims.settle(group, fates, together=together)
        if together and len(group) > 1 and fates[0].outcome == "refused":
            log.info("a batch of %d was refused: %s It is sent in halves.", len(group), fates[0].reason)
            half = len(group) // 2
            for places in (range(half), range(half, len(group))):
                self._send(group.take(list(places)))
            return
        self.tally.add(group, fates)
        self._stop_if_lost(fates, unknown)
        self.tally.check()

    def _judged(self, group: "Group", place: int, fate: Fate) -> Fate:
        """A user who is gone, after a transfer of which nobody knew how it ended, was transferred by it."""
        gone = self.transfer and fate.outcome == "refused" and isinstance(fate.error, NotFound)
        return CONFIRMED if gone and self.claims.was_unknown(group, place) else fate

    def _stop_if_lost(self, fates: list[Fate], unknown: "list[Entry]") -> None:
        from include.ledger import Unsettled

        first = {fate.outcome: fate.error for fate in reversed(fates)}
        if unknown and self.on_unknown == "fail":
            raise Unsettled(unknown) from first["unknown"]
        if unknown:
            error = first["unknown"]
            raise TransientError(f"{error} With the next try on_unknown: {self.on_unknown} settles it.") from error
        if error := first.get("prepared"):
            raise error
