"""docs/publishers.md says of every key of a publisher file what it is and what its default is."""

import re
from typing import Any

import pytest
from pydantic import BaseModel

from include.publishers import config
from include.staging import PROJECT_ROOT

SECTIONS: dict[str, type[BaseModel]] = {
    "luigisbox": config.LuigisBox,
    "audience": config.Audience,
    "guard": config.Guard,
    "past_transactions": config.Transactions,
    "batch": config.Batch,
    "coverage": config.Coverage,
    "schedule": config.Schedules,
}
DELIVERIES = (config.FeedDelivery, config.WarehouseDelivery, config.AssetDelivery, config.PythonDelivery)
ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| (?P<default>[^|]*)\| (?P<meaning>[^|]+)\|$", re.MULTILINE)


def documented() -> dict[str, str]:
    text = (PROJECT_ROOT / "docs" / "publishers.md").read_text("utf-8")
    return {row["key"]: row["default"].strip(" `") for row in ROW.finditer(text)}


def shown(default: Any) -> str:
    if default is None or default == {} or default == []:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


KEYS = [(f"{name}.{key}", field) for name, model in SECTIONS.items() for key, field in model.model_fields.items()]


@pytest.mark.parametrize(("key", "field"), KEYS, ids=[key for key, _ in KEYS])
def test_each_key_is_documented_with_its_default(key: str, field: Any) -> None:
    default = "" if field.is_required() else shown(field.get_default(call_default_factory=True))
    assert documented()[key] == default


def test_each_key_of_a_delivery_is_documented() -> None:
    keys = {key for model in DELIVERIES for key in model.model_fields}
    assert {f"deliveries.{key}" for key in keys} <= documented().keys()


def test_no_key_is_documented_that_does_not_exist() -> None:
    real = {key for key, _ in KEYS} | {f"deliveries.{key}" for model in DELIVERIES for key in model.model_fields}
    assert documented().keys() - real == {"tags"}
