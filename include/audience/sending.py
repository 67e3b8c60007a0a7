"""A list on its way: checking, sending and recording is one piece of work, done by one process at a time.

In a local folder a lock file holds the others of this machine off, and across machines Airflow's pool ``luigisbox``
with its one slot does; where the staging store is an object store, all workers take turns by Postgres.

``{publisher}/user_sets/sending.json`` says that a list is on its way. It is on disk before the first byte leaves and
goes when the outcome is known, so one that is found was left by an attempt that died, or ended without an answer:
nobody knows which list the vendor holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.audience.user_sets import live, user_sets_folder
from include.errors import BadInput, PipelineError
from include.staging import MANIFEST, find_json, locked, read_json, sha256_file, to_disk, utc_text, write_json

SENDING = "sending.json"


@contextmanager
def one_sender(root: Path, publisher: str) -> Iterator[None]:
    """Hold off every other sender of this publisher, see above; they wait."""
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
    left = find_json(folder / SENDING)
    note = {
        "name": manifest["sha256"][:12],
        "sha256": manifest["sha256"],
        "as_of": manifest["as_of"],
        "run": run.name,
        "sent_at": utc_text(datetime.now(UTC)),
    }
    write_json(folder / SENDING, note)
    to_disk(folder)
    return None if left and current and left["sha256"] == current.record["sha256"] else left


def noted(root: Path, publisher: str) -> dict[str, Any] | None:
    """The note of the list that is on its way."""
    return find_json(user_sets_folder(root, publisher) / SENDING)


def check_not_overtaken(root: Path, publisher: str, mine: dict[str, Any] | None) -> None:
    """Did another sender begin while this list was on its way? Its turn was lost then, with its connection to Postgres.

    Args:
        root: the staging store.
        publisher: whose list it is.
        mine: what :func:`noted` gave when it left.

    Raises:
        PipelineError: one did. Nobody knows which list arrived last; a note stays that says so.
    """
    if noted(root, publisher) == mine:
        return
    if mine and not noted(root, publisher):
        write_json(user_sets_folder(root, publisher) / SENDING, mine)
    raise PipelineError(
        f"publisher {publisher}: this list was accepted, but its turn was lost on the way (its connection to the "
        "database of the turns ended), and another list was sent meanwhile. Luigi's Box may hold either of them; this "
        "one is not recorded. Run the DAG again: its list replaces whichever is there."
    )


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
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        found = ""
    if found != entry["sha256"]:
        raise BadInput(f"{path}: not the file that the manifest promises. Nothing was sent. Clear `build` of this run.")
