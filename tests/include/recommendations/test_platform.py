"""What a profile carries: the documented shape as it is, anything else counted by its reason."""

import json
from typing import Any

import pytest

from include.recommendations.platform import carried

PRODUCT = {"id": "1", "url": "https://x.example/1?recommendation_id=7&a=%20", "title": "Ž", "image_link": None}


def test_the_documented_shape_stays_as_it_is() -> None:
    found = carried({"b": [PRODUCT, PRODUCT], "a": [PRODUCT], "other": 7}, ["b", "a"])
    assert found.data is not None
    assert json.loads(found.data) == {"a": [PRODUCT], "b": [PRODUCT, PRODUCT]}
    assert found.problems == {}


def test_the_digest_tells_another_recommendation_id_and_another_order() -> None:
    second = {**PRODUCT, "url": "https://x.example/1?recommendation_id=8"}
    digests = [carried({"a": own}, ["a"]).digest for own in ([PRODUCT, second], [second, PRODUCT], [PRODUCT, PRODUCT])]
    assert len(set(digests)) == 3
    assert carried({"a": [PRODUCT]}, ["a", "b"]).digest == carried({"a": [PRODUCT], "x": 1, "b": None}, ["a"]).digest


@pytest.mark.parametrize("properties", [None, {}, {"a": None}, {"b": [PRODUCT]}, {"a": []}])
def test_nothing_there_is_no_problem(properties: Any) -> None:
    assert carried(properties, ["a"]) == (None, None, {})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[]", "not_a_list"),
        (7, "not_a_list"),
        ({"id": "1"}, "not_a_list"),
        ([[PRODUCT]], "not_a_product"),
        ([{**PRODUCT, "id": {}}], "id_not_a_text"),
        ([{**PRODUCT, "id": True}], "id_not_a_text"),
        ([{**PRODUCT, "title": "x" * 65_537}], "title_too_long"),
        ([{**PRODUCT, "url": "a\0b"}], "url_has_a_nul"),
        ([{**PRODUCT, "url": "\ud800"}], "url_not_utf8"),
        ([{}], "empty_product"),
        ([{"id": None}], "empty_product"),
        ([PRODUCT] * 10_001, "too_many_products"),
        ([{**PRODUCT, "title": "x" * 60_000}] * 80, "profile_too_long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_counted(value: Any, reason: str) -> None:
    found = carried({"a": value}, ["a"])
    assert (found.data, found.digest, found.problems) == (None, None, {reason: 1})


def test_the_rest_of_a_profile_is_used() -> None:
    found = carried({"a": [None, PRODUCT], "b": "x", "c": [{**PRODUCT, "id": 12, "price": 3}]}, ["a", "b", "c"])
    assert found.data is not None
    assert json.loads(found.data) == {"a": [PRODUCT], "c": [{**PRODUCT, "id": "12"}]}
    assert found.problems == {"not_a_product": 1, "not_a_list": 1, "unknown_fields": 1}


def test_properties_that_are_no_object() -> None:
    assert carried(["x"], ["a"]).problems == {"properties_not_an_object": 1}
