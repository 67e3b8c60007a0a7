"""The hook: looked up lazily, and a test button that always has a sentence."""

import json
from typing import Any

import pytest

from advisable.hooks import AdvisableHook

from .conftest import TIME, Box


@pytest.fixture
def connect(box: Box, monkeypatch: pytest.MonkeyPatch) -> Any:
    def connect(**fields: Any) -> AdvisableHook:
        known = {"conn_type": "advisable", "host": box.url, "login": "sandbox", "password": "sandbox_secret"}
        monkeypatch.setenv("AIRFLOW_CONN_ADVISABLE_TEST", json.dumps({**known, **fields}))
        return AdvisableHook("advisable_test")

    return connect


def test_all_is_well(connect: Any, box: Box) -> None:
    works, sentence = connect().test_connection()
    assert works
    assert sentence.startswith(f"{box.url} is reachable and accepts the credentials of app sandbox")
    assert len(box.requests()) == 1


def test_a_path_that_is_not_there_is_said_to_be_doubtful(connect: Any) -> None:
    works, sentence = connect(extra={"paths": {"purchase": "sales"}}).test_connection()
    assert works
    assert "check the host if sending fails" in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "wrong"}, "Connection: advisable_test."),
        ({"password": ""}, "is missing"),
        ({"host": "http://127.0.0.1:9"}, "refused"),
        ({"host": "ftp://x"}, "host: came"),
    ],
)
def test_what_is_wrong_is_a_sentence(connect: Any, fields: dict[str, Any], said: str) -> None:
    works, sentence = connect(**fields).test_connection()
    assert not works
    assert said in sentence
    assert "wrong" not in sentence


def test_the_hook_speaks_as_its_client(connect: Any, box: Box) -> None:
    hook = connect()
    assert hook.get_conn() is hook.client
    hook.create("view", {"user_id": "a", "item_id": "i", "timestamp": TIME})
    hook.create_purchases([{"user_id": "a", "item_id": "i", "timestamp": TIME}])
    hook.transfer("a", "b")
    hook.change_external_id("b", "c")
    assert len(hook.list_by_user("c", "view")) == len(hook.list_by_item("i", "purchase")) == 1
    hook.delete("view", user_id="c")
    hook.delete("purchase", all=True)
    assert not box.stored()
