"""Where batches lie, which one was accepted last, and when old ones go."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.recommendations.freshness import Freshness
from include.recommendations.layout import ACCEPTED, FETCH, FRESHNESS, list_folder
from include.staging import MANIFEST, read_json, utc_text, write_json

KEPT = 10
"""How many batches stay: the newest, and always the one accepted last."""
LATEST = "latest.json"


def batches_folder(root: Path, publisher: str) -> Path:
    """Where the batches of a publisher lie."""
    return root / publisher / "batches"


def batch_folder(root: Path, publisher: str, sha256: str) -> Path:
    """The folder of the batch with that content."""
    return batches_folder(root, publisher) / sha256


def latest(root: Path, publisher: str) -> dict[str, Any] | None:
    """The record of the batch accepted last: sha256, uri, user_set, verdict, times and figures; None if none was."""
    pointer = batches_folder(root, publisher) / LATEST
    return read_json(pointer) if pointer.exists() else None


def accept(root: Path, publisher: str, batch: Path, user_set_name: str, freshness: Freshness, run: str = "") -> None:
    """Note that a run took this batch for a user set, make it the batch accepted last, and drop the oldest ones.

    Accepting the same batch for the same list again changes nothing.
    """
    manifest = read_json(batch / MANIFEST)
    now = latest(root, publisher)
    if now and (now["sha256"], now["user_set"]) == (manifest["sha256"], user_set_name):
        return
    fetch = read_json(batch / FETCH) if (batch / FETCH).exists() else {}
    headers = fetch.get("headers", {})
    accepted_at = utc_text(datetime.now(UTC))
    note = list_folder(batch, user_set_name) / ACCEPTED
    if not note.exists():
        fetched_at = fetch.get("finished_at", accepted_at)
        write_json(note, {"user_set": user_set_name, "run": run, "fetched_at": fetched_at})
    record = {
        "sha256": manifest["sha256"],
        "uri": batch.as_uri(),
        "user_set": user_set_name,
        "run": run,
        "verdict": freshness.verdict,
        "sentence": freshness.sentence,
        "accepted_at": accepted_at,
        "fetched_at": fetch.get("finished_at"),
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
        "updated_at": manifest["updated_at"],
        "rows": manifest["rows"],
        "users": manifest["users"],
        "bytes": manifest["bytes"],
    }
    write_json(batch.parent / LATEST, record)
    prune(root, publisher)


def judged_stale(root: Path, publisher: str, user_set_name: str) -> list[str]:
    """The sha256 of the batches that were fetched for that user set and judged stale."""
    verdicts = [read_json(path) for path in sorted(batches_folder(root, publisher).glob(f"*/{FRESHNESS}"))]
    return [
        verdict["evidence"]["sha256"]
        for verdict in verdicts
        if verdict["verdict"] == "stale" and verdict["evidence"]["user_set"] == user_set_name
    ]


def prune(root: Path, publisher: str) -> list[str]:
    """Remove all but the newest batches, by the time of their manifest or folder; returns the names removed."""
    pointed = latest(root, publisher)
    folders = [path for path in batches_folder(root, publisher).glob("*") if path.is_dir()]
    folders.sort(key=_age, reverse=True)
    old = [path for path in folders[KEPT:] if not pointed or path.name != pointed["sha256"]]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in old]


def _age(folder: Path) -> float:
    manifest = folder / MANIFEST
    return (manifest if manifest.exists() else folder).stat().st_mtime
