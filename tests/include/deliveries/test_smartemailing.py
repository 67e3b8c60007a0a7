"""Products as values of custom fields, and contacts as the body of an import."""

import json
from pathlib import Path
from typing import Any

import pytest

from include.deliveries.rows import open_part
from include.deliveries.smartemailing import Contact, Product, contacts_of, import_body, too_long, values_of
from include.publishers.batches import Coverage
from include.publishers.deliveries import SmartEmailingDelivery
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from tests.include.recommendations.documents import User, batch_of, products, settings, user_set, xml

BREAD = Product("p1", "https://shop.example/p1?a=1&recommendation_id=%7B7%7D", "Brød", "https://shop.example/p1.png")
MILK = Product("p2", "https://shop.example/p2?recommendation_id=8", None, None)
SLOTS = [{"url": 31, "title": 32}, {"url": 34, "title": 35, "id": 36}]


def delivery(fields: Any, **changes: Any) -> SmartEmailingDelivery:
    return SmartEmailingDelivery(name="contacts", kind="smartemailing", fields=fields, **changes)


def test_a_type_as_json() -> None:
    values = values_of({"mail-basket": [BREAD, MILK]}, {}, delivery({"mail-basket": 21}))
    assert list(values) == [21]
    assert json.loads(values[21]) == [
        {"id": "p1", "url": BREAD.url, "title": "Brød", "image_link": BREAD.image_link},
        {"id": "p2", "url": MILK.url, "title": None, "image_link": None},
    ]
    assert "recommendation_id=%7B7%7D" in values[21]


def test_a_type_in_slots() -> None:
    both = values_of({"a": [BREAD, MILK]}, {}, delivery({"a": SLOTS}))
    assert both == {31: BREAD.url, 32: "Brød", 34: MILK.url, 35: "", 36: "p2"}


def test_places_without_a_product_are_emptied() -> None:
    assert values_of({"a": [BREAD]}, {}, delivery({"a": SLOTS})) == {31: BREAD.url, 32: "Brød", 34: "", 35: "", 36: ""}


def test_products_beyond_the_slots_are_left_out() -> None:
    assert values_of({"a": [MILK, BREAD, BREAD]}, {}, delivery({"a": [{"id": 4}]})) == {4: "p2"}


@pytest.mark.parametrize(
    ("on_absent", "values"),
    [
        ("keep", {}),
        ("clear", {21: "", 31: "", 32: "", 34: "", 35: "", 36: ""}),
        ("default", {21: '[{"id":"p2","url":"' + str(MILK.url) + '","title":null,"image_link":null}]'}),
    ],
)
def test_without_recommendations_of_their_own(on_absent: Any, values: dict[int, str]) -> None:
    settings = delivery({"a": 21, "b": SLOTS}, on_absent=on_absent)
    found = values_of({}, {"a": [MILK], "b": [MILK]} if on_absent == "default" else {}, settings)
    assert {field: found[field] for field in values} == values
    if on_absent == "default":
        assert (found[31], found[36], found[34]) == (MILK.url, "p2" if found[36] else "", "")
    else:
        assert found == values


def test_one_type_of_two_is_absent() -> None:
    own, default = {"a": [BREAD]}, {"a": [MILK], "b": [MILK]}
    fields = {"a": [{"id": 4}], "b": [{"id": 5}]}
    assert values_of(own, default, delivery(fields)) == {4: "p1"}
    assert values_of(own, default, delivery(fields, on_absent="clear")) == {4: "p1", 5: ""}
    assert values_of(own, default, delivery(fields, on_absent="default")) == {4: "p1", 5: "p2"}


def test_only_the_types_that_are_wanted() -> None:
    settings = delivery({"a": 4, "b": 5}, recommendation_types=["b"], on_absent="clear")
    assert values_of({"a": [BREAD], "b": []}, {}, settings) == {5: ""}


@pytest.mark.parametrize(("title", "long"), [("é" * 50, False), ("é" * 51, True)])
def test_the_length_is_in_bytes(title: str, long: bool) -> None:
    settings = delivery({"a": 4}, value_bytes=100)
    assert too_long(Contact("a@example.com", {4: "short", 5: title}), settings) is long


def test_an_import() -> None:
    body = import_body([Contact("a@example.com", {4: 'x\n"', 5: ""}), Contact("č@example.com", {4: "y"})])
    assert json.loads(body) == {
        "settings": {"update": True, "skip_invalid_emails": True},
        "data": [
            {"emailaddress": "a@example.com", "customfields": [{"id": 4, "value": 'x\n"'}, {"id": 5, "value": ""}]},
            {"emailaddress": "č@example.com", "customfields": [{"id": 4, "value": "y"}]},
        ],
    }


USERS = [
    User("z", {"basket": products(2), "other": products(1, start=7)}),
    User("a", {"other": products(1)}),
    User("default", {"basket": products(1, start=50)}),
]


@pytest.mark.parametrize(
    ("on_absent", "expected"),
    [
        ("keep", {"a@example.com": {5: "p1"}, "z@example.com": {4: "p1", 5: "p7"}}),
        (
            "clear",
            {
                "a@example.com": {4: "", 5: "p1"},
                "z@example.com": {4: "p1", 5: "p7"},
                "absent@example.com": {4: "", 5: ""},
            },
        ),
        (
            "default",
            {
                "a@example.com": {4: "p50", 5: "p1"},
                "z@example.com": {4: "p1", 5: "p7"},
                "absent@example.com": {4: "p50", 5: ""},
            },
        ),
    ],
)
def test_the_contacts_of_a_part(tmp_path: Path, on_absent: Any, expected: dict[str, dict[int, str]]) -> None:
    batch = batch_of(tmp_path / "shop" / "batches" / "x", xml(USERS))
    parse_batch(batch, settings(parts=1))
    ids = ["z", "a", "absent"]
    listed = user_set(tmp_path, "now", ids, [f"{each}@example.com" for each in ids])
    coverage.reconcile(batch, listed, settings(parts=1), Coverage())
    wanted = delivery({"basket": [{"id": 4}], "other": [{"id": 5}]}, on_absent=on_absent)
    with open_part(batch, batch / "for-now", 0, None) as part:
        found = list(contacts_of(part, wanted))
    assert {contact.email: dict(contact.values) for contact in found} == expected
    assert len(found) == len(expected)
