"""What Airflow learns from the installed distribution: connection types, forms, hooks, buttons."""

from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk.module_loading import import_string

from advisable.connections import advisable_settings
from klaviyo.connections import klaviyo_settings
from luigisbox.connections import link_access, tracker_settings
from provider_info import get_provider_info
from smartemailing.connections import smartemailing_settings

TYPES = {each["connection-type"]: each for each in get_provider_info()["connection-types"]}


@pytest.fixture(scope="module")
def manager() -> Any:
    return ProvidersManager()


def test_airflow_finds_the_distribution(manager: Any) -> None:
    assert manager.providers["luigisbox-newsletter-airflow"].data["connection-types"] == list(TYPES.values())


@pytest.mark.parametrize("connection_type", TYPES)
def test_each_type_has_its_hook(connection_type: str) -> None:
    hook = import_string(TYPES[connection_type]["hook-class-name"])
    assert hook.conn_type == connection_type
    assert hook.hook_name == TYPES[connection_type]["hook-name"]
    assert callable(hook.test_connection)


@pytest.mark.parametrize("connection_type", TYPES)
def test_each_type_has_its_form(manager: Any, connection_type: str) -> None:
    fields = {name.removeprefix(f"extra__{connection_type}__") for name in manager.connection_form_widgets}
    assert set(TYPES[connection_type]["conn-fields"]) <= fields
    assert manager.field_behaviours[connection_type]["relabeling"]["password"]


def test_secrets_of_the_form_are_masked(manager: Any) -> None:
    assert manager.connection_form_widgets["extra__luigisbox_batch__headers"].is_sensitive


class Recorder(dict[str, Any]):
    """Extra fields that remember who asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return default


@pytest.mark.parametrize(
    ("connection_type", "read"),
    [
        ("luigisbox", tracker_settings),
        ("luigisbox_batch", link_access),
        ("klaviyo", klaviyo_settings),
        ("smartemailing", smartemailing_settings),
        ("advisable", advisable_settings),
    ],
)
def test_the_form_offers_exactly_what_is_read(connection_type: str, read: Any) -> None:
    class Connection:
        conn_id, host, schema, login, password, port = "x", "https://example.com", None, "1-2", "key", None
        extra_dejson = Recorder()

    read(Connection())
    assert Connection.extra_dejson.asked == set(TYPES[connection_type]["conn-fields"])


def test_the_button_is_registered(manager: Any) -> None:
    links = get_provider_info()["extra-links"]
    assert set(links) <= set(manager.extra_links_class_names)
    assert {import_string(path).name for path in links} == {"Result link"}
