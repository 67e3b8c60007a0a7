"""The hook: looked up lazily, a test button that always has a sentence."""

import json
from typing import Any

import pytest

from smartemailing.hooks import SmartEmailingHook


@pytest.fixture
def connect(account: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def connect(**fields: Any) -> None:
        form = {"conn_type": "smartemailing", "host": account.url, "login": "sandbox", "password": "sandbox_key"}
        extra = {"pause_seconds": 0.001}
        monkeypatch.setenv("AIRFLOW_CONN_SMARTEMAILING_TEST", json.dumps({**form, "extra": extra, **fields}))

    connect()
    return connect


def test_all_is_well(account: Any, connect: Any) -> None:
    works, sentence = SmartEmailingHook("smartemailing_test").test_connection()
    assert (works, sentence) == (True, f"{account.url} is reachable and accepts the API key of sandbox.")
    assert [each["path"] for each in account.requests()] == ["/api/v3/ping", "/api/v3/check-credentials"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "wrong-hush"}, "answered 401"),
        ({"host": "https://example.com/path"}, "host"),
        ({"login": ""}, "user name (login)"),
        ({"password": ""}, "API key (password)"),
        ({"extra": {"pause_seconds": "hush"}}, "pause_seconds"),
    ],
)
def test_what_is_wrong_comes_as_a_sentence(connect: Any, fields: dict[str, Any], said: str) -> None:
    connect(**fields)
    works, sentence = SmartEmailingHook("smartemailing_test").test_connection()
    assert not works
    assert said in sentence
    assert "wrong-hush" not in sentence


def test_an_unknown_connection_is_a_sentence_too() -> None:
    works, sentence = SmartEmailingHook("no_such_connection").test_connection()
    assert not works
    assert "no_such_connection" in sentence


def test_one_hook_one_client(account: Any, connect: Any) -> None:
    hook = SmartEmailingHook("smartemailing_test")
    assert hook.get_conn() is hook.client
    assert hook.client.settings.pause_seconds == 0.001
    assert hook.client.probe().startswith(account.url)
    hook.client.close()
