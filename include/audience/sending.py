"""A list on its way: checking, sending and recording is one piece of work, done by one process at a time.

On one machine a lock file holds the others off; across machines Airflow's pool ``luigisbox`` with its one slot does.

``{publisher}/user_sets/sending.json`` says that a list is on its way. It is on disk before the first byte leaves and
goes when the outcome is known, so one that is found was left by an attempt that died, or ended without an answer:
nobody knows which list the vendor holds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.audience.user_sets import live, locked, user_sets_folder
from include.errors import BadInput
from include.staging import MANIFEST, read_json, sha256_file, utc_text, write_json

SENDING = "sending.json"


@contextmanager
def one_sender(root: Path, publisher: str) -> Iterator[None]:
    """Hold off every other sender of this publisher on this machine; they wait."""
    with locked(user_sets_folder(root, publisher), ".sending.lock"):
        yield


def begin(root: Path, publisher: str, run: Path) -> dict[str, Any] | None:
    """Note, on disk, that the list of a run is about to be sent; call :func:`end` when the outcome is known.

    Returns:
        The note of an earlier attempt whose outcome is unknown (``name``, ``sha256``, ``as_of``, ``run``,
        ``sent_at``): the vendor may hold that list instead of the live one. None without such an attempt, or if its
        list is the live one.
    """
    folder, manifest, current = user_sets_folder(root, publisher), read_json(run / MANIFEST), live(root, publisher)
    left = read_json(folder / SENDING) if (folder / SENDING).exists() else None
    note = {
        "name": manifest["sha256"][:12],
        "sha256": manifest["sha256"],
        "as_of": manifest["as_of"],
        "run": run.name,
        "sent_at": utc_text(datetime.now(UTC)),
    }
    write_json(folder / SENDING, note)
    _to_disk(folder)
    return None if left and current and left["sha256"] == current.record["sha256"] else left


def end(root: Path, publisher: str, left: dict[str, Any] | None = None) -> None:
    """Remove the note, or put back that of an earlier attempt, whose outcome stays unknown."""
    note = user_sets_folder(root, publisher) / SENDING
    if left:
        write_json(note, left)
    else:
        note.unlink(missing_ok=True)


def check_accepted(run: Path) -> None:
    """Is the file of ids, which will be recorded with the list, the one of the manifest?

    Raises:
        BadInput: it is not.
    """
    entry = read_json(run / MANIFEST)["accepted"]
    path = run / entry["name"]
    if not path.exists() or sha256_file(path) != entry["sha256"]:
        raise BadInput(f"{path}: not the file that the manifest promises. Nothing was sent. Clear `build` of this run.")


def _to_disk(folder: Path) -> None:
    """Force the names in a folder to disk, as their contents are already."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
