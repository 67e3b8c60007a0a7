"""Connections: credentials, what the vendor's documentation leaves open, mistakes named, the secret hidden."""

from typing import Any

import pytest
from airflow.sdk import Connection

from advisable.connections import PATHS, advisable_settings
from include.errors import ConfigError
from vendor_http.session import Timeouts


def connection(**fields: Any) -> Any:
    known = {"conn_id": "shop", "conn_type": "advisable", "host": "https://api.example.com", "login": "app"}
    return Connection(**{**known, "password": "hush", **fields})


def test_defaults() -> None:
    settings = advisable_settings(connection())
    assert settings.base_url == "https://api.example.com"
    assert settings.headers == {"app-id": "app", "app-secret": "hush", "Accept": "application/json"}
    assert (settings.batch_size, settings.transfer_method) == (1000, "POST")
    assert settings.paths == PATHS
    assert (settings.timeouts, settings.verify, settings.connection) == (Timeouts(), True, "shop")


def test_all_fields() -> None:
    extra = (
        '{"app_id_header": "X-App", "app_secret_header": "X-Secret", "batch_size": 50, "transfer_method": "put",'
        ' "paths": "{\\"view\\": \\"page-views\\"}", "read_seconds": 4, "verify": "false"}'
    )
    settings = advisable_settings(connection(host="http://127.0.0.1/advisable/", port=8090, extra=extra))
    assert settings.base_url == "http://127.0.0.1:8090/advisable"
    assert settings.headers["X-App"] == "app"
    assert settings.headers["X-Secret"] == "hush"
    assert (settings.batch_size, settings.transfer_method) == (50, "PUT")
    assert (settings.paths["view"], settings.paths["purchase"]) == ("page-views", "purchases")
    assert (settings.timeouts, settings.verify) == (Timeouts(read=4), False)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"host": ""}, "host: is missing"),
        ({"host": "ftp://x"}, "host: came"),
        ({"host": "https://hush@x/y"}, "host: came"),
        ({"host": "https://x/y?z=1"}, "host: came"),
        ({"login": " "}, "app id (login): is missing"),
        ({"password": None}, "app secret (password): is missing"),
        ({"password": "hush\r\nX: y"}, "app secret (password): has characters"),
        ({"extra": '{"app_id_header": "app id"}'}, "app_id_header: came 'app id'"),
        ({"extra": '{"batch_size": 0}'}, "batch_size: came"),
        ({"extra": '{"batch_size": "many"}'}, "batch_size: came 'many'"),
        ({"extra": '{"transfer_method": "GET"}'}, "transfer_method: came 'GET'"),
        ({"extra": '{"paths": "views"}'}, "paths: must be a JSON object"),
        ({"extra": '{"paths": {"views": "views"}}'}, "paths: no such type: views; known are purchase"),
        ({"extra": '{"paths": {"view": "a/b"}}'}, "paths: view: came 'a/b'"),
        ({"extra": '{"paths": {"view": ".."}}'}, "paths: view: came '..'"),
        ({"extra": '{"read_seconds": "soon"}'}, "read_seconds: came 'soon'"),
    ],
)
def test_mistakes_name_connection_and_field(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        advisable_settings(connection(**fields))
    assert str(caught.value).startswith("connection shop: ")
    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_secret_does_not_show() -> None:
    assert "hush" not in repr(advisable_settings(connection()))
