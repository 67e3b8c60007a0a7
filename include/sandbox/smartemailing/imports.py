"""``POST /import``: contacts found by their e-mail address, made if they are not there, and their fields set.

All or nothing: one thing wrong refuses the whole call, except invalid e-mail addresses that are to be skipped.
"""

import re
import secrets
import sqlite3
from typing import Any

from include.sandbox.smartemailing.answers import Refusal

MAX_CONTACTS = 500
MAX_VALUE_BYTES = 65_536
STATUSES = ("confirmed", "unsubscribed", "removed")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


def is_email(text: Any) -> bool:
    """Whether SmartEmailing takes this as an e-mail address."""
    return isinstance(text, str) and len(text) <= 254 and ".." not in text and bool(_EMAIL.fullmatch(text))


def import_contacts(connection: sqlite3.Connection, content: Any, now: str) -> list[dict[str, Any]]:
    """Store the contacts of one call.

    Args:
        connection: in a transaction.
        content: the body, decoded.
        now: the time, as contacts carry it.

    Returns:
        ``contacts_map``: e-mail address and number of each contact that was taken, in the order of the call.

    Raises:
        Refusal: 422, with the place in the body.
    """
    settings, data = _checked(content)
    valid = [contact for number, contact in enumerate(data) if _valid(number, contact, settings)]
    for number, contact in enumerate(valid):
        _check_fields(connection, number, contact)
    update = settings.get("update", True) is not False
    return [_store(connection, contact, update, now) for contact in valid]


def _checked(content: Any) -> tuple[dict[str, Any], list[Any]]:
    settings = content.get("settings", {}) if isinstance(content, dict) else None
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(settings, dict) or not isinstance(data, list) or not data:
        raise Refusal(422, "data: must be a list with at least one contact")
    if len(data) > MAX_CONTACTS:
        raise Refusal(422, f"data: {len(data)} contacts came, allowed are {MAX_CONTACTS} in one call")
    return settings, data


def _valid(number: int, contact: Any, settings: dict[str, Any]) -> bool:
    if not isinstance(contact, dict):
        raise Refusal(422, f"data[{number}]: must be an object")
    if is_email(contact.get("emailaddress")):
        return True
    if settings.get("skip_invalid_emails") is True:
        return False
    raise Refusal(422, f"data[{number}].emailaddress: is not a valid e-mail address")


def _check_fields(connection: sqlite3.Connection, number: int, contact: dict[str, Any]) -> None:
    for field in contact.get("customfields", []):
        place = f"data[{number}].customfields"
        if not isinstance(field, dict) or not isinstance(field.get("value"), str):
            raise Refusal(422, f"{place}: each needs an id and a value that is text")
        if len(field["value"].encode()) > MAX_VALUE_BYTES:
            raise Refusal(422, f"{place}: a value is longer than {MAX_VALUE_BYTES} bytes")
        if not connection.execute("SELECT 1 FROM customfields WHERE id = ?", [field.get("id")]).fetchone():
            raise Refusal(422, f"{place}: there is no custom field {field.get('id')!r}")
    for member in contact.get("contactlists", []):
        if not isinstance(member, dict) or member.get("status", "confirmed") not in STATUSES:
            raise Refusal(422, f"data[{number}].contactlists: status must be one of {', '.join(STATUSES)}")
        if not connection.execute("SELECT 1 FROM contactlists WHERE id = ?", [member.get("id")]).fetchone():
            raise Refusal(422, f"data[{number}].contactlists: there is no contact list {member.get('id')!r}")


def _store(connection: sqlite3.Connection, contact: dict[str, Any], update: bool, now: str) -> dict[str, Any]:
    email = contact["emailaddress"]
    found = connection.execute("SELECT id FROM contacts WHERE emailaddress = ?", [email]).fetchone()
    if found is None:
        made = connection.execute(
            "INSERT INTO contacts (guid, emailaddress, created, updated) VALUES (?, ?, ?, ?)",
            [secrets.token_hex(16), email, now, now],
        )
        number = made.lastrowid
    else:
        number = found["id"]
    if found is None or update:
        _set(connection, number, contact, now)
    return {"emailaddress": email, "contact_id": number}


def _set(connection: sqlite3.Connection, number: Any, contact: dict[str, Any], now: str) -> None:
    connection.execute("UPDATE contacts SET updated = ? WHERE id = ?", [now, number])
    for field in contact.get("customfields", []):
        connection.execute(
            "INSERT INTO contact_customfields (contact_id, customfield_id, value) VALUES (?, ?, ?) "
            "ON CONFLICT (contact_id, customfield_id) DO UPDATE SET value = excluded.value",
            [number, field["id"], field["value"]],
        )
    for member in contact.get("contactlists", []):
        connection.execute(
            "INSERT INTO memberships VALUES (?, ?, ?, ?, ?) ON CONFLICT (contactlist_id, contact_id) "
            "DO UPDATE SET status = excluded.status, updated = excluded.updated",
            [member["id"], number, member.get("status", "confirmed"), now, now],
        )
