"""Sending transfers: each pair as often as the source gives it, because repeating one does no harm.

A guest of whom something came after the transfer is known again, and the next transfer moves that too. One who has
nothing left, or whom the vendor never knew, is ``absent``: a 404. So nothing is to be remembered, and there is no
ledger.
"""

import json
import logging
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisable.calls import side_by_side
from advisable.tally import Tally, manifest_of
from include.errors import ConfigError
from vendor_http.errors import FateUnknown, NotFound, TransientError

if TYPE_CHECKING:
    from advisable.calls import Fate
    from advisable.client import Client
    from include.publishers.senders import Interactions, Transfers

log = logging.getLogger(__name__)


def send_transfers(client: "Client", run: Path, settings: "Interactions", by: str) -> dict[str, Any]:
    """Send all transfers of a run.

    Args:
        client: of the publisher's connection.
        run: the folder that ``include.interactions.transfers`` built.
        settings: of the publisher; it has transfers.
        by: who sends, for the figures.

    Returns:
        The figures of :meth:`advisable.tally.Tally.figures`; ``absent`` are guests whom the vendor does not know.

    Raises:
        BadInput: too many were refused, or the run is of another sender.
        VendorError: the vendor cannot be reached, refuses the credentials, or did not answer. The next try sends all.
        BooksDoNotBalance: a pair was neither sent nor accounted for.
    """
    if settings.transfers is None:
        raise ConfigError("interactions.transfers is missing in the publisher's file")
    manifest = manifest_of(run, "transfers")
    call = partial(_transfer, client, settings.transfers)
    with (
        side_by_side(call, settings.concurrency) as calls,
        Tally(run, manifest, settings.refuse_reject_percent, by) as tally,
    ):
        tally.new = manifest["rows"]
        for lines in _groups(run, manifest, calls.size):
            fates = calls.send(lines)
            tally.requests += len(lines)
            here = [place for place, fate in enumerate(fates) if not isinstance(fate.error, NotFound)]
            tally.counts["absent"] += len(lines) - len(here)
            tally.add([lines[place] for place in here], [fates[place] for place in here])
            _stop_if_lost(fates)
            tally.check()
    if tally.counts["absent"] == tally.new > 0:
        log.warning(
            "Advisable knows none of the %d guests. So it is when their transfers are repeated; if they are new, check "
            "host and transfer_method of the connection.",
            tally.new,
        )
    return tally.figures()


def _transfer(client: "Client", transfers: "Transfers", line: bytes) -> None:
    pair = json.loads(line)
    if transfers.how == "external_id":
        client.change_external_id(pair["from_user_id"], pair["to_user_id"])
    else:
        client.transfer(pair["from_user_id"], pair["to_user_id"], delete_user=transfers.delete_user)


def _groups(run: Path, manifest: dict[str, Any], size: int) -> Iterator[list[bytes]]:
    for chunk in manifest["chunks"]:
        with (run / chunk["name"]).open("rb") as file:
            while lines := [line.rstrip(b"\n") for line in islice(file, size)]:
                yield lines


def _stop_if_lost(fates: "list[Fate]") -> None:
    """What may be done is as good as not done: the next try repeats it."""
    for fate in fates:
        if isinstance(fate.error, FateUnknown):
            raise TransientError(f"{fate.error} With the next try all transfers of the run are sent again.")
        if fate.error and fate.outcome != "refused":
            raise fate.error
