"""The scopes of a tracker, in one SQLite file. There is one for each model, target type and target."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from include.sandbox.pins.scopes import Scope, TargetType
from include.sandbox.sqlite_file import SqliteFile

Strategy = Literal["raise", "ignore", "override"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scopes (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL, target_type TEXT NOT NULL,
    target TEXT NOT NULL, target_identity TEXT, content TEXT NOT NULL, created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL, UNIQUE (model, target_type, target));
"""
_SORT = r"^(created_at|updated_at|model|target_type|target_identity)(:(asc|desc))?$"


class Conflict(Exception):
    """There is another scope with this target; ``field`` is the one that names it."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Filters(BaseModel):
    """Which scopes; each may be given several times, and one of its values must fit."""

    model_config = ConfigDict(extra="forbid")

    model: list[str] = []
    tag: list[str] = []
    target_type: list[TargetType] = []
    target_identity: list[str] = []


class Page(Filters):
    """A page of them."""

    limit: int = Field(100, ge=1, le=1_000)
    offset: int = Field(0, ge=0, le=10**12)
    sort: list[Annotated[str, Field(pattern=_SORT)]] = []

    @property
    def order(self) -> str:
        """As SQL; scopes that are equal by it stand as they were created."""
        return ", ".join([*(each.replace(":", " ") for each in self.sort), "number"])


class PinsDatabase(SqliteFile):
    """The file in a state folder."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / "pins.sqlite", _SCHEMA)

    def count(self) -> int:
        """How many scopes there are."""
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM scopes").fetchone()[0])

    def clear(self) -> int:
        """Forget all; gives how many there were."""
        with self.writing() as connection:
            return connection.execute("DELETE FROM scopes").rowcount


def store(connection: sqlite3.Connection, scope: Scope, strategy: Strategy, now: str) -> dict[str, Any]:
    """Store a scope; with ``ignore`` the one that is there is left as it is, with ``override`` it becomes this one.

    Raises:
        Conflict: with ``raise``, there is one already.
    """
    found = _with_target(connection, scope)
    if found is None:
        row = (str(uuid4()), *_columns(scope), now, now)
        connection.execute(
            "INSERT INTO scopes (id, model, target_type, target, target_identity, content, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    elif strategy == "raise":
        raise Conflict(scope.target_field)
    elif strategy == "override":
        _update(connection, found["id"], scope, now)
    stored = _with_target(connection, scope)
    assert stored is not None
    return shown(stored)


def replace(connection: sqlite3.Connection, number: str, scope: Scope, now: str) -> dict[str, Any] | None:
    """Make the scope with this id another one; gives nothing if there is none.

    Raises:
        Conflict: a scope with another id has this target.
    """
    if get(connection, number) is None:
        return None
    found = _with_target(connection, scope)
    if found is not None and found["id"] != number:
        raise Conflict(scope.target_field)
    _update(connection, number, scope, now)
    return get(connection, number)


def get(connection: sqlite3.Connection, number: str) -> dict[str, Any] | None:
    """The scope with this id."""
    row = connection.execute("SELECT * FROM scopes WHERE id = ?", [number]).fetchone()
    return row and shown(row)


def listed(connection: sqlite3.Connection, filters: Filters) -> Iterator[dict[str, Any]]:
    """The scopes that fit: a page of them, or all."""
    where, values = _where(filters)
    query = f"SELECT * FROM scopes WHERE {where} ORDER BY number"
    if isinstance(filters, Page):
        query = f"SELECT * FROM scopes WHERE {where} ORDER BY {filters.order} LIMIT ? OFFSET ?"
        values += [filters.limit, filters.offset]
    return map(shown, connection.execute(query, values))


def shown(row: sqlite3.Row) -> dict[str, Any]:
    """A scope as it is answered: as it was sent, with what the server added."""
    return {
        "id": row["id"],
        **json.loads(row["content"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _where(filters: Filters) -> tuple[str, list[Any]]:
    parts, values = ["1 = 1"], list[Any]()
    for column in ("model", "target_type", "target_identity"):
        wanted = getattr(filters, column)
        if wanted:
            parts.append(f"{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(wanted))
    if filters.tag:
        of_scope = "SELECT value FROM json_each(content, '$.tags')"
        parts.append(f"EXISTS ({of_scope} INTERSECT SELECT value FROM json_each(?))")
        values.append(json.dumps(filters.tag))
    return " AND ".join(parts), values


def _with_target(connection: sqlite3.Connection, scope: Scope) -> sqlite3.Row | None:
    question = "SELECT * FROM scopes WHERE model = ? AND target_type = ? AND target = ?"
    found: sqlite3.Row | None = connection.execute(question, [scope.model, scope.target_type, scope.target]).fetchone()
    return found


def _update(connection: sqlite3.Connection, number: str, scope: Scope, now: str) -> None:
    connection.execute(
        "UPDATE scopes SET model = ?, target_type = ?, target = ?, target_identity = ?, content = ?, updated_at = ? "
        "WHERE id = ?",
        (*_columns(scope), now, number),
    )


def _columns(scope: Scope) -> tuple[Any, ...]:
    content = json.dumps(scope.model_dump(exclude_none=True))
    return scope.model, scope.target_type, scope.target, scope.target_identity, content
