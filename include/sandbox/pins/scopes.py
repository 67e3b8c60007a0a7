"""What a scope must be like: the documented fields, of the documented types, and which of them belong together."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

Text = Annotated[str, Field(min_length=1)]
TargetType = Literal["item", "criteria", "all"]
Problem = tuple[str, str]
"""A field, such as ``pin_definitions.position``, and what is wrong with it."""


class InvalidScope(Exception):
    """A scope is not as documented; ``problems`` name the fields."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = problems


class Pin(BaseModel):
    """One pinned or blocked product, or the criteria for such products."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pin_type: Literal["item", "criteria"]
    pin_identity: Text | None = None
    pin_criteria: dict[str, Any] | None = None
    position: int | None = Field(None, ge=-1)
    widget_id: Text | None = None
    is_block_pin: bool | None = None
    is_bundle_pin: bool | None = None
    active_from: str | None = None
    active_to: str | None = None


class Scope(BaseModel):
    """Where pins apply, and the pins."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Text
    target_type: TargetType
    target_identity: Text | None = None
    target_criteria: dict[str, Any] | None = None
    tags: list[Text] | None = None
    target_metadata: dict[str, Any] | None = None
    pin_definitions: list[Pin] = Field(min_length=1)

    @property
    def target(self) -> str:
        """What makes it the only scope of its model and target type: an inference, the vendor does not say."""
        if self.target_type == "criteria":
            return json.dumps(self.target_criteria, sort_keys=True)
        return self.target_identity or ""

    @property
    def target_field(self) -> str:
        """The field that the target stands in."""
        return {"item": "target_identity", "criteria": "target_criteria", "all": "target_type"}[self.target_type]


def read_scope(line: bytes) -> Scope:
    """One scope in JSON.

    Raises:
        InvalidScope: with all that is wrong.
    """
    try:
        scope = Scope.model_validate(from_json(line, allow_inf_nan=False))
    except ValidationError as error:
        raise InvalidScope([(_field(each["loc"]), each["msg"]) for each in error.errors()]) from None
    except ValueError:
        raise InvalidScope([("body", "is not JSON in UTF-8")]) from None
    problems = list(_scope_problems(scope))
    for pin in scope.pin_definitions:
        problems += ((f"pin_definitions.{field}", message) for field, message in _pin_problems(pin))
    if problems:
        raise InvalidScope(problems)
    return scope


def _field(location: tuple[int | str, ...]) -> str:
    """Per field, as the vendor names them: which pin of the list it was is not said."""
    return ".".join(part for part in location if isinstance(part, str)) or "body"


def _scope_problems(scope: Scope) -> Iterator[Problem]:
    for field, kind, value in (
        ("target_identity", "item", scope.target_identity),
        ("target_criteria", "criteria", scope.target_criteria),
    ):
        yield from _partner(field, "target_type", kind, scope.target_type, value)


def _pin_problems(pin: Pin) -> Iterator[Problem]:
    for field, kind, value in (
        ("pin_identity", "item", pin.pin_identity),
        ("pin_criteria", "criteria", pin.pin_criteria),
    ):
        yield from _partner(field, "pin_type", kind, pin.pin_type, value)
    if pin.is_block_pin and pin.position != 0:
        yield "is_block_pin", "needs position 0"
    yield from _period_problems(pin)


def _partner(field: str, type_field: str, kind: str, given: str, value: object) -> Iterator[Problem]:
    if given == kind and value is None:
        yield field, f"is required when {type_field} is {kind}"
    if given != kind and value is not None:
        yield field, f"is only for {type_field} {kind}"


def _period_problems(pin: Pin) -> Iterator[Problem]:
    moments: list[datetime] = []
    for field, text in (("active_from", pin.active_from), ("active_to", pin.active_to)):
        if text is None:
            continue
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            yield field, "is not a date or time in ISO 8601"
            continue
        moments.append(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if len(moments) == 2 and moments[0] >= moments[1]:
        yield "active_to", "must be after active_from"
