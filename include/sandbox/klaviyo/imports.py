"""Bulk import jobs: checked as a whole, stored as upserts, and what was refused profile by profile.

A body with one malformed profile is refused as a whole, with a JSON pointer. A profile that is well formed and still
cannot be stored becomes an import error of the job. The profiles are stored when the job is taken; its status and
counts then pass through *queued* and *processing* as time goes by.
"""

import hashlib
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from include.sandbox.klaviyo import questions
from include.sandbox.klaviyo.database import AccountDatabase, now_text
from include.sandbox.klaviyo.errors import Refusal, error, refusal
from include.sandbox.klaviyo.listings import page_links

MOST_PROFILES = 10_000
MOST_BYTES = 5_000_000
MOST_PROFILE_BYTES = 100_000
_TEXTS = ("email", "external_id", "phone_number", "first_name", "last_name", "organization", "locale", "title", "image")
_KNOWN = {*_TEXTS, "properties", "location", "_kx"}
_STORED = ("email", "external_id", "first_name")
_PLACE = "/data/attributes/profiles/data"
UNDELIVERABLE = "@invalid.example"
"""A well-formed e-mail address that ends so is refused as an import error."""


def create_job(database: AccountDatabase, body: bytes, seconds: float) -> dict[str, Any]:
    """Take an import job.

    Raises:
        Refusal: 400 or 413; nothing is stored.
    """
    profiles = _checked(body)
    job = uuid.uuid4().hex
    with database.writing() as connection:
        errors = [found for place, each in enumerate(profiles) if (found := _upsert(connection, place, each))]
        digest = hashlib.sha256(body).hexdigest()
        row = (job, time.time(), len(profiles), len(errors), digest)
        connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", row)
        connection.executemany(
            "INSERT INTO import_errors (job, code, title, detail, pointer, payload) VALUES (?, ?, ?, ?, ?, ?)",
            ((job, *each) for each in errors),
        )
    return job_document(database, job, seconds)


def _checked(body: bytes) -> list[dict[str, Any]]:
    if len(body) > MOST_BYTES:
        raise refusal(413, f"Payload is larger than {MOST_BYTES} bytes.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise refusal(400, "Invalid JSON.") from None
    try:
        kind, profiles = content["data"]["type"], content["data"]["attributes"]["profiles"]["data"]
    except (KeyError, TypeError):
        raise Refusal(400, [error(400, "The payload is not a bulk import job.", pointer="/data")]) from None
    if kind != "profile-bulk-import-job":
        raise Refusal(400, [error(400, "type must be 'profile-bulk-import-job'.", pointer="/data/type")])
    if not isinstance(profiles, list) or not 1 <= len(profiles) <= MOST_PROFILES:
        raise Refusal(400, [error(400, f"There must be 1 to {MOST_PROFILES} profiles.", pointer=_PLACE)])
    errors = [found for place, each in enumerate(profiles) for found in _faults(each, f"{_PLACE}/{place}")]
    if errors:
        raise Refusal(400, errors[:100])
    return profiles


def _faults(profile: Any, place: str) -> Iterator[dict[str, Any]]:
    """What is malformed in one profile."""
    attributes = profile.get("attributes") if isinstance(profile, dict) else None
    if not isinstance(profile, dict) or profile.get("type") != "profile" or not isinstance(attributes, dict):
        yield error(400, "A profile must have type 'profile' and attributes.", pointer=place)
        return
    if not (profile.get("id") or any(attributes.get(name) for name in ("email", "external_id", "phone_number", "_kx"))):
        yield error(400, "A profile must have an identifier.", pointer=f"{place}/attributes")
    for name in attributes.keys() - _KNOWN:
        yield error(400, f"'{name}' is not a valid field.", pointer=f"{place}/attributes/{name}")
    for name in _TEXTS:
        if not isinstance(attributes.get(name), str | None):
            yield error(400, f"{name} must be a string.", pointer=f"{place}/attributes/{name}")
    email = attributes.get("email")
    if isinstance(email, str) and not _looks_like_email(email):
        yield error(400, "Invalid email address.", pointer=f"{place}/attributes/email")
    if not isinstance(attributes.get("properties"), dict | None):
        yield error(400, "properties must be an object.", pointer=f"{place}/attributes/properties")
    if len(json.dumps(profile, ensure_ascii=False, separators=(",", ":")).encode()) > MOST_PROFILE_BYTES:
        yield error(400, f"A profile must not be larger than {MOST_PROFILE_BYTES} bytes.", pointer=place)


def _looks_like_email(text: str) -> bool:
    name, at, domain = text.partition("@")
    return bool(name and at and domain) and "@" not in domain and not any(mark in text for mark in " \t\r\n,;")


def _upsert(connection: sqlite3.Connection, place: int, profile: dict[str, Any]) -> tuple[str, ...] | None:
    """Store one profile; gives the columns of its import error, if it has to be refused."""
    attributes = profile["attributes"]
    email, external_id = attributes.get("email"), attributes.get("external_id")
    payload = json.dumps(profile)
    if email and email.lower().endswith(UNDELIVERABLE):
        return ("invalid", "Invalid input.", "Invalid email address", f"{_PLACE}/{place}/attributes/email", payload)
    row = _matching(connection, profile.get("id"), external_id, email)
    if row is None and profile.get("id"):
        return ("not_found", "Not found.", "A profile with this id does not exist", f"{_PLACE}/{place}/id", payload)
    properties = json.loads(row["properties"]) if row else {}
    given = attributes.get("properties") or {}
    patch = (profile.get("meta") or {}).get("patch_properties") or {}
    gone = {name for name, value in given.items() if value is None} | set(_unset(patch))
    properties = {name: value for name, value in {**properties, **given}.items() if name not in gone}
    _store(connection, row, attributes, json.dumps(properties, ensure_ascii=False))
    return None


def _unset(patch: Mapping[str, Any]) -> list[str]:
    names = patch.get("unset") or []
    return [names] if isinstance(names, str) else list(names)


def _matching(
    connection: sqlite3.Connection, profile_id: str | None, external_id: str | None, email: str | None
) -> sqlite3.Row | None:
    for column, value in (("id", profile_id), ("external_id", external_id), ("email", email)):
        if value:
            row: sqlite3.Row | None = connection.execute(
                f"SELECT * FROM profiles WHERE {column} = ? ORDER BY n LIMIT 1", [value]
            ).fetchone()
            if row is not None or column == "id":
                return row
    return None


def _store(
    connection: sqlite3.Connection, row: sqlite3.Row | None, attributes: Mapping[str, Any], properties: str
) -> None:
    if row is not None:
        connection.execute(
            "UPDATE profiles SET properties = ?, updated = ?, email = coalesce(?, email), "
            "external_id = coalesce(?, external_id), first_name = coalesce(?, first_name) WHERE n = ?",
            [properties, now_text(), *(attributes.get(name) for name in _STORED), row["n"]],
        )
        return
    columns = "id, email, external_id, first_name, properties, consent, created, updated"
    texts = (attributes.get(name) for name in _STORED)
    moment = now_text()
    connection.execute(
        f"INSERT INTO profiles ({columns}) VALUES (?, ?, ?, ?, ?, 'NEVER_SUBSCRIBED', ?, ?)",
        [f"01N{uuid.uuid4().hex[:23].upper()}", *texts, properties, moment, moment],
    )


def job_document(database: AccountDatabase, job: str, seconds: float) -> dict[str, Any]:
    """A job as a document; ``seconds`` is how long jobs take.

    Raises:
        Refusal: there is none.
    """
    with database.reading() as connection:
        row = connection.execute("SELECT * FROM jobs WHERE id = ?", [job]).fetchone()
    if row is None:
        raise refusal(404, f"A bulk import job with id {job} does not exist.")
    share = min(1.0, (time.time() - row["created_at"]) / seconds) if seconds else 1.0
    status = "queued" if share < 0.25 else "processing" if share < 1 else "complete"
    stored = row["total"] - row["failed"]
    began = datetime.fromtimestamp(row["created_at"], UTC)
    attributes = {
        "status": status,
        "created_at": began.isoformat(),
        "total_count": row["total"],
        "completed_count": stored if status == "complete" else 0 if status == "queued" else int(stored * share),
        "failed_count": row["failed"] if status == "complete" else 0,
        "completed_at": (began + timedelta(seconds=seconds)).isoformat() if status == "complete" else None,
        "expires_at": (began + timedelta(days=7)).isoformat(),
        "started_at": None if status == "queued" else began.isoformat(),
    }
    link = f"https://a.klaviyo.com/api/profile-bulk-import-jobs/{job}/"
    return {"data": {"type": "profile-bulk-import-job", "id": job, "attributes": attributes, "links": {"self": link}}}


def error_page(database: AccountDatabase, job: str, url: str, params: Mapping[str, str]) -> dict[str, Any]:
    """A page of a job's import errors.

    Raises:
        Refusal: a parameter is wrong, or there is no such job.
    """
    size, after = questions.page_size(params, 20, 100), questions.place_of(params)
    with database.reading() as connection:
        if connection.execute("SELECT 1 FROM jobs WHERE id = ?", [job]).fetchone() is None:
            raise refusal(404, f"A bulk import job with id {job} does not exist.")
        rows = connection.execute(
            "SELECT * FROM import_errors WHERE job = ? AND n > ? ORDER BY n LIMIT ?", [job, after, size + 1]
        ).fetchall()
    shown = [
        {
            "type": "import-error",
            "id": f"{job}-{row['n']}",
            "attributes": {
                "code": row["code"],
                "title": row["title"],
                "detail": row["detail"],
                "source": {"pointer": row["pointer"]},
                "original_payload": json.loads(row["payload"]),
            },
            "links": {"self": f"{url}{row['n']}/"},
        }
        for row in rows[:size]
    ]
    return {"data": shown, "links": page_links(url, params, rows[size - 1]["n"] if len(rows) > size else None)}
