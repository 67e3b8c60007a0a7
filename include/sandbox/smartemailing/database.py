"""The file that SmartEmailing's contacts lie in: SQLite, one short connection for each request."""

from pathlib import Path

from include.sandbox.sqlite_file import SqliteFile

FILE = "smartemailing.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (
    id INTEGER PRIMARY KEY, guid TEXT NOT NULL, emailaddress TEXT NOT NULL COLLATE NOCASE UNIQUE, name TEXT,
    blacklisted INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contactlists (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS memberships (
    contactlist_id INTEGER NOT NULL, contact_id INTEGER NOT NULL, status TEXT NOT NULL,
    added TEXT NOT NULL, updated TEXT NOT NULL, PRIMARY KEY (contactlist_id, contact_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS membership_of_contact ON memberships (contact_id);
CREATE TABLE IF NOT EXISTS customfields (id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contact_customfields (
    id INTEGER PRIMARY KEY, contact_id INTEGER NOT NULL, customfield_id INTEGER NOT NULL, value TEXT,
    customfield_options_id INTEGER, UNIQUE (contact_id, customfield_id));
CREATE INDEX IF NOT EXISTS values_of_field ON contact_customfields (customfield_id, id);
CREATE TABLE IF NOT EXISTS newsletters (id INTEGER PRIMARY KEY, name TEXT NOT NULL, start TEXT, finish TEXT);
CREATE TABLE IF NOT EXISTS generation (number INTEGER NOT NULL);
INSERT INTO generation SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM generation);
"""


class ContactsDatabase(SqliteFile):
    """The file in a state folder."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / FILE, _SCHEMA, "UPDATE generation SET number = number + 1")
