"""Products as values of custom fields, and changes as the body of an import."""

import json
from typing import Any

import pytest

from include.deliveries.changes import Change
from include.deliveries.part import OWN
from include.deliveries.smartemailing import fields_of, import_body, too_long
from include.publishers.deliveries import SmartEmailingDelivery

URL = "https://shop.example/p1?a=1&recommendation_id=%7B7%7D"
BREAD = {"id": "p1", "url": URL, "title": "Brød", "image_link": "https://shop.example/p1.png"}
MILK = {"id": "p2", "url": "https://shop.example/p2?recommendation_id=8", "title": None, "image_link": None}
SLOTS = [{"url": 31, "title": 32}, {"url": 34, "title": 35, "id": 36}]


def delivery(fields: Any, **changes: Any) -> SmartEmailingDelivery:
    return SmartEmailingDelivery(name="contacts", kind="smartemailing", fields=fields, **changes)


def test_a_type_as_json() -> None:
    fields = fields_of({"mail-basket": [BREAD, MILK]}, {}, ["mail-basket"], delivery({"mail-basket": 21}))
    assert list(fields) == ["21"]
    assert json.loads(fields["21"]) == [BREAD, MILK]
    assert URL in fields["21"]


def test_a_type_in_slots() -> None:
    both = fields_of({"a": [BREAD, MILK]}, {}, ["a"], delivery({"a": SLOTS}))
    assert both == {"31": URL, "32": "Brød", "34": MILK["url"], "35": "", "36": "p2"}


def test_places_without_a_product_are_emptied() -> None:
    one = fields_of({"a": [BREAD]}, {}, ["a"], delivery({"a": SLOTS}))
    assert one == {"31": URL, "32": "Brød", "34": "", "35": "", "36": ""}


def test_products_beyond_the_slots_are_left_out() -> None:
    assert fields_of({"a": [MILK, BREAD, BREAD]}, {}, ["a"], delivery({"a": [{"id": 4}]})) == {"4": "p2"}


@pytest.mark.parametrize(
    ("on_absent", "fields"), [("keep", {}), ("clear", {"21": "", "5": ""}), ("default", {"21": "[MILK]", "5": "p2"})]
)
def test_without_recommendations_of_their_own(on_absent: Any, fields: dict[str, str]) -> None:
    settings = delivery({"a": 21, "b": [{"id": 5}]}, on_absent=on_absent)
    found = fields_of({}, {"a": [MILK], "b": [MILK]}, ["a", "b"], settings)
    assert found == {
        key: json.dumps([MILK], separators=(",", ":")) if "M" in text else text for key, text in fields.items()
    }


def test_one_type_of_two_is_absent() -> None:
    own, default, types = {"a": [BREAD]}, {"a": [MILK], "b": [MILK]}, ["a", "b"]
    fields = {"a": [{"id": 4}], "b": [{"id": 5}]}
    assert fields_of(own, default, types, delivery(fields)) == {"4": "p1"}
    assert fields_of(own, default, types, delivery(fields, on_absent="clear")) == {"4": "p1", "5": ""}
    assert fields_of(own, default, types, delivery(fields, on_absent="default")) == {"4": "p1", "5": "p2"}


def test_the_default_set_has_none_either() -> None:
    assert fields_of({}, {}, ["a"], delivery({"a": 21}, on_absent="default")) == {"21": ""}


def test_only_types_that_are_wanted_and_have_a_field() -> None:
    settings = delivery({"a": 4, "b": 5}, on_absent="clear")
    assert fields_of({"a": [BREAD], "c": [BREAD]}, {}, ["b", "c"], settings) == {"5": ""}


@pytest.mark.parametrize(("title", "long"), [("é" * 50, False), ("é" * 51, True)])
def test_the_length_is_in_bytes(title: str, long: bool) -> None:
    settings = delivery({"a": 4}, value_bytes=100)
    assert too_long(Change(0, "a@example.com", OWN, {"4": "short", "5": title}), settings) is long


def test_an_import() -> None:
    body = import_body(
        [Change(0, "a@example.com", OWN, {"4": 'x\n"', "5": ""}), Change(1, "č@example.com", OWN, {"4": "y"})]
    )
    assert json.loads(body) == {
        "settings": {"update": True, "skip_invalid_emails": True},
        "data": [
            {"emailaddress": "a@example.com", "customfields": [{"id": 4, "value": 'x\n"'}, {"id": 5, "value": ""}]},
            {"emailaddress": "č@example.com", "customfields": [{"id": 4, "value": "y"}]},
        ],
    }
