"""The lists that Luigi's Box accepted, newest first: what the live list is, and what it replaced.

``{publisher}/user_sets/{accepted_at}-{sha256}/`` holds the sorted ids and the record of one upload; ``live.json``
points at the newest. A list enters only after the vendor accepted it, and then always: what the vendor holds is what
is live, whatever is wrong with it. That a list never replaces one of a later moment is asked before it is sent.
"""

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from include.errors import BadInput, PipelineError
from include.staging import MANIFEST, atomic_write, read_json, sha256_file, utc_text, write_json

IDS = "ids.parquet"
RECORD = "record.json"
LIVE = "live.json"
KEPT = 10
log = logging.getLogger(__name__)


class OlderThanLive(PipelineError):
    """The list is of an earlier moment than the live one: a backfill, or a run that was overtaken."""


@dataclass(frozen=True)
class UserSet:
    """One accepted list.

    ``record`` holds ``name``, ``rows``, ``bytes`` and ``sha256`` of what was uploaded, ``as_of``, ``sent_at``,
    ``accepted_at``, ``shapes``, ``ids`` (the entry of the Parquet file), ``previous`` (a name or null), ``run`` and
    the vendor's ``answer``.
    """

    folder: Path
    name: str
    record: dict[str, Any]

    @property
    def ids(self) -> Path:
        """Parquet file of ``auth_user_id`` and ``recipient``, sorted by the bytes of the id, each id once."""
        return self.folder / IDS


def user_sets_folder(root: Path, publisher: str) -> Path:
    """Where the accepted lists of a publisher lie."""
    return root / publisher / "user_sets"


def load(root: Path, publisher: str, name: str) -> UserSet:
    """The accepted list of that name.

    Raises:
        BadInput: there is none.
    """
    folder = user_sets_folder(root, publisher)
    if name not in _names(folder):
        known = ", ".join(_names(folder)) or "none"
        raise BadInput(f"publisher {publisher}: no accepted list {name!r}; known, oldest first: {known}")
    return UserSet(folder / name, name, read_json(folder / name / RECORD))


def live(root: Path, publisher: str) -> UserSet | None:
    """The list that is live at the vendor, as far as this project knows; None before the first upload.

    Raises:
        BadInput: the pointer names a list that is gone.
    """
    pointer = user_sets_folder(root, publisher) / LIVE
    return load(root, publisher, read_json(pointer)["name"]) if pointer.exists() else None


def previous(root: Path, user_set: UserSet) -> UserSet | None:
    """The last other list that was live before this one; None if there was none, or it was cleared away since.

    The same list sent again is no other list.
    """
    publisher = user_set.folder.parent.parent.relative_to(root).as_posix()
    earlier = user_set
    while (name := earlier.record["previous"]) and (user_set.folder.parent / name / RECORD).exists():
        earlier = load(root, publisher, name)
        if earlier.record["sha256"] != user_set.record["sha256"]:
            return earlier
    return None


def last_whole(user_set: UserSet) -> UserSet | None:
    """This list or the last one before it that is no segment; None if there was none."""
    name: str | None = user_set.name
    while name and (user_set.folder.parent / name / RECORD).exists():
        record = read_json(user_set.folder.parent / name / RECORD)
        if not record["segment"]:
            return UserSet(user_set.folder.parent / name, name, record)
        name = record["previous"]
    return None


def refuse_if_older(live: UserSet | None, as_of: datetime | str) -> None:
    """To be asked just before a list is sent; once the vendor has it, it is too late.

    Raises:
        OlderThanLive: the live list is of a later moment.
    """
    moment = datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    if live and moment < datetime.fromisoformat(live.record["as_of"]):
        raise OlderThanLive(
            f"this list is of {utc_text(moment)}, the live list {live.name} of {live.record['as_of']}. An older list "
            "never replaces a newer one; nothing was changed. A backfill builds and compares only; to publish an "
            "audience now, trigger a new run."
        )


def accept(
    root: Path,
    publisher: str,
    run: Path,
    *,
    sent_at: datetime,
    accepted_at: datetime,
    answer: dict[str, Any],
    segment: bool = False,
) -> UserSet:
    """Record that the vendor took the list of a run, and make it the live one.

    Safe to repeat: the same list sent at the same moment is recorded once, and a repetition never takes the place of
    a list that was accepted later. A list of an earlier moment than the live one is recorded too, with an error in
    the log: the vendor has it now.

    Args:
        root: the staging store.
        publisher: name of the publisher.
        run: the folder of the audience run, with its manifest.
        sent_at: when the upload began; a batch that was made before it cannot be of this list.
        accepted_at: when the vendor's answer came.
        answer: what the vendor answered, trimmed, for people.
        segment: the list is the audience of one campaign, not the publisher's own.

    Raises:
        BadInput: the run's files are not those of its manifest.
    """
    manifest = read_json(run / MANIFEST)
    folder = user_sets_folder(root, publisher)
    with locked(folder, ".lock"):
        current = live(root, publisher)
        user_set = _find(root, publisher, manifest["sha256"], utc_text(sent_at))
        if user_set is None:
            record = {
                **{key: manifest[key] for key in ("rows", "bytes", "sha256", "as_of", "shapes")},
                "sent_at": utc_text(sent_at),
                "accepted_at": utc_text(accepted_at),
                "previous": current.name if current else None,
                "run": run.name,
                "segment": segment,
                "answer": answer,
            }
            user_set = _store(folder, run, manifest["accepted"], record)
        if current is None or user_set.name > current.name:  # names begin with the moment of acceptance
            _warn_if_older(current, user_set)
            write_json(folder / LIVE, user_set.record)
        _prune(folder)
    return user_set


def _warn_if_older(current: UserSet | None, user_set: UserSet) -> None:
    try:
        refuse_if_older(current, user_set.record["as_of"])
    except OlderThanLive:
        log.error(  # noqa: TRY400 - there is nothing to trace
            "%s: Luigi's Box now holds the OLDER list %s (of %s); it replaced %s, which became live while this one was "
            "on its way. It is recorded as the live one, because it is. Run the audience again now.",
            user_set.folder.parent.parent.name,
            user_set.name,
            user_set.record["as_of"],
            current and current.name,
        )


def _store(folder: Path, run: Path, entry: dict[str, Any], record: dict[str, Any]) -> UserSet:
    """Write the folder of a list under a temporary name, then rename it."""
    moment = datetime.fromisoformat(record["accepted_at"])
    name = f"{moment:%Y%m%dT%H%M%S.%fZ}-{record['sha256'][:12]}"
    record |= {"name": name, "ids": {**entry, "name": IDS}}
    temporary = folder / f".{name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with atomic_write(temporary / IDS) as copy:
        shutil.copyfile(run / entry["name"], copy)
    if sha256_file(temporary / IDS) != entry["sha256"]:
        shutil.rmtree(temporary)
        raise BadInput(
            f"{run / entry['name']}: not the file that the manifest promises, although the vendor accepted its chunks. "
            "The live list is not recorded. Clear the build of this run and upload again."
        )
    write_json(temporary / RECORD, record)
    temporary.rename(folder / name)
    return UserSet(folder / name, name, record)


def _find(root: Path, publisher: str, sha256: str, sent_at: str) -> UserSet | None:
    for name in reversed(_names(user_sets_folder(root, publisher))):
        user_set = load(root, publisher, name)
        if (user_set.record["sha256"], user_set.record["sent_at"]) == (sha256, sent_at):
            return user_set
    return None


def _names(folder: Path) -> list[str]:
    """Names of the lists, oldest first."""
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{RECORD}"))


def _prune(folder: Path) -> None:
    """Keep the newest lists; if they all are segments, from the last whole list on."""
    names = _names(folder)
    whole = [place for place, name in enumerate(names) if not read_json(folder / name / RECORD)["segment"]]
    for name in names[: min([max(0, len(names) - KEPT), *whole[-1:]])]:
        shutil.rmtree(folder / name)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One process at a time, on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
