"""Interactions and their users, in one SQLite file. What is sent twice is stored twice."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from include.sandbox.advisable.interactions import PATHS, Row
from include.sandbox.answers import Refused
from include.sandbox.sqlite_file import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS interactions (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL, more TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS of_user ON interactions (user_id, kind);
CREATE INDEX IF NOT EXISTS of_item ON interactions (item_id, kind);
"""
_COLUMNS = ("kind", "user_id", "item_id", "timestamp")


class InteractionsDatabase(SqliteFile):
    """The file in a state folder."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / "advisable.sqlite", _SCHEMA)

    def counts(self) -> dict[str, int]:
        """How many interactions of each type there are."""
        with self.reading() as connection:
            found = dict(connection.execute("SELECT kind, count(*) FROM interactions GROUP BY 1").fetchall())
        return {kind: found.get(kind, 0) for kind in PATHS}

    def rows(self, narrowed: Mapping[str, str | int]) -> list[dict[str, Any]]:
        """The interactions whose columns have these values, in the order of their times."""
        where, values = _where(narrowed)
        question = f"SELECT * FROM interactions WHERE {where} ORDER BY timestamp, number"
        with self.reading() as connection:
            return [
                {**{name: row[name] for name in _COLUMNS}, **json.loads(row["more"])}
                for row in connection.execute(question, values)
            ]

    def clear(self) -> int:
        """Forget all interactions and users; gives how many interactions there were."""
        with self.writing() as connection:
            connection.execute("DELETE FROM users")
            return connection.execute("DELETE FROM interactions").rowcount


def add(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Store interactions; their users are there from now on."""
    for row in rows:
        connection.execute("INSERT OR IGNORE INTO users VALUES (?)", [row.user_id])
        connection.execute(
            "INSERT INTO interactions (kind, user_id, item_id, timestamp, more) VALUES (?, ?, ?, ?, ?)",
            [row.kind, row.user_id, row.item_id, row.timestamp, json.dumps(row.more)],
        )


def delete(connection: sqlite3.Connection, narrowed: Mapping[str, str | int]) -> int:
    """Delete the interactions whose columns have these values; gives how many there were."""
    where, values = _where(narrowed)
    return connection.execute(f"DELETE FROM interactions WHERE {where}", values).rowcount


def transfer(connection: sqlite3.Connection, from_user: str, to_user: str, delete_user: bool) -> int:
    """Give all interactions of one user to another, who is made if need be; gives how many they are.

    Raises:
        Refused: 404, there is no such user; 422, both are the same.
    """
    _must_exist(connection, from_user)
    if from_user == to_user:
        raise Refused(422, "both users are the same; nothing was transferred")
    connection.execute("INSERT OR IGNORE INTO users VALUES (?)", [to_user])
    moved = connection.execute("UPDATE interactions SET user_id = ? WHERE user_id = ?", [to_user, from_user]).rowcount
    if delete_user:
        connection.execute("DELETE FROM users WHERE id = ?", [from_user])
    return moved


def rename(connection: sqlite3.Connection, user: str, external_id: str) -> None:
    """Give a user another id.

    Raises:
        Refused: 404, there is no such user; 409, another one has this id.
    """
    _must_exist(connection, user)
    if external_id == user:
        return
    if connection.execute("SELECT 1 FROM users WHERE id = ?", [external_id]).fetchone():
        raise Refused(409, "another user has this external_id; nothing was changed")
    connection.execute("UPDATE users SET id = ? WHERE id = ?", [external_id, user])
    connection.execute("UPDATE interactions SET user_id = ? WHERE user_id = ?", [external_id, user])


def _must_exist(connection: sqlite3.Connection, user: str) -> None:
    if not connection.execute("SELECT 1 FROM users WHERE id = ?", [user]).fetchone():
        raise Refused(404, "there is no such user")


def _where(narrowed: Mapping[str, str | int]) -> tuple[str, list[str | int]]:
    """Names of columns are ours, never a client's."""
    return " AND ".join(["1 = 1", *(f"{name} = ?" for name in narrowed)]), list(narrowed.values())
