"""One scope as Luigi's Box documents it: what is right about it, which one it is, and how it is written.

Which scopes are *the same* is not documented. Here it is the same model, target type and target (identity or criteria);
tags and metadata do not tell scopes apart.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

MAX_LINE_BYTES = 1_000_000
"""Longer lines are refused: the vendor names no limit, and nobody pins so much to one place on purpose."""
SHOWN_MISTAKES = 5
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
_REASONS = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_key",
    "literal_error": "unknown_type",
    "too_short": "no_pins",
    "greater_than_equal": "bad_position",
    "string_too_short": "empty_field",
    "string_unicode": "not_utf8",
}


class Refused(ValueError):
    """A line or row that is not sent: ``reason`` is a word to count by, the text says where and why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def moment(text: str) -> datetime:
    """A time in ISO-8601; one without a zone counts as UTC.

    Raises:
        ValueError: it is none.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _readable(text: str) -> str:
    try:
        moment(text)
    except ValueError:
        raise PydanticCustomError("unreadable_time", "must be a time such as 2026-11-27T06:00:00+01:00") from None
    return text


Text = Annotated[str, Field(min_length=1)]
Time = Annotated[str, AfterValidator(_readable)]


class _Documented(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    def _partners(self, kind: str, prefix: str) -> None:
        """Each kind has a field of its own; one that belongs to another kind says that something was mixed up."""
        for owner, field in (("item", f"{prefix}_identity"), ("criteria", f"{prefix}_criteria")):
            given = getattr(self, field) is not None
            if kind == owner and not given:
                raise PydanticCustomError("missing_field", "{field} is missing", {"field": field})
            if kind != owner and given:
                raise PydanticCustomError(
                    "unexpected_field", "{field} does not go with {kind}", {"field": field, "kind": kind}
                )


class Pin(_Documented):
    """What is shown, and where. ``position`` may be missing: the vendor's pages disagree on that."""

    position: Annotated[int, Field(ge=-1)] | None = None
    pin_type: Literal["item", "criteria"]
    pin_identity: Text | None = None
    pin_criteria: dict[str, Any] | None = None
    widget_id: Text | int | None = None
    is_block_pin: bool | None = None
    is_bundle_pin: bool | None = None
    active_from: Time | None = None
    active_to: Time | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._partners(self.pin_type, "pin")
        if self.is_block_pin and self.position != 0:
            raise PydanticCustomError("block_position", "is_block_pin goes with position 0 only")
        if self.active_from and self.active_to and moment(self.active_from) >= moment(self.active_to):
            raise PydanticCustomError("empty_period", "active_from must be before active_to")
        return self


class Scope(_Documented):
    """For whom, and what is pinned there. The schema of criteria is unknown: they are passed on as they are."""

    model: Text
    target_type: Literal["item", "criteria", "all"]
    target_identity: Text | None = None
    target_criteria: dict[str, Any] | None = None
    tags: list[Text] | None = None
    target_metadata: dict[str, Any] | None = None
    pin_definitions: Annotated[list[Pin], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._partners(self.target_type, "target")
        return self


def parse(line: bytes) -> Any:
    """What a line of JSON says.

    Raises:
        Refused: it is not JSON, or JSON of which readers disagree what it says.
    """
    try:
        return json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_kept_number)
    except UnicodeDecodeError:
        raise Refused("not_utf8", "is not UTF-8") from None
    except RecursionError:
        raise Refused("not_json", "is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refused("not_json", f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        raise error if isinstance(error, Refused) else Refused("not_json", "has a number of too many digits") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("doubled_key", "has a key twice in one object")
    return found


def _kept_number(text: str) -> float:
    """A number that comes out as it went in, whoever reads it: criteria are passed on as they are."""
    number = float(text)
    try:
        kept = isfinite(number) and Decimal(repr(number)) == Decimal(text)
    except ArithmeticError:
        kept = False
    if not kept:
        raise Refused("inexact_number", f"has the number {text[:40]}, which JSON readers do not keep; write it as text")
    return number


def _no_constant(name: str) -> Any:
    raise Refused("not_json", f"has {name}, which is not JSON")


def check(said: Any) -> dict[str, Any]:
    """The scope in the documented order of keys, without nulls.

    Raises:
        Refused: it is no scope as documented.
    """
    if not isinstance(said, dict):
        raise Refused("not_a_scope", f"must be one JSON object; came {_kind(said)}")
    try:
        return Scope.model_validate(said).model_dump(exclude_none=True)
    except ValidationError as error:
        raise _refused(error.errors(include_url=False, include_input=False)) from None


def _kind(said: Any) -> str:
    names = {list: "an array", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(said), "null")


def _refused(mistakes: list[ErrorDetails]) -> Refused:
    first = mistakes[0]
    reason = _REASONS.get(first["type"], first["type"])
    if "pin_definitions" in first["loc"][-1:]:
        reason = "no_pins" if first["type"] in ("missing", "too_short") else "wrong_type"
    known = {*_REASONS.values(), "unreadable_time", "unexpected_field", "block_position", "empty_period"}
    texts = [f"{_place(mistake['loc'])}{mistake['msg']}" for mistake in mistakes[:SHOWN_MISTAKES]]
    more = f"; and {len(mistakes) - SHOWN_MISTAKES} more" if len(mistakes) > SHOWN_MISTAKES else ""
    return Refused(reason if reason in known else "wrong_type", "; ".join(texts) + more)


def _place(at: tuple[int | str, ...]) -> str:
    """Such as ``pin_definitions[2].position:``, counted from 0 as in JSON; a stranger's key is cut."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:60]!s}" for step in at).lstrip(".")
    return f"{path}: " if path else ""


def write(scope: Mapping[str, Any]) -> str:
    """The scope as a line, without the line break.

    Raises:
        Refused: it cannot be written as UTF-8, or the line is too large.
    """
    line = json.dumps(scope, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        size = len(line.encode())
    except UnicodeEncodeError:
        raise Refused("not_utf8", "has half of a surrogate pair") from None
    if size >= MAX_LINE_BYTES:
        raise Refused("too_large", f"is {size:,} bytes long; at most {MAX_LINE_BYTES:,} are sent")
    return line


def family(row: Mapping[str, Any]) -> bytes:
    """16 bytes that are the same for all scopes of one model and target type."""
    return _hash([row.get("model"), row.get("target_type")])


def key(scope: Mapping[str, Any]) -> bytes:
    """16 bytes that are the same for the same scope; see the head of this module."""
    kind = scope.get("target_type")
    target = {"item": scope.get("target_identity"), "criteria": scope.get("target_criteria")}.get(str(kind))
    return _hash([scope.get("model"), kind, target])


def _hash(values: list[Any]) -> bytes:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
