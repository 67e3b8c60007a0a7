"""Writing the changes of one part to SmartEmailing's contacts: imports of some hundred contacts, in order.

Each call is noted when it is settled, before the next one leaves, under the row with which it began: a retry follows
the notes from call to call and goes on after the last one. An import sets fields to values, so the call that was on its
way when a worker died is sent once more without harm.
"""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from include.deliveries import claims
from include.deliveries.changes import Change, changes
from include.deliveries.part import Part
from include.deliveries.smartemailing import REFUSED, SKIPPED, TOO_LONG, import_body, too_long
from include.publishers.deliveries import SmartEmailingDelivery
from include.staging import find_json, write_json
from smartemailing.client import Client
from vendor_http.errors import Invalid

MOST_REFUSED = 5
"""More contacts of one call that are refused alone: the mistake is not theirs."""
CALLS = "calls"
"""Folder of the records of settled calls, in ``Part.sending``."""
Refused = list[tuple[int, str]]
"""Rows of changes that were not taken, each with the reason."""
log = logging.getLogger(__name__)


def write_back(client: Client, part: Part, settings: SmartEmailingDelivery) -> Refused:
    """Send the changes of a compared part that earlier tries did not settle; call ``confirmed.doubt`` before it.

    Memory holds one call. No address is logged.

    Returns:
        whom SmartEmailing did not take, of all tries, for ``books.settle``.

    Raises:
        Overtaken: a newer batch began.
        Invalid: SmartEmailing refuses contacts for a reason that is not theirs, such as a field that does not exist.
        VendorError: what SmartEmailing answered at last; the calls before stay settled.
    """
    folder = part.sending / CALLS
    settled = _settled(folder)
    waiting = changes(part, settled[-1]["end"] if settled else 0)
    while call := list(islice(waiting, settings.call_contacts)):
        claims.check(part)
        refused = send_call(client, call, settings)
        record = {"first": call[0].row, "end": call[-1].row + 1, "refused": refused}
        write_json(_path(folder, call[0].row), record)
        settled.append(record)
        if refused:
            log.warning("%d of the %d contacts of an import were set aside.", len(refused), len(call))
    return [(int(row), str(reason)) for record in settled for row, reason in record["refused"]]


def send_call(client: Client, call: Sequence[Change], settings: SmartEmailingDelivery) -> Refused:
    """Import at most ``call_contacts`` contacts; gives those that were not taken.

    Raises:
        VendorError: see :func:`write_back`.
    """
    refused = [(change.row, TOO_LONG) for change in call if too_long(change, settings)]
    _send(client, [change for change in call if not too_long(change, settings)], refused)
    return sorted(refused)


def _send(client: Client, call: Sequence[Change], refused: Refused) -> None:
    """Send contacts; if they are refused, their halves, until the contact that is to blame stands alone."""
    if not call:
        return
    try:
        written = client.import_contacts(import_body(call)).written
    except Invalid:
        if len(call) > 1:
            middle = len(call) // 2
            _send(client, call[:middle], refused)
            _send(client, call[middle:], refused)
            return
        refused.append((call[0].row, REFUSED))
        if sum(reason == REFUSED for _, reason in refused) > MOST_REFUSED:
            raise
        return
    refused += [(change.row, SKIPPED) for change in call if change.recipient.lower() not in written]


def _path(folder: Path, row: int) -> Path:
    return folder / f"{row:09d}.json"


def _settled(folder: Path) -> list[dict[str, Any]]:
    """The calls that earlier tries settled: each begins where the one before ended."""
    found: list[dict[str, Any]] = []
    while record := find_json(_path(folder, found[-1]["end"] if found else 0)):
        found.append(record)
    return found
