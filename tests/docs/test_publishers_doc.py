"""docs/publishers.md says of every key of a publisher file what it is and what its default is."""

import re
from typing import Any

import pytest
from pydantic import BaseModel

from include.publishers import audiences, batches, campaigns, deliveries, models, senders
from include.staging import PROJECT_ROOT

PLATFORM = set(audiences.Audience.model_fields)
LINK = set(batches.Batch.model_fields) - {"format"}
DELIVERY = set(deliveries.Delivery.model_fields) | {"kind"}
TABLES: dict[str, tuple[str, list[type[BaseModel]], set[str]]] = {
    "luigisbox": ("luigisbox", [models.LuigisBox], set()),
    "audience": ("audience", [audiences.WarehouseAudience], set()),
    "audience of kind klaviyo": ("audience", [audiences.KlaviyoAudience], PLATFORM),
    "audience of kind smartemailing": ("audience", [audiences.SmartEmailingAudience], PLATFORM),
    "guard": ("guard", [models.Guard], set()),
    "past_transactions": ("past_transactions", [senders.Transactions], set()),
    "pins": ("pins", [senders.Pins], set()),
    "interactions": ("interactions", [senders.Interactions], set()),
    "interactions.sources": ("interactions.sources", [senders.InteractionSource], set()),
    "interactions.transfers": ("interactions.transfers", [senders.Transfers], set()),
    "batch": ("batch", [batches.LinkBatch], set()),
    "batch from klaviyo": ("batch", [batches.KlaviyoBatch], LINK),
    "coverage": ("coverage", [batches.Coverage], set()),
    "deliveries": (
        "deliveries",
        [
            deliveries.FeedDelivery,
            deliveries.WarehouseDelivery,
            deliveries.AssetDelivery,
            deliveries.PythonDelivery,
        ],
        set(),
    ),
    "deliveries of kind klaviyo": ("deliveries", [deliveries.KlaviyoDelivery], DELIVERY),
    "deliveries of kind smartemailing": ("deliveries", [deliveries.SmartEmailingDelivery], DELIVERY),
    "campaigns": ("campaigns", [campaigns.Campaigns], set()),
    "schedule and tags": ("schedule", [models.Schedules], set()),
}
"""Heading of a table: the section, its models, and keys that another table explains."""
ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| (?P<default>[^|]*)\| (?P<meaning>[^|]+)\|$", re.MULTILINE)


def documented(heading: str) -> dict[str, str]:
    text = (PROJECT_ROOT / "docs" / "publishers.md").read_text("utf-8")
    (section,) = re.findall(rf"^#{{3,4}} {heading}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return {row["key"]: row["default"].strip(" `") for row in ROW.finditer(section)}


def shown(default: Any) -> str:
    if default is None or default == {} or default == []:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def keys_of(heading: str) -> dict[str, Any]:
    section, kinds, elsewhere = TABLES[heading]
    fields = {field.alias or key: field for kind in kinds for key, field in kind.model_fields.items()}
    return {f"{section}.{key}": field for key, field in fields.items() if key not in elsewhere}


@pytest.mark.parametrize("heading", TABLES)
def test_each_key_is_documented_with_its_default(heading: str) -> None:
    said = documented(heading)
    for key, field in keys_of(heading).items():
        assert key in said
        if heading != "deliveries":  # the kinds differ
            default = "" if field.is_required() else shown(field.get_default(call_default_factory=True))
            assert (key, numeric(said[key])) == (key, numeric(default))


def numeric(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("heading", TABLES)
def test_no_key_is_documented_that_does_not_exist(heading: str) -> None:
    assert documented(heading).keys() - keys_of(heading).keys() <= {"tags"}
