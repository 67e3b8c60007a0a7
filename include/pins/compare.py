"""What is there, compared with what is wanted: what to create, to replace, to delete, and what is right already.

Two things are inferred, since the vendor does not say them: which scopes are the same (``include.pins.scopes``), and
which differences count. What a server may add is not looked at: keys that are not documented, empty values, false, a
position where none is wanted; times are compared as moments, tags without their order, and pins without their order
if all that are wanted have a position. The export is held in memory, since it comes in one answer.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.errors import BadInput
from include.pins.rows import PIN, SCOPE
from include.pins.scopes import key, moment

Scope = Mapping[str, Any]
_TIMES = ("active_from", "active_to")


@dataclass
class Diff:
    """Wanted scopes by their number, and what is there by its id."""

    create: list[int] = field(default_factory=list)
    replace: list[tuple[int, str]] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    """There, but not wanted."""


def by_key(scopes: Iterable[Scope]) -> dict[bytes, Scope]:
    """Scopes that are there, by which they are.

    Raises:
        BadInput: two of them look the same, so which one is meant is not known.
    """
    found: dict[bytes, Scope] = {}
    count = 0
    for count, scope in enumerate(scopes, 1):  # noqa: B007 - the last number is how many there are
        found[key(scope)] = scope
    if len(found) < count:
        raise BadInput(
            f"of {count:,} scopes at Luigi's Box {count - len(found):,} have the same model and target as another one. "
            "Which of them a line means cannot be known. Nothing was done. Delete what is doubled there, or send with "
            "mode: create."
        )
    return found


def diff(there: Iterable[Scope], wanted: Iterable[Scope]) -> Diff:
    """What would make the one the other.

    Raises:
        BadInput: two scopes that are there look the same.
    """
    left = by_key(there)
    result = Diff()
    for number, scope in enumerate(wanted):
        found = left.pop(key(scope), None)
        if found is None:
            result.create.append(number)
        elif same(found, scope):
            result.unchanged.append(number)
        else:
            result.replace.append((number, str(found["id"])))
    result.extra = [str(scope["id"]) for scope in left.values()]
    return result


def same(there: Scope, wanted: Scope) -> bool:
    """Whether a scope that is there says what is wanted; see the head of this module."""
    heads = (_plain(each, SCOPE, tags=sorted(map(str, each.get("tags") or []))) for each in (there, wanted))
    pins = wanted["pin_definitions"]
    found = there.get("pin_definitions") or []
    return len(set(heads)) == 1 and len(found) == len(pins) and _same_pins(found, pins)


def _same_pins(there: Sequence[Scope], wanted: Sequence[Scope]) -> bool:
    if all(pin.get("position") is not None for pin in wanted):
        return sorted(_plain(pin, PIN) for pin in there) == sorted(_plain(pin, PIN) for pin in wanted)
    pairs = zip(there, wanted, strict=True)
    return all(
        _plain(found if pin.get("position") is not None else {**found, "position": None}, PIN) == _plain(pin, PIN)
        for found, pin in pairs
    )


def _plain(values: Scope, keys: Sequence[str], **others: Any) -> str:
    """Documented values in one spelling."""
    given = {name: values[name] for name in keys if values.get(name) not in (None, "", False, [], {})}
    if values.get("position") == 0 and "position" in keys:  # which equals False, but says something
        given["position"] = 0
    given |= {name: _moment(given[name]) for name in _TIMES if name in given}
    return json.dumps(given | others, sort_keys=True)


def _moment(value: Any) -> str:
    try:
        return moment(str(value)).timestamp().__repr__()
    except ValueError:
        return str(value)


def table(found: Diff, *, delete: bool) -> str:
    """The difference in figures, for the log."""
    rows = {
        "to create": len(found.create),
        "to replace": len(found.replace),
        "unchanged": len(found.unchanged),
        "to delete" if delete else "not wanted, stays": len(found.extra),
    }
    return "\n".join(["wanted pins, compared with what is there", *(f"  {n:<20}{c:>12,}" for n, c in rows.items())])
