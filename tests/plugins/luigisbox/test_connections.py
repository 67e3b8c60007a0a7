"""Connections: known keys only, mistakes named, secrets hidden."""

from typing import Any

import pytest
from airflow.sdk import Connection

from include.errors import ConfigError
from luigisbox.connections import link_access, tracker_settings
from vendor_http.session import Timeouts


def connection(**fields: Any) -> Any:
    return Connection(conn_id="box", conn_type="luigisbox", **fields)


def tracker(**fields: Any) -> Any:
    return connection(**{"login": "1234-5678", "password": "hush", **fields})


def test_defaults() -> None:
    settings = tracker_settings(tracker())
    assert settings.base_url == "https://live.luigisbox.com"
    assert settings.upload_seconds == 600
    assert settings.timeouts == Timeouts()
    assert settings.verify is True
    assert settings.public_key == ""


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://live.luigisbox.tech"}, "https://live.luigisbox.tech"),
        ({"host": "live.luigisbox.tech"}, "https://live.luigisbox.tech"),
        ({"host": "http://127.0.0.1:8090/"}, "http://127.0.0.1:8090"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8090}, "http://127.0.0.1:8090"),
        ({"host": "http://sandbox", "port": 8090}, "http://sandbox:8090"),
    ],
)
def test_hosts(fields: dict[str, Any], url: str) -> None:
    assert tracker_settings(tracker(**fields)).base_url == url


def test_extra_fields_may_be_numbers_or_the_forms_text() -> None:
    extra = '{"upload_seconds": "30", "connect_seconds": 2, "read_seconds": "", "verify": "false", "public_key": "pk"}'
    settings = tracker_settings(tracker(extra=extra))
    assert (settings.upload_seconds, settings.timeouts, settings.verify) == (30, Timeouts(connect=2), False)
    assert settings.public_key == "pk"


@pytest.mark.parametrize(
    ("value", "verify"), [("true", True), ("false", False), ('"False"', False), ('"/dev/null"', "/dev/null")]
)
def test_verification(value: str, verify: bool | str) -> None:
    assert tracker_settings(tracker(extra=f'{{"verify": {value}}}')).verify == verify


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"login": ""}, "tracker id"),
        ({"login": "abc"}, "'abc', must look like 1234-5678"),
        ({"password": ""}, "private key"),
        ({"host": "ftp://x"}, "host: came 'ftp://x'"),
        ({"host": "https://x.example/path"}, "host"),
        ({"host": "https://me:hush@x.example"}, "host"),
        ({"extra": '{"upload_seconds": -1}'}, "upload_seconds: came -1"),
        ({"extra": '{"read_seconds": "soon"}'}, "read_seconds: came 'soon'"),
        ({"extra": '{"connect_seconds": "nan"}'}, "connect_seconds"),
        ({"extra": '{"verify": "no"}'}, "verify: came 'no'"),
        ({"extra": '{"verify": "/no/such/ca.pem"}'}, "verify: came '/no/such/ca.pem'"),
    ],
)
def test_mistakes_name_connection_and_field(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tracker_settings(tracker(**fields))
    assert str(caught.value).startswith("connection box: ")
    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_link_may_be_open_basic_bearer_or_by_headers() -> None:
    assert link_access(connection(host="x.example")).headers == {}
    assert link_access(connection(login="me", password="hush")).headers == {"Authorization": "Basic bWU6aHVzaA=="}
    assert link_access(connection(password="hush")).headers == {"Authorization": "Bearer hush"}
    assert link_access(connection(extra='{"headers": {"X-Key": "hush"}}')).headers == {"X-Key": "hush"}
    assert link_access(connection(extra='{"headers": "{\\"X-Key\\": \\"hush\\"}"}')).headers == {"X-Key": "hush"}


@pytest.mark.parametrize(
    "headers",
    ['"text"', "[1]", '{"X": 1}', '{"X\\r\\nY": "1"}', '{"X": "1\\r\\nY: 2"}', '{"Host": "x"}', '{"RANGE": "x"}'],
)
def test_unusable_headers_are_refused(headers: str) -> None:
    with pytest.raises(ConfigError, match="connection box: headers"):
        link_access(connection(extra=f'{{"headers": {headers}}}'))


def test_other_extra_fields_are_left_alone() -> None:
    extra = '{"Authorization": "hush", "proxies": {"https": "http://evil.example"}, "auth_type": "x"}'
    assert link_access(connection(host="x.example", extra=extra)).headers == {}


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(tracker_settings(tracker()))
    assert "hush" not in repr(link_access(connection(login="me", password="hush", extra='{"headers": {"X": "hush"}}')))
