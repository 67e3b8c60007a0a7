"""Sending past purchases so that each session is sent once: the ledger is asked before, and told before and after.

What a run sends is whole sessions that the vendor was never sent. The others stay where they are and are counted:
sent before as they are today, sent before with other content (``changed.parquet``: the vendor cannot take them back),
or part of a file of which nobody knows whether it arrived.

The first file that does not go through ends the attempt. Known not to be stored, its sessions are free again; else
nobody knows, and the line or the vendor is in no state to be trusted with the next file.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from include.errors import BadInput, BooksDoNotBalance
from include.staging import write_json
from luigisbox.uploads import manifest_of
from vendor_http.errors import PermanentError, TooSlow, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from include.ledger import Compared, Entry, Ledger
    from include.publishers.base import OnUnknown
    from luigisbox.client import Client

log = logging.getLogger(__name__)
SENT = "sent.json"
"""The books of the last attempt that came to its end, in the run's folder."""
Outcome = Literal["sent", "already_sent", "changed", "unknown"]
OUTCOMES: tuple[Outcome, ...] = ("sent", "already_sent", "changed", "unknown")


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
    raise NotImplementedError
