"""The fault ``moving_list``: between two pages a contact at the head of a list goes, and a new one comes at its end.

All that follows moves up by one place, so a reader that goes by offset alone skips a contact, although the list stays
as long as it was.
"""

import secrets

from include.sandbox.smartemailing.database import ContactsDatabase
from include.sandbox.smartemailing.times import now_text

_OF_CONTACT = (("contacts", "id"), ("memberships", "contact_id"), ("contact_customfields", "contact_id"))


def move_list(database: ContactsDatabase, list_id: int | None) -> None:
    """Remove the first contact of a list (None: of all), and add one."""
    with database.writing() as connection:
        query, values = "SELECT min(id) AS id FROM contacts", []
        if list_id is not None:
            query, values = "SELECT min(contact_id) AS id FROM memberships WHERE contactlist_id = ?", [list_id]
        first, now = connection.execute(query, values).fetchone()["id"], now_text()
        if first is None:
            return
        for table, column in (
            ("contacts", "id"),
            ("memberships", "contact_id"),
            ("contact_customfields", "contact_id"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [first])
        token = secrets.token_hex(16)
        made = connection.execute(
            "INSERT INTO contacts (guid, emailaddress, created, updated) VALUES (?, ?, ?, ?)",
            [token, f"new-{token[:12]}@example.com", now, now],
        )
        if list_id is not None:
            connection.execute(
                "INSERT INTO memberships VALUES (?, ?, 'confirmed', ?, ?)", [list_id, made.lastrowid, now, now]
            )
