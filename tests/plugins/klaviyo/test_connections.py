"""Connections: the key as password, defaults for the rest, mistakes named, the key hidden."""

from typing import Any

import pytest
from airflow.sdk import Connection

from include.errors import ConfigError
from klaviyo.connections import DEFAULT_HOST, DEFAULT_REVISION, klaviyo_settings
from vendor_http.session import Timeouts


def connection(**fields: Any) -> Any:
    return Connection(**{"conn_id": "shop", "conn_type": "klaviyo", "password": "pk_hush", **fields})


def test_defaults() -> None:
    settings = klaviyo_settings(connection())
    assert (settings.base_url, settings.revision) == (DEFAULT_HOST, DEFAULT_REVISION)
    assert (settings.timeouts, settings.verify, settings.connection) == (Timeouts(), True, "shop")
    assert settings.headers["Authorization"] == "Klaviyo-API-Key pk_hush"


def test_all_fields() -> None:
    extra = '{"revision": "2026-10-15", "connect_seconds": "3", "read_seconds": 4, "verify": "false"}'
    settings = klaviyo_settings(connection(host="http://127.0.0.1", port=8090, password=" pk_hush\n", extra=extra))
    assert (settings.base_url, settings.revision) == ("http://127.0.0.1:8090", "2026-10-15")
    assert (settings.timeouts, settings.verify, settings.api_key) == (Timeouts(3, 4), False, "pk_hush")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"password": None}, "private API key (password): is missing"),
        ({"password": " "}, "private API key (password): is missing"),
        ({"password": "hush\r\nX: y"}, "private API key (password): has characters"),
        ({"password": "hush\N{LATIN SMALL LETTER Z WITH CARON}"}, "private API key (password): has characters"),
        ({"host": "https://a.klaviyo.com/api"}, "host: came"),
        ({"host": "https://hush@a.klaviyo.com"}, "must be like https://a.klaviyo.com"),
        ({"extra": '{"revision": "today"}'}, "revision: came 'today', must be a date like 2026-07-15"),
        ({"extra": '{"revision": "2026-07-15\\r\\nX: y"}'}, "revision: came"),
        ({"extra": '{"read_seconds": "soon"}'}, "read_seconds: came 'soon'"),
        ({"extra": '{"verify": "no"}'}, "verify: came 'no'"),
    ],
)
def test_mistakes_name_connection_and_field(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        klaviyo_settings(connection(**fields))
    assert str(caught.value).startswith("connection shop: ")
    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_key_does_not_show() -> None:
    assert "hush" not in repr(klaviyo_settings(connection()))
