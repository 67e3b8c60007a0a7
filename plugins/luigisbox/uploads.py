"""What the upload operators do, apart from Airflow: last checks, the sending, and the notes about it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import BadInput
from include.publishers.config import load_publisher
from include.staging import MANIFEST, Ref, read_json, to_path
from vendor_http.errors import FateUnknown, PermanentError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from include.transactions.ledger import Ledger
    from luigisbox.client import Client

log = logging.getLogger(__name__)


def manifest_uri(run: str) -> str:
    """Where the manifest of a run lies."""
    return (to_path(run) / MANIFEST).as_uri()


def send_users(client: "Client", root: Path, publisher: str, run: Path) -> dict[str, Any]:
    """Send the list of an audience run and note it as the live one.

    Raises:
        BadInput: the run is not a whole audience run, or is empty.
        OlderThanLive: a newer list was accepted meanwhile.
        VendorError: Luigi's Box did not take it.
    """
    from include.audience import user_sets

    manifest = _manifest(run, "audience")
    if not manifest["rows"]:
        raise BadInput(f"{run}: the list is empty; an empty list is never sent, it would delete the live one")
    user_sets.refuse_if_older(user_sets.live(root, publisher), manifest["as_of"])
    receipt = client.upload_users([run / chunk["name"] for chunk in manifest["chunks"]], manifest)
    answer = {**receipt.answer, "seconds": receipt.seconds, "attempts": receipt.attempts}
    user_set = user_sets.accept(
        root, publisher, run, sent_at=receipt.started_at, accepted_at=receipt.finished_at, answer=answer
    )
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


def send_transactions(client: "Client", root: Path, publisher: str, run: Path, by: str) -> dict[str, Any]:
    """Send those files of a transactions run that were not sent before.

    Args:
        client: of the publisher's tracker.
        root: the staging store; the ledger lies there.
        publisher: name.
        run: the run's folder.
        by: who sends, for the ledger.

    Raises:
        FateUnknown: of one file it is unknown whether it was stored; the files after it were not sent.
        VendorError: Luigi's Box did not take one; the files after it were not sent.
    """
    from include.transactions.ledger import Ledger

    manifest = _manifest(run, "transactions")
    ledger, states, seconds = Ledger(root / "ledger.sqlite"), [], 0.0
    for chunk in manifest["chunks"]:
        took = _send_once(client, ledger, publisher, run, chunk, by)
        states.append("already_sent" if took is None else "confirmed")
        seconds += took or 0.0
    figures = {
        "files": len(states),
        "confirmed": states.count("confirmed"),
        "already_sent": states.count("already_sent"),
        "rows": manifest["rows"],
        "sessions": manifest["sessions"],
        "bytes": manifest["bytes"],
        "seconds": round(seconds, 3),
    }
    log.info("past transactions: %s", figures)
    return figures


def _send_once(
    client: "Client", ledger: "Ledger", publisher: str, run: Path, chunk: dict[str, Any], by: str
) -> float | None:
    """Seconds it took; None if it was sent before. The ledger notes ``sending`` before the first byte."""
    from include.transactions.ledger import AlreadySent

    path, sha256 = run / chunk["name"], chunk["sha256"]
    ref: Ref = {"uri": path.as_uri(), "rows": chunk["rows"], "bytes": chunk["bytes"], "sha256": sha256}
    ledger.prepare(publisher, ref, run.name)
    try:
        ledger.claim(publisher, sha256, by)
    except AlreadySent:
        log.info("%s: was sent before, not again", path.name)
        return None
    try:
        receipt = client.upload_transactions(path, chunk)
    except FateUnknown as error:
        ledger.settle(publisher, sha256, "unknown", str(error))
        raise FateUnknown(f"{path.name}: {error} {_how_to_settle(publisher, sha256)}", status=error.status) from error
    except PermanentError as error:
        ledger.settle(publisher, sha256, "refused", str(error))
        raise
    except Exception as error:
        ledger.settle(publisher, sha256, "prepared", f"not stored: {error}")
        raise
    ledger.settle(publisher, sha256, "confirmed", f"answered {receipt.status}")
    return receipt.seconds


def _how_to_settle(publisher: str, sha256: str) -> str:
    return (
        "It is not sent again by itself, because purchases that arrive twice count twice. Ask Luigi's Box whether it "
        f"has the file, then: python -m include.transactions settle --publisher {publisher} --sha256 {sha256} "
        '--as confirmed|prepared --why "…"'
    )


def _manifest(run: Path, kind: str) -> dict[str, Any]:
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
