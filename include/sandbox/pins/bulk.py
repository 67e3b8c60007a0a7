"""Many scopes in one call: all of them or none, or, if so set, all before the first bad line.

Whether the vendor keeps a part of a call that it refuses is not known, and its documentation names fields, not lines:
both can be set, so that clients can be tried with either.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from include.sandbox.answers import Refused
from include.sandbox.pins.database import Conflict, PinsDatabase, Strategy, store
from include.sandbox.pins.scopes import InvalidScope, Problem, Scope, read_scope
from include.sandbox.settings import PinsDetails

MAX_SCOPES = 5_000
REASONS = {409: "a customization with this target already exists", 422: "the customization is not valid"}


class BadLine(NamedTuple):
    """A line that is refused: its number, counted from 1, and why."""

    line: int
    status: int
    problems: Sequence[Problem]


def create_many(
    database: PinsDatabase, body: bytes, strategy: Strategy, *, partial: bool, details: PinsDetails, now: str
) -> None:
    """Store the scopes of one call.

    Args:
        database: where they go.
        body: one scope a line; empty lines are passed over.
        strategy: what becomes of a scope whose target has one already.
        partial: the lines before the first bad one are stored.
        details: whether a refusal names lines, or fields only.
        now: the time, as scopes carry it.

    Raises:
        Refused: 409 a conflict, 413 too many lines, 422 a line is not as documented.
    """
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if len(lines) > MAX_SCOPES:
        raise Refused(413, f"{len(lines):,} customizations in one call; allowed are {MAX_SCOPES:,}")
    if not lines:
        raise refusal([BadLine(1, 422, [("body", "holds no customization")])], details)
    with database.writing() as connection:
        bad = _store(connection, lines, strategy, partial, now)
        if bad and not partial:
            raise refusal(bad, details)  # which undoes the others
    if bad:
        raise refusal(bad, details)


def _store(
    connection: sqlite3.Connection, lines: Iterable[tuple[int, bytes]], strategy: Strategy, partial: bool, now: str
) -> list[BadLine]:
    scopes: list[tuple[int, Scope]] = []
    invalid: list[BadLine] = []
    for number, line in lines:
        try:
            scopes.append((number, read_scope(line)))
        except InvalidScope as error:
            invalid.append(BadLine(number, 422, error.problems))
            if partial:
                break
    if invalid and not partial:
        return invalid
    conflicts: list[BadLine] = []
    for number, scope in scopes:
        try:
            store(connection, scope, strategy, now)
        except Conflict as error:
            conflicts.append(BadLine(number, 409, [(error.field, "already exists")]))
            if partial:
                break
    return conflicts or invalid


def refusal(bad: Sequence[BadLine], details: PinsDetails) -> Refused:
    """The answer for bad lines of one status."""
    told: dict[str, dict[str, None]] = {}  # messages in their order, each once
    for line in bad:
        for field, message in line.problems:
            text = f"line {line.line}: {message}" if details == "lines" else message
            told.setdefault(field, {})[text] = None
    status = bad[0].status
    return Refused(status, REASONS[status], details={field: list(messages) for field, messages in told.items()})
