"""Writing the changes of one part to SmartEmailing's contacts: imports of some hundred contacts, in order.

Each call is noted when it is settled, before the next one leaves: a retry goes on after the last one noted. An import
sets fields to values, so the call that was on its way when a worker died is sent once more without harm.
"""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from include.deliveries import claims
from include.deliveries.changes import Change, changes
from include.deliveries.part import Part
from include.deliveries.smartemailing import REFUSED, SKIPPED, TOO_LONG, import_body, too_long
from include.publishers.deliveries import SmartEmailingDelivery
from include.staging import read_json, write_json
from smartemailing.client import Client
from vendor_http.errors import Invalid

MOST_REFUSED = 5
"""More contacts of one call that are refused alone: the mistake is not theirs."""
CALLS = "calls"
"""Folder of the records of settled calls, in that of the part."""
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
    folder = part.folder / CALLS
    waiting = changes(part, _settled_rows(folder))
    while call := list(islice(waiting, settings.call_contacts)):
        claims.check(part)
        refused = send_call(client, call, settings)
        record = {"first": call[0].row, "end": call[-1].row + 1, "refused": refused}
        write_json(folder / f"{call[0].row:09d}.json", record)
        if refused:
            log.warning("%d of the %d contacts of an import were set aside.", len(refused), len(call))
    return _refused(folder)


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


def _settled_rows(folder: Path) -> int:
    """How many changes earlier tries settled: calls go in order, so these are the first ones."""
    return max((int(read_json(path)["end"]) for path in folder.glob("*.json")), default=0)


def _refused(folder: Path) -> Refused:
    records = (read_json(path) for path in sorted(folder.glob("*.json")))
    return [(int(row), str(reason)) for record in records for row, reason in record["refused"]]
