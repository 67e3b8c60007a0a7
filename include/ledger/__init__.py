"""The ledger: what was sent, unit by unit, so that nothing is sent twice and nothing is forgotten.

A *unit* is what is sent once: a whole shopping session, or one interaction. A *file* is what one upload carries. A
*book* is the account of one publisher's room, such as ``shop/transactions``.

    claim ──▶ sending ──settle──▶ confirmed     the vendor said yes: its units are never sent again
                 │    ├─settle──▶ refused       the vendor said no, nothing was stored: its units are free again
                 │    ├─settle──▶ prepared      nothing arrived: its units are free, the file may be claimed again
                 │    └─settle──▶ unknown       nobody knows: its units are held until somebody settles it
                 └──recover─────▶ unknown       its sender died

But for one way back, by hand: a confirmed file that the vendor has cancelled becomes refused.

The key is what a unit is (the hash of its session id), never the run: a re-run, a cleared task, an overlapping window
and a backfill meet the same units. One unit is in one file that is sending, confirmed or unknown, never in two.
"""

from include.ledger.entries import (
    CHANGED,
    NEW,
    SENT,
    UNKNOWN,
    AlreadyClaimed,
    AlreadySent,
    Busy,
    Change,
    Compared,
    Count,
    Entry,
    FileNote,
    Month,
    Overtaken,
    Remark,
    State,
    Unsettled,
    Unusable,
)
from include.ledger.ledger import Ledger
from include.ledger.postgres import postgres_ledger
from include.ledger.sqlite import FILE, sqlite_ledger

__all__ = [
    "CHANGED",
    "FILE",
    "NEW",
    "SENT",
    "UNKNOWN",
    "AlreadyClaimed",
    "AlreadySent",
    "Busy",
    "Change",
    "Compared",
    "Count",
    "Entry",
    "FileNote",
    "Ledger",
    "Month",
    "Overtaken",
    "Remark",
    "State",
    "Unsettled",
    "Unusable",
    "postgres_ledger",
    "sqlite_ledger",
]
