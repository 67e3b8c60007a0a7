"""Where batches lie, which one was accepted last, and when old ones go."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.objects import ObjectPath
from include.recommendations import index
from include.recommendations.freshness import Freshness
from include.recommendations.layout import ACCEPTED, FETCH, FRESHNESS, list_folder
from include.staging import MANIFEST, find_json, read_json, remove_folder, utc_text, write_json

KEPT = 10
"""How many batches stay: the newest, and always the one accepted last."""
LATEST = "latest.json"
LEFT_OVER_AFTER = 6 * 3600
"""Seconds since a work folder was last written to."""


def batches_folder(root: Path, publisher: str) -> Path:
    """Where the batches of a publisher lie."""
    return root / publisher / "batches"


def batch_folder(root: Path, publisher: str, sha256: str) -> Path:
    """The folder of the batch with that content."""
    return batches_folder(root, publisher) / sha256


def latest(root: Path, publisher: str) -> dict[str, Any] | None:
    """The record of the batch accepted last: sha256, uri, user_set, verdict, times and figures; None if none was."""
    return find_json(batches_folder(root, publisher) / LATEST)


def accept(root: Path, publisher: str, batch: Path, user_set_name: str, freshness: Freshness, run: str = "") -> None:
    """Note that a run took this batch for a user set, make it the batch accepted last, and drop the oldest ones.

    Accepting the same batch for the same list again changes nothing.
    """
    manifest = read_json(batch / MANIFEST)
    now = latest(root, publisher)
    if now and (now["sha256"], now["user_set"]) == (manifest["sha256"], user_set_name):
        return
    fetch = find_json(batch / FETCH) or {}
    headers = fetch.get("headers", {})
    accepted_at = utc_text(datetime.now(UTC))
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
    note = list_folder(batch, user_set_name) / ACCEPTED
    with index.changing(batch.parent) as known:
        if not note.exists():  # of two runs, the first took it
            fetched_at = fetch.get("finished_at", accepted_at)
            write_json(note, {"user_set": user_set_name, "run": run, "fetched_at": fetched_at})
        lists = index.enter(known, batch.name)["lists"]
        lists += [user_set_name] if user_set_name not in lists else []
    write_json(batch.parent / LATEST, record)
    prune(root, publisher)


def judged_stale(root: Path, publisher: str, user_set_name: str) -> list[str]:
    """The sha256 of the batches that were fetched for that user set and judged stale."""
    folder = batches_folder(root, publisher)
    verdicts = [find_json(folder / name / FRESHNESS) for name in sorted(index.entries(folder))]
    return [
        verdict["evidence"]["sha256"]
        for verdict in verdicts
        if verdict and verdict["verdict"] == "stale" and verdict["evidence"]["user_set"] == user_set_name
    ]


def prune(root: Path, publisher: str) -> list[str]:
    """Remove all but the batches that came last, and what killed tasks left; returns the names of the batches removed.

    The manifest goes first: of a batch that is half removed, none is left to promise anything.
    """
    folder = batches_folder(root, publisher)
    with index.changing(folder) as known:
        pointed = latest(root, publisher)
        newest_first = sorted(known, key=lambda name: known[name]["fetched_at"], reverse=True)
        old = [name for name in newest_first[KEPT:] if not pointed or name != pointed["sha256"]]
        for name in old:
            (folder / name / MANIFEST).unlink(missing_ok=True)
            remove_folder(folder / name)
            del known[name]
    _sweep(folder)
    return old


def _sweep(folder: Path) -> None:
    """Remove local work folders, but not what somebody may be at work on."""
    if isinstance(folder, ObjectPath):
        return
    for work in folder.glob(".work-*"):
        if time.time() - work.stat().st_mtime > LEFT_OVER_AFTER:
            shutil.rmtree(work, ignore_errors=True)
