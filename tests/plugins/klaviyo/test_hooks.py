"""The hook: looked up lazily, and a test button that always has a sentence."""

import json
from typing import Any

import pytest

from klaviyo.hooks import KlaviyoHook


@pytest.fixture
def connect(vendor: Any, say: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def connect(**fields: Any) -> KlaviyoHook:
        form = {"conn_type": "klaviyo", "host": vendor.url, "password": say.key, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(form))
        return KlaviyoHook("klaviyo_test")

    return connect


def test_all_is_well(vendor: Any, say: Any, connect: Any) -> None:
    vendor.says(say.page("LIST01"))
    works, sentence = connect().test_connection()
    assert works
    assert sentence == f"{vendor.url} is reachable and accepts the key and revision 2026-07-15."
    assert vendor.asked == [("/api/lists", {"page[size]": "1"})]


def test_the_button_tries_once(vendor: Any, connect: Any) -> None:
    vendor.fails(503, title="Down")
    works, sentence = connect().test_connection()
    assert not works
    assert "answered 503: Down" in sentence
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("status", "title", "said"),
    [
        (401, "Incorrect authentication credentials.", "The key is refused. Connection: klaviyo_test."),
        (403, "You do not have permission.", "The key may not do this: give it the scope. Connection: klaviyo_test."),
        (400, "Invalid revision", "Connection: klaviyo_test, revision 2026-07-15."),
        (410, "The revision is retired", "Connection: klaviyo_test, revision 2026-07-15."),
        (404, "", "Check host, path and account."),
        (302, "", "set the right host on the connection"),
    ],
)
def test_what_is_refused_comes_as_a_sentence(vendor: Any, connect: Any, status: int, title: str, said: str) -> None:
    vendor.fails(status, title=title)
    works, sentence = connect().test_connection()
    assert not works
    assert said in sentence
    assert title.rstrip(".") in sentence
    assert "hush" not in sentence


def test_another_server_is_a_sentence(vendor: Any, say: Any, connect: Any) -> None:
    vendor.breaks(say.answer(b"<html>Welcome</html>"))
    works, sentence = connect().test_connection()
    assert not works
    assert "the answer is no JSON" in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"password": ""}, "is missing"), ({"host": "ftp://x"}, "host: came")],
)
def test_what_is_wrong_with_the_connection_comes_too(connect: Any, fields: dict[str, Any], said: str) -> None:
    works, sentence = connect(**fields).test_connection()
    assert not works
    assert said in sentence


def test_nobody_there(connect: Any) -> None:
    works, sentence = connect(host="http://127.0.0.1:9").test_connection()
    assert not works
    assert "refused" in sentence


def test_an_unknown_connection_is_a_sentence() -> None:
    works, sentence = KlaviyoHook("no_such_connection").test_connection()
    assert not works
    assert "no_such_connection" in sentence


def test_one_hook_one_client(vendor: Any, connect: Any) -> None:
    hook = connect()
    assert hook.get_conn() is hook.client
    assert hook.client.settings.base_url == vendor.url
    assert "hush" not in repr(hook.client.settings)
