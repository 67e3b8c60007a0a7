"""What the upload of users does, apart from Airflow: last checks, the sending, and the notes about it.

That of purchases is in ``transactions``.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import BadInput, PipelineError, StoreError
from include.publishers.config import load_publisher
from include.staging import MANIFEST, read_json, to_path
from vendor_http.errors import VendorError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from include.audience.user_sets import UserSet
    from luigisbox.client import Client, Receipt

log = logging.getLogger(__name__)
NOT_SENT = {"sent": False, "why": "luigisbox.upload_users is false: Luigi's Box pulls the users from the platform"}
"""The answer in the record of a list that was not sent."""


def send_users(client: "Client", root: Path, publisher: str, run: Path) -> dict[str, Any]:
    """Send the list of an audience run and note it as the live one.

    The last checks, the sending and the note are one piece of work: another sender of this publisher waits until it
    is done (``include.audience.sending``).

    Raises:
        BadInput: the run is not a whole audience run, or is empty.
        OlderThanLive: a newer list was accepted meanwhile.
        NotPassed: the guard did not let this list pass against the list that is live now.
        VendorError: Luigi's Box did not take it.
        PipelineError: another list was sent while this one was on its way.
    """
    from include.audience import guard, sending, user_sets

    manifest = manifest_of(run, "audience")
    if not manifest["rows"]:
        raise BadInput(f"{run}: the list is empty; an empty list is never sent, it would delete the live one")
    with sending.one_sender(root, publisher):
        live = user_sets.live(root, publisher)
        user_sets.refuse_if_older(live, manifest["as_of"])
        verdict = guard.require_passed(run, live)
        sending.check_accepted(run)
        _expect_speed(client, live)
        receipt = _send_noted(client, root, publisher, run, manifest)
        answer = {**receipt.answer, "seconds": receipt.seconds, "attempts": receipt.attempts}
        user_set = user_sets.accept(
            root,
            publisher,
            run,
            sent_at=receipt.started_at,
            accepted_at=receipt.finished_at,
            answer=answer,
            segment=verdict.segment,
        )
        sending.end(root, publisher)
    log.info("user set %s accepted: %d users, %.1f s", user_set.name, manifest["rows"], receipt.seconds)
    return {
        "user_set": user_set.name,
        "uri": user_set.folder.as_uri(),
        "rows": manifest["rows"],
        "bytes": receipt.bytes,
        "sha256": receipt.sha256,
        "seconds": receipt.seconds,
        "attempts": receipt.attempts,
    }


def record_users(root: Path, publisher: str, run: Path) -> dict[str, Any]:
    """Note the list of an audience run as the live one without sending it.

    For the native integrations: Luigi's Box pulls the users from the newsletter platform by itself. The checks are
    those of a list that is sent; it counts as sent now, so a batch from before is not its batch.

    Raises:
        BadInput: the run is not a whole audience run, or is empty.
        OlderThanLive: a newer list was accepted meanwhile.
        NotPassed: the guard did not let this list pass against the list that is live now.
    """
    from include.audience import guard, sending, user_sets

    manifest = manifest_of(run, "audience")
    if not manifest["rows"]:
        raise BadInput(f"{run}: the list is empty; an empty list is never recorded as the live one")
    with sending.one_sender(root, publisher):
        live = user_sets.live(root, publisher)
        user_sets.refuse_if_older(live, manifest["as_of"])
        verdict = guard.require_passed(run, live)
        sending.check_accepted(run)
        now = datetime.now(UTC)
        user_set = user_sets.accept(
            root, publisher, run, sent_at=now, accepted_at=now, answer=dict(NOT_SENT), segment=verdict.segment
        )
    log.info("user set %s recorded: %d users; nothing was sent (upload_users: false)", user_set.name, manifest["rows"])
    return {
        "user_set": user_set.name,
        "uri": user_set.folder.as_uri(),
        "rows": manifest["rows"],
        "bytes": manifest["bytes"],
        "sha256": manifest["sha256"],
        "seconds": 0.0,
        "attempts": 0,
    }


def _expect_speed(client: "Client", live: "UserSet | None") -> None:
    """Tell the client how fast the live list went, so that one that cannot be through in time is not begun."""
    from luigisbox.client import SPEED_FROM_BYTES

    seconds = live.record["answer"].get("seconds") if live else None
    if live and seconds and live.record["bytes"] >= SPEED_FROM_BYTES and client.bytes_per_second is None:
        client.bytes_per_second = live.record["bytes"] / seconds


def _send_noted(client: "Client", root: Path, publisher: str, run: Path, manifest: dict[str, Any]) -> "Receipt":
    """Send between two notes; the first one stays if nobody knows whether the list was stored."""
    from include.audience import sending

    if left := sending.begin(root, publisher, run):
        log.warning(
            "%s: the attempt of run %s at %s to send list %s (of %s) ended without an outcome, so Luigi's Box may hold "
            "that list, and not the live one which the guard compared with. This upload goes on only because it "
            "replaces whatever list is there.",
            *(publisher, left["run"], left["sent_at"], left["name"], left["as_of"]),
        )
    mine = sending.noted(root, publisher)
    try:
        receipt = client.upload_users([run / chunk["name"] for chunk in manifest["chunks"]], manifest)
    except (VendorError, PipelineError, StoreError):
        if not client.maybe_stored:
            sending.end(root, publisher, left)
        raise
    sending.check_not_overtaken(root, publisher, mine)
    return receipt


def manifest_of(run: Path, kind: str) -> dict[str, Any]:
    """The manifest of a run that is whole; the log says where it lies.

    Raises:
        BadInput: it is not there, or that of another kind of run.
    """
    log.info("the run's manifest: %s", (run / MANIFEST).as_uri())
    manifest = read_json(run / MANIFEST)
    if manifest.get("kind") != kind:
        raise BadInput(f"{run / MANIFEST}: kind is {manifest.get('kind')!r}, expected {kind!r}")
    return manifest


def upload_lineage(publisher: str, run: str, room: str, sent: dict[str, Any]) -> "OperatorLineage[Any, Any]":
    """For OpenLineage: the run's chunks, and what they became at Luigi's Box."""
    from luigisbox.lineage import file_dataset, operator_lineage

    chunks = read_json(to_path(run) / MANIFEST)["chunks"]
    inputs = [file_dataset((to_path(run) / chunk["name"]).as_uri()) for chunk in chunks]
    connection = load_publisher(publisher).luigisbox.connection
    return operator_lineage(inputs, (f"luigisbox://{connection}", f"{publisher}/{room}"), sent["rows"], sent["bytes"])
