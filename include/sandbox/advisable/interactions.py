"""What an interaction must be like, and how each type of them is spelled in a path."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from include.sandbox.answers import Refused

PATHS: Mapping[str, str] = {
    "purchase": "purchases",
    "view": "views",
    "cart_addition": "cart-additions",
    "bookmark": "bookmarks",
    "rating": "ratings",
}
"""Only ``purchases`` is documented; the other spellings are inferred."""
TYPES: Mapping[str, str] = {path: kind for kind, path in PATHS.items()}
EARLIEST, LATEST = 10**11, 10**14  # milliseconds: 1973 and 5138; seconds and microseconds of our time lie outside


def _milliseconds(value: int | str) -> int:
    number = int(value) if isinstance(value, int) or re.fullmatch(r"\d{1,20}", value, re.ASCII) else -1
    if not EARLIEST <= number < LATEST:
        raise PydanticCustomError("timestamp", "must be milliseconds since 1970, as a number or a string of digits")
    return number


Text = Annotated[str, Field(min_length=1)]
Quantity = Annotated[int | float, Field(ge=0, allow_inf_nan=False)]


class Interaction(BaseModel):
    """One thing that a user did."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Text
    item_id: Text
    timestamp: Annotated[int | str, AfterValidator(_milliseconds)]
    recommendation_id: Text | None = None
    value: Annotated[int | float, Field(ge=0, le=5)] | None = None
    price: Quantity | None = None
    amount: Quantity | None = None
    duration: Annotated[int, Field(ge=0)] | None = None


class Row(NamedTuple):
    """An interaction as it is stored; ``more`` are the fields that not every one has."""

    kind: str
    user_id: str
    item_id: str
    timestamp: int
    more: dict[str, Any]


def read_interaction(kind: str, content: Any, place: str = "") -> Row:
    """Check one interaction.

    Args:
        kind: its type.
        content: its fields.
        place: what stands before the names of fields in a refusal, such as ``[3].``

    Raises:
        Refused: 422, with the fields that are wrong.
    """
    try:
        checked = Interaction.model_validate(content)
    except ValidationError as error:
        details: dict[str, list[str]] = {}
        for each in error.errors():
            details.setdefault(place + str(each["loc"][0] if each["loc"] else "body"), []).append(each["msg"])
        raise Refused(422, "the interaction is not valid; nothing was stored", details=details) from None
    if checked.value is not None and kind != "rating":
        raise Refused(422, "only ratings have a value; nothing was stored", details={f"{place}value": ["not allowed"]})
    more = checked.model_dump(exclude_none=True, exclude={"user_id", "item_id", "timestamp"})
    return Row(kind, checked.user_id, checked.item_id, int(checked.timestamp), more)
