"""Reading the parameters of a request: page size, cursor, sparse fieldsets, additional fields, the filters we know.

What the vendor refuses is refused here too: 400, naming the parameter.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.sandbox.klaviyo.errors import refusal

SIZE, CURSOR, FILTER = "page[size]", "page[cursor]", "filter"
_CONDITION = re.compile(r"\s*([a-z-]+)\(\s*([A-Za-z_.]+)\s*,\s*(.*?)\s*\)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """One condition of a filter, such as ``equals(external_id,"a")``."""

    operator: str
    field: str
    values: tuple[str, ...]


def page_size(params: Mapping[str, str], usual: int, most: int) -> int:
    """How many rows a page has.

    Raises:
        Refusal: not a number from 1 to ``most``.
    """
    text = params.get(SIZE, str(usual))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise refusal(400, f"Page size must be an integer between 1 and {most}.", parameter=SIZE)
    return int(text)


def cursor_of(place: int) -> str:
    """An opaque cursor."""
    return urlsafe_b64encode(json.dumps({"after": place}).encode()).decode().rstrip("=")


def place_of(params: Mapping[str, str]) -> int:
    """The place after which a page begins; 0 without a cursor.

    Raises:
        Refusal: the cursor is not one of ours.
    """
    text = params.get(CURSOR)
    if not text:
        return 0
    try:
        text = text.lstrip("=")  # the vendor's own client cuts the link so
        place = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))["after"]
        if isinstance(place, int) and not isinstance(place, bool):
            return place
    except (ValueError, KeyError, TypeError):
        pass
    raise refusal(400, "Invalid cursor provided.", parameter=CURSOR)


def names(params: Mapping[str, str], parameter: str, known: Sequence[str]) -> list[str] | None:
    """The names in a comma-separated parameter; None if it did not come.

    Raises:
        Refusal: one of them is unknown.
    """
    text = params.get(parameter)
    if text is None:
        return None
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise refusal(400, f"'{name}' is not an allowed value for {parameter}.", parameter=parameter)
    return wanted


def condition(params: Mapping[str, str], allowed: Mapping[str, Sequence[str]]) -> Condition | None:
    """The filter, if one came; ``allowed`` has the operators of each field.

    Raises:
        Refusal: it cannot be read, or the field or operator is not known here.
    """
    text = params.get(FILTER)
    if text is None:
        return None
    match = _CONDITION.fullmatch(text)
    if not match or match[1] not in allowed.get(match[2], ()) or ")," in match[3]:  # several conditions at once
        raise refusal(400, "Invalid filter provided.", parameter=FILTER)
    return Condition(match[1], match[2], _values(match[3], match[1] == "any"))


def _values(text: str, several: bool) -> tuple[str, ...]:
    if several:
        try:
            values = json.loads(text.replace("'", '"'))
        except ValueError:
            values = None
        if not isinstance(values, list) or not 1 <= len(values) <= 100:
            raise refusal(400, "Invalid filter provided: any() takes a list of 1 to 100 values.", parameter=FILTER)
        return tuple(str(value) for value in values)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return (re.sub(r"\\(.)", r"\1", text[1:-1]),)
    return (text,)
