"""Products as properties, profiles as import jobs: cut by count, by bytes, and by the length of each."""

import json
from typing import Any

import pytest

from include.deliveries.changes import Change
from include.deliveries.klaviyo import cut, job_body, profile, properties_of
from include.deliveries.part import DEFAULT_SET, OWN
from include.publishers.deliveries import KlaviyoDelivery

URL = "https://shop.example/p1?a=1&recommendation_id=%7B7%7D"
BREAD: dict[str, str | None] = {"id": "p1", "url": URL, "title": "Brød", "image_link": None}
MILK: dict[str, str | None] = {"id": "p2", "url": "https://shop.example/p2", "title": None, "image_link": None}


def delivery(**changes: Any) -> KlaviyoDelivery:
    return KlaviyoDelivery(name="profiles", kind="klaviyo", **changes)


def numbered(count: int, length: int = 1) -> list[Change]:
    return [Change(row, f"id{row:04d}", OWN, {"a": json.dumps("x" * length)}) for row in range(count)]


def body_of(changes: list[Change], settings: KlaviyoDelivery) -> bytes:
    return job_body(profile(change, settings) for change in changes)


def test_a_type_is_a_property_of_the_name_that_is_configured() -> None:
    found = properties_of({"a": [BREAD], "b": [MILK]}, {}, ["a", "b"], delivery(properties={"a": "lb_basket"}))
    assert {name: json.loads(value) for name, value in found.items()} == {"lb_basket": [BREAD], "b": [MILK]}
    assert URL in found["lb_basket"]


@pytest.mark.parametrize(
    ("on_absent", "wanted"),
    [("keep", {}), ("clear", {"lb": "null"}), ("default", {"lb": json.dumps([MILK], separators=(",", ":"))})],
)
def test_without_products_of_their_own(on_absent: Any, wanted: dict[str, str]) -> None:
    settings = delivery(on_absent=on_absent, properties={"a": "lb"})
    assert properties_of({}, {"a": [MILK]}, ["a"], settings) == wanted


def test_the_default_set_has_none_either() -> None:
    assert properties_of({}, {}, ["a"], delivery(on_absent="default")) == {"a": "null"}


@pytest.mark.parametrize(
    ("identify_by", "place"),
    [
        ("profile_id", {"id": "me", "attributes": {}}),
        ("email", {"attributes": {"email": "me"}}),
        ("external_id", {"attributes": {"external_id": "me"}}),
    ],
)
def test_who_is_meant(identify_by: Any, place: dict[str, Any]) -> None:
    found = json.loads(profile(Change(0, "me", OWN, {"a": "[]"}), delivery(identify_by=identify_by)))
    assert found.pop("type") == "profile"
    assert found["attributes"].pop("properties") == {"a": []}
    assert found == place


@pytest.mark.parametrize(("fields", "properties"), [({}, {}), ({"b": "[]"}, {"properties": {"b": []}})])
def test_what_is_emptied_is_taken_away(fields: dict[str, str], properties: dict[str, Any]) -> None:
    change = Change(0, "me", OWN, {"a": "null", **fields, "c": "null"})
    assert json.loads(profile(change, delivery())) == {
        "type": "profile",
        "id": "me",
        "attributes": properties,
        "meta": {"patch_properties": {"unset": ["a", "c"]}},
    }


def test_klaviyos_own_model_reads_the_job() -> None:
    from openapi_client.models.profile_import_job_create_query import ProfileImportJobCreateQuery

    change = Change(0, "me", OWN, {"a": "null", "b": "[1]"})
    body = job_body([profile(change, delivery())])
    model = ProfileImportJobCreateQuery.from_json(body.decode())
    assert model
    (found,) = model.data.attributes.profiles.data
    assert (found.id, found.attributes.properties) == ("me", {"b": [1]})
    assert found.meta
    assert found.meta.patch_properties
    assert found.meta.patch_properties.unset == ["a"]


def test_the_default_sets_own_profile() -> None:
    found = json.loads(profile(Change(0, "default", DEFAULT_SET, {"a": "[]"}), delivery()))
    assert found["attributes"] == {"external_id": "default", "properties": {"a": []}}
    assert "id" not in found


def test_nothing_to_cut() -> None:
    assert list(cut([], delivery())) == []


def test_jobs_are_cut_by_count() -> None:
    assert list(cut(numbered(7), delivery(job_profiles=3))) == [(0, 3, []), (3, 6, []), (6, 7, [])]


def test_jobs_are_cut_by_the_bytes_of_the_whole_body() -> None:
    everybody, settings = numbered(10, length=300), delivery(job_bytes=1_500)
    jobs = list(cut(everybody, settings))
    assert [first for first, _, _ in jobs] == [0, *(end for _, end, _ in jobs[:-1])]
    assert jobs[-1][1] == 10
    for first, end, long in jobs:
        assert long == []
        assert len(body_of(everybody[first:end], settings)) <= 1_500
        assert end == 10 or len(body_of(everybody[first : end + 1], settings)) > 1_500
    exact = delivery(job_bytes=len(body_of(everybody[:5], settings)))
    assert list(cut(everybody, exact)) == [(0, 5, []), (5, 10, [])]


def test_a_profile_that_is_too_long_is_named_and_takes_no_room() -> None:
    everybody = numbered(6)
    everybody[0] = Change(0, "id0000", OWN, {"a": json.dumps("x" * 1_000)})
    everybody[3] = Change(3, "id0003", OWN, {"a": json.dumps("é" * 490)})  # fewer characters than bytes
    settings = delivery(job_profiles=4, profile_bytes=1_000)
    jobs = list(cut(everybody, settings))
    assert [(first, end) for first, end, _ in jobs] == [(0, 6)]
    assert jobs[0][2] == [0, 3]
    only_long = [Change(row, "x", OWN, everybody[0].fields) for row in range(3)]
    assert list(cut(only_long, settings)) == [(0, 3, [0, 1, 2])]
