"""The newest moment whose pins were sent, of each publisher: a late run of an older one must not go over them.

``{publisher}/pins/newest.json`` is on disk before the first byte of a run leaves, whatever becomes of the run. Two
runs are kept apart by a lock file, or, where the note lies in an object store, by turns in Postgres.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from include.errors import BadInput
from include.staging import locked, read_json, utc_text, write_json

NEWEST = "newest.json"


class Newest:
    """The note of one publisher, as a run sees it."""

    def __init__(self, folder: Path, as_of: datetime, run: Path) -> None:
        self._path = folder / NEWEST
        self._as_of = as_of
        self._run = run

    def refuse_if_older(self) -> None:
        """To be asked before a run that replaces or deletes.

        Raises:
            BadInput: pins of a later moment were sent, or a run of them began to.
        """
        noted = self._noted()
        if noted and self._as_of < datetime.fromisoformat(noted["as_of"]):
            raise BadInput(
                f"these pins are as of {utc_text(self._as_of)[:19]} UTC, and newer ones, as of {noted['as_of'][:19]} "
                f"UTC, were sent already (run {noted['run']}). Older pins never go over newer ones; nothing was "
                "changed. A dry run shows the difference. If these are wanted all the same, trigger a new run without "
                "a logical date, with this run's files if it had some: it is as of now."
            )

    def note(self) -> None:
        """Say that a run is about to send; an older moment than the noted one changes nothing."""
        noted = self._noted()
        if not noted or self._as_of > datetime.fromisoformat(noted["as_of"]):
            write_json(self._path, {"as_of": utc_text(self._as_of), "run": self._run.name})

    def _noted(self) -> dict[str, str] | None:
        return read_json(self._path) if self._path.exists() else None


@contextmanager
def one_sender(folder: Path, as_of: datetime, run: Path) -> Iterator[Newest]:
    """Hold off every other sender of a publisher: on this machine, or on all workers if the folder is in a store.

    Args:
        folder: ``{publisher}/pins`` of the staging store.
        as_of: the moment whose pins are sent.
        run: the folder of the run.
    """
    with locked(folder, ".sending.lock"):
        yield Newest(folder, as_of, run)
