"""The lists that Luigi's Box accepted, newest first: what the live list is, and what it replaced.

``{publisher}/user_sets/{accepted_at}-{sha256}/`` holds the sorted ids and the record of one upload; ``live.json``,
written last, points at the newest and names all that are known. A list enters only after the vendor accepted it, and
then always: what the vendor holds is what is live, whatever is wrong with it. That a list never replaces one of a later
moment is asked before it is sent.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from include.errors import BadInput, PipelineError
from include.staging import (
    FILE_NAME,
    MANIFEST,
    copy_file,
    find_json,
    locked,
    read_json,
    remove_folder,
    sha256_file,
    utc_text,
    write_json,
)

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
    found = _read(folder, name)
    if found is None:
        known = ", ".join(_names(folder)) or "none"
        raise BadInput(f"publisher {publisher}: no accepted list {name!r}; known, oldest first: {known}")
    return found


def live(root: Path, publisher: str) -> UserSet | None:
    """The list that is live at the vendor, as far as this project knows; None before the first upload.

    Raises:
        BadInput: the pointer names a list that is gone.
    """
    pointer = find_json(user_sets_folder(root, publisher) / LIVE)
    return load(root, publisher, pointer["name"]) if pointer else None


def previous(user_set: UserSet) -> UserSet | None:
    """The last other list that was live before this one; None if there was none, or it was cleared away since.

    The same list sent again is no other list.
    """
    return next((each for each in _back(user_set) if each.record["sha256"] != user_set.record["sha256"]), None)


def last_whole(user_set: UserSet) -> UserSet | None:
    """This list or the last one before it that is no segment; None if there was none."""
    return next((each for each in _back(user_set) if not each.record["segment"]), None)


def _back(user_set: UserSet) -> Iterator[UserSet]:
    """This list, the one before it, and so on, as far as they are there."""
    found: UserSet | None = user_set
    while found:
        yield found
        found = _read(found.folder.parent, found.record["previous"] or "")


def _read(folder: Path, name: str) -> UserSet | None:
    """The list of that name, None if there is none."""
    record = find_json(folder / name / RECORD) if re.fullmatch(FILE_NAME, name) else None
    return UserSet(folder / name, name, record) if record else None


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
        names = _names(folder)
        user_set = _find(folder, names, manifest["sha256"], utc_text(sent_at))
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
        newest = user_set
        if current and user_set.name <= current.name:  # names begin with the moment of acceptance
            newest = current
        else:
            _warn_if_older(current, user_set)
        kept = _kept(folder, sorted({*names, user_set.name}))
        write_json(folder / LIVE, {**newest.record, "known": kept})
        _remove_before(folder, kept[0])
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
    """Write the folder of a list, its record last."""
    moment = datetime.fromisoformat(record["accepted_at"])
    name = f"{moment:%Y%m%dT%H%M%S.%fZ}-{record['sha256'][:12]}"
    record |= {"name": name, "ids": {**entry, "name": IDS}}
    copy_file(run / entry["name"], folder / name / IDS)
    if sha256_file(folder / name / IDS) != entry["sha256"]:
        remove_folder(folder / name)
        raise BadInput(
            f"{run / entry['name']}: not the file that the manifest promises, although the vendor accepted its chunks. "
            "The live list is not recorded. Clear the build of this run and upload again."
        )
    write_json(folder / name / RECORD, record)
    return UserSet(folder / name, name, record)


def _find(folder: Path, names: list[str], sha256: str, sent_at: str) -> UserSet | None:
    for name in reversed(names):
        user_set = _read(folder, name)
        if user_set and (user_set.record["sha256"], user_set.record["sent_at"]) == (sha256, sent_at):
            return user_set
    return None


def _names(folder: Path) -> list[str]:
    """Names of the lists, oldest first."""
    record = find_json(folder / LIVE)
    if record is None:
        return []
    if "known" not in record:  # of an earlier version
        return sorted(each.name for each in _back(UserSet(folder / record["name"], record["name"], record)))
    return list(record["known"])


def _kept(folder: Path, names: list[str]) -> list[str]:
    """The newest lists; if they all are segments, from the last whole list on."""
    found = [user_set for name in names if (user_set := _read(folder, name))]
    whole = [place for place, user_set in enumerate(found) if not user_set.record["segment"]]
    return [user_set.name for user_set in found[min([max(0, len(found) - KEPT), *whole[-1:]]) :]]


def _remove_before(folder: Path, oldest: str) -> None:
    """Remove the folders of older lists."""
    for path in folder.iterdir():
        if re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{12}", path.name) and path.name < oldest:
            remove_folder(path)
