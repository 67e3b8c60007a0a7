"""Publisher files: a mistake names the file, the key, what came and what is allowed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from include.errors import ConfigError
from include.publishers import config
from include.publishers.models import Guard, Publisher

SHOP: dict[str, Any] = {
    "audience": {"connection": "w", "sql": "SELECT 1"},
    "batch": {"link": "https://example.com/a.xml"},
    "deliveries": [{"name": "feed", "kind": "feed"}],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    return tmp_path


def load(folder: Path, change: dict[str, Any] | str) -> Publisher:
    """Load the shop after a change, whose keys are paths such as ``audience.format``."""
    if isinstance(change, str):
        text = change
    else:
        content: dict[str, Any] = json.loads(json.dumps(SHOP))
        for path, value in change.items():
            *sections, key = path.split(".")
            place: Any = content
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
        text = yaml.safe_dump(content)
    (folder / "shop.yaml").write_text(text, "utf-8")
    return config.load_publisher("shop")


def test_the_least_that_works(folder: Path) -> None:
    shop = load(folder, {})
    assert shop.name == "shop"
    assert shop.luigisbox.connection == "luigisbox_default"
    assert shop.guard == Guard()
    assert shop.past_transactions is None
    assert shop.delivery("feed").kind == "feed"
    with pytest.raises(ConfigError, match="no delivery 'table'; known are feed"):
        shop.delivery("table")


def test_the_demo_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBLISHERS_DIR", raising=False)
    assert "demo" in config.publisher_names()
    for name in config.publisher_names():
        assert config.load_publisher(name).name == name


@pytest.mark.parametrize(
    ("change", "key", "sentence"),
    [
        ({"audience.connexion": "w"}, "audience.connexion", "came 'w'; no such key here"),
        ({"audience": {"sql": "SELECT 1"}}, "audience.connection", "is missing"),
        ({"audience.sql": ""}, "audience.sql", "came ''"),
        ({"audience.format": "xml"}, "audience.format", "came 'xml'; Input should be 'json' or 'csv'"),
        ({"audience.chunk_rows": 0}, "audience.chunk_rows", "greater than or equal to 1"),
        ({"audience.max_id_bytes": 65_536}, "audience.max_id_bytes", "less than or equal to 65535"),
        ({"audience.partitions": 3}, "audience", "partitions > 1 needs partition_key"),
        ({"guard.hold_shrink_percent": 101}, "guard.hold_shrink_percent", "came 101"),
        ({"guard.hold_shrink_percent": float("nan")}, "guard.hold_shrink_percent", "came nan"),
        ({"guard.hold_churn_percent": False}, "guard", "hold_churn_percent: YAML reads yes, no"),
        ({"guard.min_users": True}, "guard", "min_users: YAML reads yes, no"),
        ({"batch.link": "example.com/a.xml"}, "batch.link", "came 'example.com/a.xml'"),
        ({"batch.link": "/a.xml"}, "batch", "link: one that starts with / needs connection"),
        ({"batch.recommendation_types": {"a": 0}}, "batch.recommendation_types.a", "came 0"),
        ({"batch.updated_at_time_zone": "Mars/Phobos"}, "batch.updated_at_time_zone", "no such time zone"),
        ({"schedule.time_zone": "../etc/passwd"}, "schedule.time_zone", "no such time zone"),
        ({"deliveries": []}, "deliveries", "at least 1 item"),
        (
            {"deliveries": [{"name": "a", "kind": "fax"}]},
            "deliveries.0",
            "does not match any of the expected tags: 'feed', 'warehouse'",
        ),
        ({"deliveries": [{"name": "A b", "kind": "feed"}]}, "deliveries.0.feed.name", "came 'A b'"),
        (
            {"deliveries": [{"name": "t", "kind": "warehouse", "connection": "w", "table": "a; drop"}]},
            "deliveries.0.warehouse.table",
            "came 'a; drop'",
        ),
        (
            {"deliveries": [{"name": "f", "kind": "feed"}, {"name": "f", "kind": "asset"}]},
            "(the whole file)",
            "two deliveries are named f",
        ),
    ],
)
def test_a_mistake_names_file_key_and_what_came(folder: Path, change: dict[str, Any], key: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, change)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{folder / 'shop.yaml'}: ")
    assert any(line.startswith(f"  {key}: ") and sentence in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "not readable as YAML"),
        ("- a", "must be a mapping of keys, came list"),
        ("", "must be a mapping of keys, came NoneType"),
        ("name: other", "came 'other', must be 'shop'"),
        ("guard: {min_users: 5}\nguard: {}\n", "the key guard is given twice"),
        ("guard:\n  min_users: 5\n  min_users: 6\n", "the key min_users is given twice"),
        ("a: !!python/object/apply:os.getpid []", "not readable as YAML"),
    ],
)
def test_files_that_are_no_publisher_at_all(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"shop\.yaml") as caught:
        load(folder, text)
    assert sentence in str(caught.value)


def test_bytes_that_are_not_utf8(folder: Path) -> None:
    (folder / "shop.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        config.load_publisher("shop")


def test_merged_keys_of_yaml_still_work(folder: Path) -> None:
    shop = load(folder, yaml.safe_dump(SHOP) + "guard: {<<: {min_users: 5}, hold_grow_percent: 7}\n")
    assert (shop.guard.min_users, shop.guard.hold_grow_percent) == (5, 7)


def test_an_unknown_publisher_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match="known publishers: none"):
        config.load_publisher("shop")
    load(folder, {})
    for name in ("shp", "../shop", ""):
        with pytest.raises(ConfigError, match="known publishers: shop"):
            config.load_publisher(name)


def test_a_changed_file_is_read_again(folder: Path) -> None:
    assert load(folder, {"guard.min_users": 5}).guard.min_users == 5
    path = folder / "shop.yaml"
    path.write_text(path.read_text().replace("min_users: 5", "min_users: 6"))
    os.utime(path, ns=(1, 1))
    assert config.load_publisher("shop").guard.min_users == 6


def test_partitions_by_the_sql_itself(folder: Path) -> None:
    shared = {"audience.partitions": 3, "audience.sql": "SELECT 1 WHERE {{ partition }} < {{ partitions }}"}
    assert load(folder, shared).audience.partitions == 3
    assert load(folder, {**shared, "audience.sql": "  audience.sql \n"}).audience.sql == "audience.sql"


def test_a_publisher_cannot_be_changed(folder: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(folder, {}).guard.min_users = 0  # type: ignore[misc]


def test_the_schema_for_editors_is_printed_and_knows_every_key() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "include.publishers.config"]
    schema = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert schema == config.json_schema()
    assert set(schema["properties"]) == set(Publisher.model_fields)
    assert "name" not in schema["required"]
    TypeAdapter(dict[str, Any]).validate_python(schema)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule.audience": "0 4 * *"}, "schedule.audience: came '0 4 * *'; Value error, must be a cron expression"),
        ({"schedule.past_transactions": "hourlyy"}, "schedule.past_transactions: came 'hourlyy'"),
        ({"schedule.recommendations": "after"}, "schedule.recommendations: came 'after'"),
        ({"guard.hold_shrink_percent": 60}, "hold_shrink_percent 60 must not be above refuse_shrink_percent 50"),
    ],
)
def test_what_airflow_would_refuse_later_is_said_at_once(folder: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, change)
    assert said in str(caught.value)


@pytest.mark.parametrize("cron", ["0 4 * * *", "@daily", "@quarterly", "*/5 8-18 * * 1-5"])
def test_cron_expressions_and_presets_pass(folder: Path, cron: str) -> None:
    shop = load(folder, {"schedule.audience": cron, "schedule.recommendations": cron})
    assert shop.schedule.audience == shop.schedule.recommendations == cron


def test_two_publishers_of_one_tracker_are_a_mistake(folder: Path) -> None:
    load(folder, {})
    (folder / "two.yaml").write_text((folder / "shop.yaml").read_text())
    with pytest.raises(ConfigError, match="publishers shop, two: all have"):
        config.check_publishers()


def test_a_file_with_a_mistake_does_not_hide_the_others(folder: Path) -> None:
    load(folder, {})
    (folder / "bad.yaml").write_text("audience: 3\n")
    assert [publisher.name for publisher in config.sound_publishers()] == ["shop"]
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        config.check_publishers()


K: dict[str, Any] = {"kind": "klaviyo", "segments": ["S1"]}
SE: dict[str, Any] = {"kind": "smartemailing", "id": "customfields.3"}
TYPES = {"batch.recommendation_types": {"a": 4, "b": 4}}


def klaviyo_delivery(**settings: Any) -> list[dict[str, Any]]:
    return [{"name": "d", "kind": "klaviyo", **settings}]


def smartemailing_delivery(**settings: Any) -> list[dict[str, Any]]:
    return [{"name": "d", "kind": "smartemailing", **settings}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"audience": K, "deliveries": klaviyo_delivery(identify_by="email")}, "identify_by is email"),
        ({"audience": SE, "deliveries": klaviyo_delivery()}, "identify_by must be email"),
        ({"audience": K, "deliveries": smartemailing_delivery(fields={"a": 1})}, "audience.recipient must be email"),
        (
            {**TYPES, "audience": K, "deliveries": klaviyo_delivery(properties={"z": "x"})},
            "no such recommendation type z",
        ),
        ({**TYPES, "audience": K, "deliveries": klaviyo_delivery(properties={"a": "x", "b": "x"})}, "property x"),
        ({**TYPES, "audience": K, "deliveries": klaviyo_delivery(properties={"a": "b"})}, "property b"),
        (
            {**TYPES, "audience": SE, "deliveries": smartemailing_delivery(fields={"z": 1})},
            "no such recommendation type z",
        ),
        (
            {**TYPES, "audience": SE, "deliveries": smartemailing_delivery(fields={"a": 7, "b": [{"url": 7}]})},
            "field 7",
        ),
        ({"batch": {"from": "klaviyo", "recommendation_types": {"a": 4}}}, "needs an audience of kind klaviyo"),
        (
            {"audience": K, "batch": {"from": "klaviyo", "connection": "k2", "recommendation_types": {"a": 4}}},
            "audience.connection is klaviyo_default",
        ),
        (
            {
                "audience": K,
                "batch": {"from": "klaviyo", "recommendation_types": {"a": 4}},
                "deliveries": klaviyo_delivery(),
            },
            "writes the properties a, which the batch is read from",
        ),
        ({"campaigns": {"kind": "klaviyo", "connection": "k"}}, "campaigns.audiences: name the lists"),
        ({"audience": {**K, "exclude_segments": ["S1"]}}, "named twice: S1"),
        ({"audience": {**K, "id": "shop.id"}}, "audience.id: came 'shop.id'; Value error, must be external_id, or"),
        ({"audience": {**SE, "id": "customfields.x"}}, "must be email, guid, or customfields.NUMBER"),
    ],
)
def test_sections_that_do_not_fit_are_said_before_a_newsletter_is_due(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, change)
    assert said in str(caught.value)


def test_the_platforms_fit(folder: Path) -> None:
    properties = klaviyo_delivery(properties={"a": "lb_a"})
    native = {"from": "klaviyo", "recommendation_types": {"a": 4}}
    assert load(folder, {"audience": K, "batch": native, "deliveries": properties}).batch.source == "klaviyo"
    both = [*klaviyo_delivery(identify_by="email"), {**smartemailing_delivery(fields={"a": 1})[0], "name": "e"}]
    assert load(folder, {"audience": {**K, "recipient": "email"}, "deliveries": both}).delivery("e").name == "e"
