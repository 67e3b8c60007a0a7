"""What a publisher's file says about files of unknown fate (``on_unknown``), done.

``assume_sent`` may be done at once. ``resend`` may not while the sender is perhaps alive: one that lost its connection
to the ledger does not know that another has taken its turn, and its request may still be on its way. A sender that said
itself what it saw is through; of one that said nothing nobody knows, so its last request is given time to end.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.errors import NotReady

if TYPE_CHECKING:
    from include.ledger import Entry, Ledger
    from include.publishers.base import OnUnknown

log = logging.getLogger(__name__)
SEEN = "its sender saw: "
"""How the note begins of a file that its own sender settled as unknown."""
_POLICY = "policy on_unknown"


def settle_by_policy(
    ledger: "Ledger", book: str, entries: "Sequence[Entry]", policy: "OnUnknown", by: str, seconds: float
) -> "list[Entry]":
    """Settle files of unknown fate as the policy says, while one is the sender of their book.

    Args:
        ledger: what was sent.
        book: of the files.
        entries: the files.
        policy: ``fail`` settles none.
        by: who came to them, for the ledger.
        seconds: how long a sender that lost its turn may still have a request on its way.

    Returns:
        Those that were settled.
    """
    now = datetime.now(UTC)
    settled = [entry for entry in entries if policy != "fail" and _from(entry, policy, seconds) <= now]
    for entry in settled:
        why = f"on_unknown: {policy}, when {by} came to it"
        ledger.settle(book, entry.sha256, "prepared" if policy == "resend" else "confirmed", _POLICY, why)
    return settled


def not_yet(entries: "Sequence[Entry]", policy: "OnUnknown", seconds: float) -> NotReady:
    """The error for files that the policy will settle, but not yet."""
    when = max(_from(entry, policy, seconds) for entry in entries)
    labels = "\n".join(entry.label() for entry in entries[:10])
    more = f"\n… and {len(entries) - 10} more" if len(entries) > 10 else ""
    return NotReady(
        f"{len(entries)} file(s) of unknown fate whose sender never said how it ended: it may still be sending, cut "
        f"off from the ledger. All others were sent. The first try after {when:%Y-%m-%d %H:%M:%S} UTC sends them again "
        f"(on_unknown: {policy}); this task is tried again by itself as long as it has retries, else clear it then.\n"
        f"{labels}{more}"
    )


def _from(entry: "Entry", policy: "OnUnknown", seconds: float) -> datetime:
    """From when on the policy may settle a file."""
    noted = datetime.fromisoformat(entry.changed_at)
    return noted if policy == "assume_sent" or entry.note.startswith(SEEN) else noted + timedelta(seconds=seconds)
