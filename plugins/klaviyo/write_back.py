"""Writing to Klaviyo's profiles: the changes of a part as bulk import jobs, each noted before and after it is sent.

The notes lie in ``Part.sending``: ``jobs.json`` (how the changes are cut, and which halves came of that later) and
``jobs/{first}-{end}.json`` (state ``sending``, ``sent`` with the job's id, ``split`` into halves, ``done``; and who was
refused, by row). The former names a job before the latter is written, so notes are found without listing. A retry reads
them: it polls the jobs that run and sends what was not sent. An import is an upsert, so a job whose answer was lost is
sent again.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from include.deliveries import claims
from include.deliveries.changes import changes
from include.deliveries.klaviyo import TOO_LONG, cut, job_body, profile
from include.deliveries.part import Part
from include.errors import NotReady
from include.publishers.deliveries import KlaviyoDelivery
from include.staging import find_json, read_json, write_json
from klaviyo.client import Client
from klaviyo.documents import RUNNING, Job
from vendor_http.errors import Invalid, NotFound

JOBS = "jobs.json"
MALFORMED = "malformed"
"""Reason: Klaviyo refused the profile before its job began."""
UNNAMED = "import_error_unnamed"
"""Reason: the list of import errors does not name all profiles that are missing in the job's counts."""
MOST_MALFORMED = 20
"""More profiles of one job that are refused alone: the mistake is not theirs."""
MOST_NAMED = 500
"""More profiles of one job that are refused by name."""
_POINTER = re.compile(r"/data/attributes/profiles/data/(\d+)(?:/|$)")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteBack:
    """The jobs of one part."""

    client: Client
    part: Part
    settings: KlaviyoDelivery

    @cached_property
    def _folder(self) -> Path:
        return self.part.sending

    def send(self) -> list[str]:
        """Send what was not sent yet; gives the ids of all jobs that are not settled.

        Raises:
            Overtaken: a newer batch began.
            Invalid: Klaviyo refuses jobs for a reason that is not their profiles'.
            VendorError: what Klaviyo answered at last; what was sent is noted.
        """
        for job in self._cuts():
            self._send(job["first"], job["end"], {str(row): TOO_LONG for row in job["long"]})
        return [note["job"] for note in _notes(self._folder) if note["state"] == "sent"]

    def settle(self) -> list[str]:
        """Ask what became of the jobs that were sent; gives the ids of those that still run.

        Raises:
            NotReady: a job was cancelled, or Klaviyo knows it no longer; the next try sends it again.
            VendorError: what Klaviyo answered at last.
        """
        running = []
        for note in _notes(self._folder):
            if note["state"] != "sent":
                continue
            try:
                job = self.client.import_job(note["job"])
            except NotFound as error:
                raise self._again(note, f"Klaviyo does not know import job {note['job']} any more. {error}") from error
            if job.status in RUNNING:
                running.append(job.id)
            elif job.status == "complete":
                missing = _missing(job, note)
                refused = self._import_errors(note, missing) if missing else {}
                self._note({**note, "state": "done", "refused": note["refused"] | refused})
            else:
                done = f"{job.completed:,} of {job.total:,} profiles done"
                raise self._again(note, f"Klaviyo says {job.status} of import job {job.id} ({done}).")
        return running

    def _again(self, note: dict[str, Any], why: str) -> NotReady:
        """Have the next try send a job again: an import is an upsert."""
        self._note({**note, "state": "sending", "job": None})
        return NotReady(f"{why} The other jobs stay as they are; the next try sends this one again.")

    def refused(self) -> Iterator[tuple[int, str]]:
        """Rows of the changes that were not taken, with the reasons."""
        for note in _notes(self._folder):
            for row, reason in note["refused"].items():
                yield int(row), reason

    def _cuts(self) -> list[dict[str, Any]]:
        path = self._folder / JOBS
        found = find_json(path)
        if not found:
            cuts = cut(changes(self.part), self.settings)
            found = {"jobs": [{"first": first, "end": end, "long": long} for first, end, long in cuts], "halves": []}
            write_json(path, found)
        return list(found["jobs"])

    def _send(self, first: int, end: int, refused: dict[str, str]) -> dict[str, str]:
        """Send these rows but those already refused; gives who is refused in the end."""
        new: dict[str, Any] = {"first": first, "end": end, "job": None, "refused": refused}
        note = find_json(_path(self._folder, first, end)) or new
        if note.get("state") in ("sent", "done"):
            return dict(note["refused"])
        if note.get("state") == "split":
            return self._halves(note)
        while True:
            rows, body = self._body(first, end, note["refused"])
            note["state"] = "sending"
            self._note(note)
            if not rows:
                self._note({**note, "state": "done"})
                return dict(note["refused"])
            try:
                claims.check(self.part)
                job = self.client.create_import_job(body)
            except Invalid as error:
                named = _named(error, rows)
                if not named:
                    return self._divide(note, rows, error)
                log.warning("import job refused for %d of its %d profiles; they are set aside", len(named), len(rows))
                note["refused"] = note["refused"] | named
                if sum(reason == MALFORMED for reason in note["refused"].values()) > MOST_NAMED:
                    self._forget(first, end)
                    raise
                continue
            self._note({**note, "state": "sent", "job": job})
            return dict(note["refused"])

    def _divide(self, note: dict[str, Any], rows: list[int], error: Invalid) -> dict[str, str]:
        """Klaviyo names nobody: halve the job until the malformed profile stands alone."""
        if len(rows) == 1:
            refused = note["refused"] | {str(rows[0]): MALFORMED}
            self._note({**note, "state": "done", "refused": refused})
            return dict(refused)
        middle = rows[len(rows) // 2]
        self._name_halves(note["first"], middle, note["end"])
        split = {**note, "state": "split", "middle": middle, "asked": note["refused"], "refused": {}}
        self._note(split)
        found = self._halves(split)
        if sum(reason == MALFORMED for reason in found.values()) > MOST_MALFORMED:
            self._forget(note["first"], note["end"])
            raise error
        return found

    def _name_halves(self, first: int, middle: int, end: int) -> None:
        jobs = read_json(self._folder / JOBS)
        jobs["halves"] += [[first, middle], [middle, end]]
        write_json(self._folder / JOBS, jobs)

    def _forget(self, first: int, end: int) -> None:
        """The mistake was not the profiles': a try after it was mended sends them again."""
        for note in _notes(self._folder):
            if first <= note["first"] and note["end"] <= end and not note["job"]:
                _path(self._folder, note["first"], note["end"]).unlink()

    def _halves(self, note: dict[str, Any]) -> dict[str, str]:
        first, middle, end = note["first"], note["middle"], note["end"]
        asked = note["asked"].items()
        left = self._send(first, middle, {row: reason for row, reason in asked if int(row) < middle})
        return left | self._send(middle, end, {row: reason for row, reason in asked if int(row) >= middle})

    def _body(self, first: int, end: int, refused: dict[str, str]) -> tuple[list[int], bytes]:
        rows, profiles = [], []
        for change in changes(self.part, first, end):
            if str(change.row) not in refused:
                rows.append(change.row)
                profiles.append(profile(change, self.settings))
        return rows, job_body(profiles)

    def _import_errors(self, note: dict[str, Any], missing: int) -> dict[str, str]:
        """Who was not imported, with Klaviyo's reason; if it does not name them all, nobody of the job counts."""
        every = changes(self.part, note["first"], note["end"])
        chosen = [change for change in every if str(change.row) not in note["refused"]]
        names = {change.recipient: change.row for change in chosen}
        rows = [change.row for change in chosen]
        found: dict[str, str] = {}
        for error in self.client.import_errors(note["job"]):
            row = _row_of(error, rows, names)
            if row is not None:
                found[str(row)] = _reason(error)
        if len(found) < missing:
            found = {str(row): found.get(str(row), UNNAMED) for row in rows}
        log.warning("import job %s: %d of %d profiles were set aside", note["job"], len(found), len(rows))
        return found

    def _note(self, note: dict[str, Any]) -> None:
        write_json(_path(self._folder, note["first"], note["end"]), note)


def _path(folder: Path, first: int, end: int) -> Path:
    return folder / "jobs" / f"{first:09d}-{end:09d}.json"


def _notes(folder: Path) -> list[dict[str, Any]]:
    """What is noted of the jobs that ``jobs.json`` names."""
    named = find_json(folder / JOBS) or {"jobs": [], "halves": []}
    rows = {(job["first"], job["end"]) for job in named["jobs"]} | {(first, end) for first, end in named["halves"]}
    return [note for first, end in sorted(rows) if (note := find_json(_path(folder, first, end)))]


def overtaken_jobs(client: Client, part: Part) -> list[str]:
    """Jobs of older batches that still run: they could be stored after this batch's.

    Raises:
        VendorError: what Klaviyo answered at last.
    """
    notes = [note for folder in claims.overtaken_sendings(part) for note in _notes(folder)]
    return [note["job"] for note in notes if note["state"] == "sent" and _runs(client, note["job"])]


def _missing(job: Job, note: dict[str, Any]) -> int:
    """How many of the profiles that were sent the job does not count as imported; it must have counted them all."""
    sent: int = note["end"] - note["first"] - len(note["refused"])
    return max(job.failed, max(job.total, sent) - job.completed, abs(job.total - sent))


def _runs(client: Client, job: str) -> bool:
    try:
        return client.import_job(job).status in RUNNING
    except NotFound:
        return False


def _named(error: Invalid, rows: list[int]) -> dict[str, str]:
    """The rows that the answer's JSON pointers name."""
    places = {int(found[1]) for pointer in error.pointers if (found := _POINTER.match(pointer))}
    return {str(rows[place]): MALFORMED for place in sorted(places) if place < len(rows)}


def _row_of(error: dict[str, Any], rows: list[int], names: dict[str, int]) -> int | None:
    """The row an import error is about: by the payload Klaviyo gives back, else by its pointer."""
    payload = error.get("original_payload")
    payload = payload if isinstance(payload, dict) else {}
    attributes = payload.get("attributes")
    places = (payload, attributes if isinstance(attributes, dict) else {})
    for name in ("id", "external_id", "email"):
        for place in places:
            if isinstance(place.get(name), str) and place[name] in names:
                return names[place[name]]
    source = error.get("source")
    pointer = source.get("pointer") if isinstance(source, dict) else None
    place_ = _POINTER.match(pointer) if isinstance(pointer, str) else None
    return rows[int(place_[1])] if place_ and int(place_[1]) < len(rows) else None


def _reason(error: dict[str, Any]) -> str:
    """Klaviyo's code and title, as it names the mistake; never its detail, which quotes the profile."""
    said = " ".join(str(error[key]) for key in ("code", "title") if error.get(key))
    return re.sub(r"[^\w .,:'-]", " ", said)[:200] or "import_error"
