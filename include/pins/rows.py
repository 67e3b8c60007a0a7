"""Rows of a table become parts of scopes: one row is one pin, and rows of one target are one scope."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from include.pins.scopes import Refused, moment, parse

REQUIRED = ("model", "target_type", "pin_type")
OPTIONAL = (
    "target_identity",
    "target_criteria",
    "tags",
    "target_metadata",
    "pin_identity",
    "pin_criteria",
    "position",
    "widget_id",
    "is_block_pin",
    "is_bundle_pin",
    "active_from",
    "active_to",
)
SCOPE = ("model", "target_type", "target_identity", "target_criteria", "tags", "target_metadata")
PIN = (
    "position",
    "pin_type",
    "pin_identity",
    "pin_criteria",
    "widget_id",
    "is_block_pin",
    "is_bundle_pin",
    "active_from",
    "active_to",
)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_SHORT_ZONE = re.compile(r":[^+-]*[+-]\d\d$")
"""As Postgres prints it: ``+01``."""
Row = Mapping[str, str | None]


def scope_of(row: Row) -> dict[str, Any]:
    """What a row says of its scope, without the pin.

    Raises:
        Refused: a value is not of its column's type.
    """
    return _values(row, SCOPE)


def target_of(row: Row) -> dict[str, Any]:
    """What tells the scope of a row from others.

    Raises:
        Refused: these are criteria, and they are no object.
    """
    return _values(row, SCOPE[: 4 if row.get("target_type") == "criteria" else 3])


def pin_of(row: Row) -> dict[str, Any]:
    """What a row says of its pin.

    Raises:
        Refused: a value is not of its column's type.
    """
    return _values(row, PIN)


def _values(row: Row, columns: tuple[str, ...]) -> dict[str, Any]:
    """An empty value counts as none."""
    return {name: _READERS.get(name, _as_it_is)(name, text) for name in columns if (text := row.get(name))}


def _as_it_is(_: str, text: str) -> str:
    return text


def _object(name: str, text: str) -> dict[str, Any]:
    said = _json(name, text)
    if not isinstance(said, dict):
        raise Refused("wrong_type", f"{name}: must be a JSON object")
    return said


def _json(name: str, text: str) -> Any:
    try:
        return parse(text.encode())
    except Refused as error:
        raise Refused(error.reason, f"{name}: {error}") from None


def _tags(name: str, text: str) -> Any:
    if text.lstrip().startswith("["):
        return _json(name, text)
    return [tag for each in text.split(",") if (tag := each.strip())]


def _whole(name: str, text: str) -> int:
    found = re.fullmatch(r"\s*([+-]?[0-9]{1,9})(\.0*)?\s*", text)  # 3.0 is how a nullable integer is often printed
    if not found:
        raise Refused("bad_position", f"{name}: must be a whole number")
    return int(found[1])


def _boolean(name: str, text: str) -> bool:
    value = _BOOLEANS.get(text.strip().casefold())
    if value is None:
        raise Refused("wrong_type", f"{name}: must be true or false")
    return value


def _time(name: str, text: str) -> str:
    """A database prints a blank where JSON has a T; a zone that is not given is not made up."""
    try:
        moment(text.strip())
    except ValueError:
        raise Refused("unreadable_time", f"{name}: must be a time such as 2026-11-27T06:00:00+01:00") from None
    whole = text.strip().replace(" ", "T")
    return whole + ":00" if _SHORT_ZONE.search(whole) else whole


_READERS: dict[str, Callable[[str, str], Any]] = {
    "target_criteria": _object,
    "target_metadata": _object,
    "pin_criteria": _object,
    "tags": _tags,
    "position": _whole,
    "is_block_pin": _boolean,
    "is_bundle_pin": _boolean,
    "active_from": _time,
    "active_to": _time,
}
