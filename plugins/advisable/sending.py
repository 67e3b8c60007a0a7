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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisable.calls import Calls, Fate, calls_for
from advisable.claims import Claims
from advisable.tally import CHANGED as CHANGED_FILE
from advisable.tally import Tally, manifest_of
from ledgers.policy import not_yet, settle_by_policy
from vendor_http.errors import TransientError

if TYPE_CHECKING:
    import pyarrow as pa

    from advisable.client import Client
    from include.interactions.units import Chunk, Group
    from include.ledger import Entry, Ledger
    from include.publishers.base import OnUnknown
    from include.publishers.senders import Interactions

log = logging.getLogger(__name__)
_MANY = 1_000


def book_of(publisher: str) -> str:
    """The account of a publisher's interactions in the ledger."""
    return f"{publisher}/interactions"


def send_units(
    client: "Client", ledger: "Ledger", publisher: str, run: Path, settings: "Interactions", by: str
) -> dict[str, Any]:
    """Send those interactions of a run that were not sent before.

    Args:
        client: of the publisher's connection.
        ledger: what was sent.
        publisher: name.
        run: the folder that ``include.interactions`` built.
        settings: of the publisher.
        by: who sends, for the ledger.

    Returns:
        ``sent``, ``already_sent``, ``changed`` (sent before with another content, which stays), ``refused`` and
        ``unknown`` units, ``requests`` and ``seconds``.

    Raises:
        Unsettled: of some units nobody knows whether they were stored. Of this very attempt: those after them were not
            sent. Of an earlier one: all others were.
        NotReady: so it is with some of an earlier attempt, and on_unknown may not settle them yet. All others were
            sent.
        Busy: another sender of this publisher did not end, or took this one's turn.
        BadInput: too many units were refused, or the run is not the one that was built.
        VendorError: the vendor cannot be reached, or refuses the credentials; what was not sent is sent next time.
        BooksDoNotBalance: a unit was neither sent nor accounted for.
    """
    from include.interactions.units import chunks_of
    from include.ledger import Unsettled, tables

    manifest, book = manifest_of(run, "interactions"), book_of(publisher)
    with (
        ledger.one_sender(book, by, account=f"{client.settings.app_id}@{client.settings.base_url}"),
        calls_for(client, settings, manifest["type"]) as calls,
        Tally(run, manifest, settings.refuse_reject_percent, by) as tally,
    ):
        claims = Claims(ledger, book, run, f"{run.parent.name}/{run.name}", by)
        claims.recover()
        sending = _Sending(claims, calls, settings.on_unknown, client.patience_seconds, tally)
        sending.send_all(chunks_of(run, manifest))
        claims.tidy()
    log.info("%s", tables.book_text(ledger, book))
    if sending.unsettled and settings.on_unknown == "fail":
        raise Unsettled(list(sending.unsettled.values()))
    if sending.unsettled:
        raise not_yet(list(sending.unsettled.values()), settings.on_unknown, client.patience_seconds)
    return tally.figures()


@dataclass
class _Sending:
    """One attempt."""

    claims: Claims
    calls: Calls
    on_unknown: "OnUnknown"
    patience_seconds: float
    tally: Tally
    unsettled: dict[str, "Entry"] = field(default_factory=dict)

    def send_all(self, chunks: "list[Chunk]") -> None:
        """Send what is new in the files of a run."""
        import pyarrow.compute as pc

        from include.interactions.units import groups
        from include.ledger import CHANGED, NEW, SENT, UNKNOWN

        new = []
        for chunk in chunks:
            codes = self._compare(chunk)
            new.append(pc.equal(codes, NEW))
            for group in groups(chunk, pc.equal(codes, CHANGED), _MANY):
                self.tally.add_changed(group.lines)
            self.tally.new += new[-1].true_count
            self.tally.counts["already_sent"] += pc.equal(codes, SENT).true_count
            self.tally.counts["unsettled"] += pc.equal(codes, UNKNOWN).true_count
        if changed := self.tally.counts["changed"]:
            log.warning(
                "%d interactions were sent before with another price, amount or the like. What was sent stays, and "
                "they are not sent again; see %s. To correct one, delete it at Advisable by user, item and time, and "
                "create it by hand.",
                changed,
                self.claims.run / CHANGED_FILE,
            )
        for chunk, wanted in zip(chunks, new, strict=True):
            for group in groups(chunk, wanted, self.calls.size):
                self._send(group)

    def _compare(self, chunk: "Chunk") -> "pa.UInt8Array":
        """What the ledger knows of each unit, after the policy has settled those that nobody knows about."""
        ledger, book = self.claims.ledger, self.claims.book
        compared = ledger.compare(book, chunk.index)
        settled = settle_by_policy(
            ledger, book, compared.unknown, self.on_unknown, self.claims.by, self.patience_seconds
        )
        if settled:
            log.warning("%d claims of unknown fate: settled by on_unknown: %s", len(settled), self.on_unknown)
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
        fates = self.calls.send(group.lines)
        self.tally.requests += 1 if together else len(group)
        unknown = self.claims.settle(group, fates, together=together)
        if together and len(group) > 1 and fates[0].outcome == "refused":
            log.info("a batch of %d was refused: %s It is sent in halves.", len(group), fates[0].reason)
            half = len(group) // 2
            for places in (range(half), range(half, len(group))):
                self._send(group.take(list(places)))
            return
        self.tally.add(group.lines, fates)
        self._stop_if_lost(fates, unknown)
        self.tally.check()

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
