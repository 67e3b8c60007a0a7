"""Is this batch the one made after our upload, from our list? Judged by evidence, and kept with the batch.

``still_waiting`` is for the trigger: it sees only response headers. ``judge`` is for the worker: it has the parsed
batch, the user set and the batch accepted last.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.recommendations import index
from include.recommendations.layout import ACCEPTED, FETCH, FRESHNESS, list_folder, parts_of
from include.staging import MANIFEST, find_json, read_json, scratch, write_json

if TYPE_CHECKING:
    from include.audience.user_sets import UserSet

MANY_ADDED = 20
MANY_ADDED_SHARE = 0.05
"""So many users, and so much of the list, must have been added before their absence from the batch tells anything."""


@dataclass(frozen=True)
class Seen:
    """What one look at the result link showed."""

    etag: str | None = None
    last_modified: str | None = None
    length: int | None = None
    head_sha256: str | None = None
    """SHA-256 of the first 64 KiB, for servers that send neither ETag nor Last-Modified."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Seen":
        """From JSON; unknown keys are left out."""
        return cls(**{field.name: content.get(field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Freshness:
    """A verdict, ``fresh`` or ``stale``, why in one sentence, and what it rests on."""

    verdict: str
    sentence: str
    evidence: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def still_waiting(seen: Seen, refused: Sequence[Seen], moment: datetime) -> str | None:
    """Why a look is not worth a fetch, in one line; None if it is. What is older than the moment is not."""
    modified = http_date(seen.last_modified)
    if modified and modified < moment.replace(microsecond=0):
        return f"last changed {seen.last_modified}, before {_iso(moment)}"
    for earlier in refused:
        same = _same(seen, earlier)
        if same:
            return f"still the batch that was looked at before: {same}"
    return None


def http_date(text: str | None) -> datetime | None:
    """An HTTP date, to the second, in UTC; None if it is missing or unreadable."""
    try:
        moment = parsedate_to_datetime(text) if text else None
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
    except (ValueError, OverflowError):  # a year or an offset beyond what a date can hold
        return None


def _same(seen: Seen, earlier: Seen) -> str | None:
    """By which sign two looks saw the same thing: the strongest sign that both have decides."""
    if seen.etag and earlier.etag:
        return f"ETag {seen.etag}" if _tag(seen.etag) == _tag(earlier.etag) else None
    if seen.length is not None and earlier.length is not None and seen.length != earlier.length:
        return None
    if seen.last_modified and earlier.last_modified:
        return f"Last-Modified {seen.last_modified}" if seen.last_modified == earlier.last_modified else None
    if seen.head_sha256 and seen.head_sha256 == earlier.head_sha256 and seen.length == earlier.length:
        return f"the same beginning and length ({seen.length} bytes)"
    return None


def _tag(etag: str) -> str:
    return etag.removeprefix("W/")


def judge(
    batch: Path,
    user_set: "UserSet",
    previous: "UserSet | None",
    latest: dict[str, Any] | None,
    run: str = "",
    since: datetime | None = None,
    earlier: Sequence[str] = (),
) -> Freshness:
    """Weigh the evidence; any proof of staleness wins over any proof of freshness.

    Args:
        batch: a parsed batch.
        user_set: the list that was uploaded last.
        previous: the list before it.
        latest: the batch accepted last, as ``batches.latest`` gives it.
        run: that judges; a batch it accepted itself stays fresh for it.
        since: of a run on a schedule, the moment before which nothing counts; what any other run accepted does not
            count either. Without it, what was accepted for this list stays fresh for it.
        earlier: sha256 of the contents that were judged stale for this list already.

    Returns:
        The verdict, also written to ``freshness.json`` in the batch folder.
    """
    evidence = _evidence(batch, user_set, previous, latest)
    moment = not_before(user_set, since).replace(microsecond=0)
    evidence |= {"not_before": _iso(moment), "on_schedule": since is not None}
    evidence["changed"] = any(sha256 != evidence["sha256"] for sha256 in earlier)
    evidence["lacks_added"] = _lacks_added(evidence, user_set.record["rows"])
    own = [each for each in evidence["accepted"] if each["user_set"] == user_set.name]
    stale, fresh = _stale_proofs(evidence, moment), _fresh_proofs(evidence, moment)
    if any(since is None or each["run"] == run for each in own):
        evidence["taken_before"] = True
        verdict = Freshness("fresh", f"Fresh: this batch was accepted for {user_set.name} before.", evidence)
    elif stale:
        verdict = Freshness("stale", f"Stale: {'; '.join(stale)}.", evidence)
    elif fresh:
        verdict = Freshness("fresh", f"Fresh: {'; '.join(fresh)}.", evidence)
    else:
        verdict = Freshness("stale", f"Stale: cannot be proven fresh: {_doubt(evidence)}.", evidence)
    write_json(batch / FRESHNESS, verdict.as_dict())
    return verdict


def _evidence(
    batch: Path, user_set: "UserSet", previous: "UserSet | None", latest: dict[str, Any] | None
) -> dict[str, Any]:
    manifest = read_json(batch / MANIFEST)
    headers = (find_json(batch / FETCH) or {}).get("headers", {})
    return {
        "sha256": manifest["sha256"],
        "user_set": user_set.name,
        "sent_at": user_set.record["sent_at"],
        "latest_sha256": latest["sha256"] if latest else None,
        "accepted": acceptances(batch),
        "taken_before": False,
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
        "updated_at": manifest["updated_at"],
        **_lists(batch, manifest, user_set, previous),
    }


def acceptances(batch: Path) -> list[dict[str, Any]]:
    """Of all lists that the batch was accepted for: its name, the run that took it, when it was fetched."""
    known = index.entries(batch.parent).get(batch.name)
    return [read_json(list_folder(batch, name) / ACCEPTED) for name in sorted(known["lists"] if known else ())]


def _lists(
    batch: Path, manifest: dict[str, Any], user_set: "UserSet", previous: "UserSet | None"
) -> dict[str, int | None]:
    """How many users were added to and removed from the list, and how many of them are in the batch."""
    if previous is None or previous.record["sha256"] == user_set.record["sha256"]:
        return dict.fromkeys(("added", "added_present", "removed", "removed_present"))
    from include.engine import open_engine

    query = """
        WITH new AS (SELECT auth_user_id AS id FROM read_parquet($new)),
             old AS (SELECT auth_user_id AS id FROM read_parquet($old)),
             batch AS (SELECT DISTINCT auth_user_id AS id FROM read_parquet($batch)),
             added AS (SELECT id FROM new ANTI JOIN old USING (id)),
             removed AS (SELECT id FROM old ANTI JOIN new USING (id))
        SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM added SEMI JOIN batch USING (id)),
               (SELECT count(*) FROM removed), (SELECT count(*) FROM removed SEMI JOIN batch USING (id))
    """
    files = {
        "new": str(user_set.ids),
        "old": str(previous.ids),
        "batch": parts_of(batch, manifest),
    }
    with scratch(batch.parent) as work, open_engine(work / "engine", data=batch) as database:
        row = database.execute(query, files).fetchone()
    assert row
    return dict(zip(("added", "added_present", "removed", "removed_present"), row, strict=True))


def not_before(user_set: "UserSet", since: datetime | None) -> datetime:
    """The moment before which no batch counts: when the list was sent, or the start of the interval if later."""
    sent_at = datetime.fromisoformat(user_set.record["sent_at"])
    return max(sent_at, since) if since else sent_at


def made_before(evidence: dict[str, Any], moment: datetime) -> bool:
    """Whether a time in the evidence of a verdict proves that the batch was made before a moment."""
    times = (_newest(evidence), http_date(evidence["last_modified"]))
    return any(time < moment.replace(microsecond=0) for time in times if time)


def _stale_proofs(evidence: dict[str, Any], moment: datetime) -> list[str]:
    proofs = []
    newest, modified = _newest(evidence), http_date(evidence["last_modified"])
    # what was taken for another list after ours was sent may be ours all the same: that proves nothing
    sent_at = datetime.fromisoformat(evidence["sent_at"])
    taken = [
        each["user_set"]
        for each in evidence["accepted"]
        if evidence["on_schedule"] or datetime.fromisoformat(each["fetched_at"]) < sent_at
    ]
    if taken:
        proofs.append(f"the same content was accepted before, for the list {', '.join(taken)}")
    if newest and newest < moment:
        proofs.append(f"its newest updated_at, {_iso(newest)}, is before {_iso(moment)}")
    if modified and modified < moment:
        proofs.append(f"last changed {_iso(modified)}, before {_iso(moment)}")
    if evidence["removed_present"] and not evidence["added_present"]:
        proofs.append(
            f"made from the previous list: {evidence['removed_present']} users that were removed are in it, "
            f"none of the {evidence['added']} that were added"
        )
    return proofs


def _fresh_proofs(evidence: dict[str, Any], moment: datetime) -> list[str]:
    proofs = []
    newest, modified = _newest(evidence), http_date(evidence["last_modified"])
    if newest and newest >= moment:
        proofs.append(f"updated_at reaches {_iso(newest)}, not before {_iso(moment)}")
    if modified and modified >= moment:
        proofs.append(f"last changed {_iso(modified)}, not before {_iso(moment)}")
    if evidence["added_present"]:
        proofs.append(f"{evidence['added_present']} of {evidence['added']} users added to the list are in it")
    if evidence["lacks_added"]:  # then a change of the content tells nothing of the list
        return proofs
    if evidence["changed"]:
        proofs.append("its content is not what was published when the list had just been sent")
    if evidence["on_schedule"] and evidence["latest_sha256"] not in (None, evidence["sha256"]):
        proofs.append("its content differs from the batch accepted last")
    return proofs


def _lacks_added(evidence: dict[str, Any], rows: int) -> bool:
    """Whether none of so many added users is in the batch that it is likelier to be of the list before.

    Not proof enough against a time: the vendor recommends only to users who were active of late, and new ones may
    never have been.
    """
    added = evidence["added"] or 0
    return added >= max(MANY_ADDED, rows * MANY_ADDED_SHARE) and not evidence["added_present"]


def _doubt(evidence: dict[str, Any]) -> str:
    if evidence["lacks_added"]:
        return f"it has no Last-Modified and no updated_at, and none of the {evidence['added']} added users is in it"
    return (
        "it has no Last-Modified and no updated_at, nobody who was added to the list is in it, and it did not change "
        "after the list was sent"
    )


def _newest(evidence: dict[str, Any]) -> datetime | None:
    text = evidence["updated_at"]["max"]
    return datetime.fromisoformat(text) if text else None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
