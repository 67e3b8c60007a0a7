"""What is there, compared with what is wanted: what to create, to replace, to delete, and what is right already.

Two things are inferred, since the vendor does not say them: which scopes are the same (``include.pins.scopes``), and
which differences count. What a server may add is not looked at: keys that are not documented, empty values, false, a
position where none is wanted; times are compared as moments, 1.0 as 1 in a position, a widget's id as text, tags
without their order, and pins without their order if all that are wanted have a position. The export is held in memory,
since it comes in one answer.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from include.errors import BadInput
from include.pins.rows import PIN, SCOPE
from include.pins.scopes import key, moment

Scope = Mapping[str, Any]
Strategy = Literal["raise", "ignore", "override"]
_TIMES = ("active_from", "active_to")


@dataclass
class Diff:
    """Wanted scopes by their number, and what is there by its id."""

    create: list[int] = field(default_factory=list)
    replace: list[tuple[int, str]] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    conflict: list[int] = field(default_factory=list)
    """There, so that a creation is refused."""
    extra: dict[str, Scope] = field(default_factory=dict)
    """There, but not wanted."""


def by_key(scopes: Iterable[Scope]) -> dict[bytes, Scope]:
    """Scopes that are there, by which they are; of those that look the same, the first."""
    found: dict[bytes, Scope] = {}
    for scope in scopes:
        found.setdefault(key(scope), scope)
    return found


def refuse_doubled(there: Sequence[Scope]) -> None:
    """To be asked before a scope that is there is replaced or deleted.

    Raises:
        BadInput: two of them look the same, so which one is meant is not known.
    """
    first = by_key(there)
    doubled = [str(scope["id"]) for scope in there if first[key(scope)] is not scope]
    if doubled:
        raise BadInput(
            f"of {len(there):,} scopes at Luigi's Box {len(doubled):,} have the same model and target as another one "
            f"(ids {', '.join(doubled[:5])}{', …' if len(doubled) > 5 else ''}). Which of them a line means cannot be "
            "known. Nothing was done. Delete what is doubled there, or send with mode: create."
        )


def diff(there: Iterable[Scope], wanted: Iterable[Scope]) -> Diff:
    """What would make the one the other."""
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
    result.extra = {str(scope["id"]): scope for scope in left.values()}
    return result


def of_creation(found: Diff, strategy: Strategy) -> Diff:
    """What a bulk creation does with the same scopes: it goes by its strategy, whatever they say."""
    standing = sorted([*found.unchanged, *(number for number, _ in found.replace)])
    if strategy == "raise":
        return Diff(create=found.create, conflict=standing, extra=found.extra)
    if strategy == "ignore":
        return Diff(create=found.create, unchanged=standing, extra=found.extra)
    return found


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
    if isinstance(at := given.get("position"), float) and at.is_integer():
        given["position"] = int(at)
    if isinstance(given.get("widget_id"), int):
        given["widget_id"] = str(given["widget_id"])
    return json.dumps(given | others, sort_keys=True)


def _moment(value: Any) -> str:
    try:
        return moment(str(value)).timestamp().__repr__()
    except ValueError:
        return str(value)
