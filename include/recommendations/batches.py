"""Where batches lie, which one was accepted last, and when old ones go."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.recommendations.freshness import FETCH, Freshness
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


def accept(root: Path, publisher: str, batch: Path, user_set_name: str, freshness: Freshness) -> None:
    """Make this the batch accepted last, for that user set, and drop the oldest ones.

    Accepting the same batch for the same list again changes nothing.
    """
    manifest = read_json(batch / MANIFEST)
    now = latest(root, publisher)
    if now and (now["sha256"], now["user_set"]) == (manifest["sha256"], user_set_name):
        return
    fetch = read_json(batch / FETCH) if (batch / FETCH).exists() else {}
    headers = fetch.get("headers", {})
    record = {
        "sha256": manifest["sha256"],
        "uri": batch.as_uri(),
        "user_set": user_set_name,
        "verdict": freshness.verdict,
        "sentence": freshness.sentence,
        "accepted_at": utc_text(datetime.now(UTC)),
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
