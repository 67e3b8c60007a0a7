"""Writing to SmartEmailing's contacts: imports of some hundred contacts, each settled before the next one leaves.

An import sets fields to values, so sending one again changes nothing: what is not confirmed is simply sent again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from include.deliveries.smartemailing import REFUSED, SKIPPED, TOO_LONG, Contact, import_body, too_long
from include.publishers.deliveries import SmartEmailingDelivery
from smartemailing.client import Client
from vendor_http.errors import Invalid

MOST_REFUSED = 5
"""More contacts of one call that are refused alone: the mistake is not theirs."""
log = logging.getLogger(__name__)


@dataclass
class Settled:
    """What became of the contacts of one call: ``len(written) + len(refused)`` of them."""

    written: list[Contact] = field(default_factory=list)
    refused: list[tuple[Contact, str]] = field(default_factory=list)
    """With the reason: ``value_too_long``, ``skipped`` or ``refused``."""


def write_contacts(
    client: Client,
    contacts: Iterable[Contact],
    settings: SmartEmailingDelivery,
    settle: Callable[[Settled], None],
) -> None:
    """Import contacts, a call at a time; memory holds one call.

    Args:
        client: of the account.
        contacts: what to write; each e-mail address once.
        settings: how many contacts a call has, how long a value may be.
        settle: is told what became of the contacts of each call, before the next call.

    Raises:
        Invalid: SmartEmailing refuses the contacts of a call for a reason that is not theirs.
        VendorError: what SmartEmailing answered at last; the calls before are settled.
    """
    for call in _calls(contacts, settings.call_contacts):
        settled = Settled(refused=[(contact, TOO_LONG) for contact in call if too_long(contact, settings)])
        _send(client, [contact for contact in call if not too_long(contact, settings)], settled)
        if settled.refused:
            log.warning("%d of %d contacts of an import were set aside.", len(settled.refused), len(call))
        settle(settled)


def _calls(contacts: Iterable[Contact], size: int) -> Iterator[list[Contact]]:
    stream = iter(contacts)
    while call := list(islice(stream, size)):
        yield call


def _send(client: Client, call: Sequence[Contact], settled: Settled) -> None:
    """Send one call; if it is refused, its halves, until the contact that is to blame stands alone."""
    if not call:
        return
    try:
        written = client.import_contacts(import_body(call)).written
    except Invalid:
        if len(call) > 1:
            middle = len(call) // 2
            _send(client, call[:middle], settled)
            _send(client, call[middle:], settled)
            return
        settled.refused.append((call[0], REFUSED))
        if sum(reason == REFUSED for _, reason in settled.refused) > MOST_REFUSED:
            raise
        return
    for contact in call:
        if contact.email.lower() in written:
            settled.written.append(contact)
        else:
            settled.refused.append((contact, SKIPPED))
