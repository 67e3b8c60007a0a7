"""The hooks: found by their connection type, looked up lazily, and a test button that always has a sentence."""

from collections.abc import Callable
from typing import Any

import pytest

from luigisbox.hooks import BatchLinkHook, LuigisBoxHook

Serve = Callable[[Callable[[Any], None]], str]


def test_all_is_well(shop: Any) -> None:
    works, sentence = LuigisBoxHook("luigisbox_test").test_connection()
    assert works
    assert "is reachable and accepts the key of tracker 1234-5678; the clocks agree" in sentence


def test_the_clock_is_wrong(shop: Any) -> None:
    shop.box.fault("skewed_clock", seconds=60)
    works, sentence = LuigisBoxHook("luigisbox_test").test_connection()
    assert not works
    assert "s behind theirs (too much: 5 s are allowed)" in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "wrong-hush"}, "answered 401"),
        ({"host": "http://127.0.0.1:9"}, "refused"),
        ({"login": "nonsense"}, "must look like 1234-5678"),
        ({"login": "9999-9999"}, "answered 40"),
        ({"password": ""}, "private key (password): is missing"),
    ],
)
def test_what_is_wrong_comes_as_a_sentence(shop: Any, fields: dict[str, Any], said: str) -> None:
    usual = {"host": shop.box.url, "login": shop.box.tracker, "password": shop.box.private_key}
    shop.connect("luigisbox_test", **{**usual, **fields})
    works, sentence = LuigisBoxHook("luigisbox_test").test_connection()
    assert not works
    assert said in sentence
    assert "hush" not in sentence


def test_an_unknown_connection_is_a_sentence_too() -> None:
    works, sentence = LuigisBoxHook("no_such_connection").test_connection()
    assert not works
    assert "no_such_connection" in sentence


def test_a_hook_looks_nothing_up_before_it_is_used() -> None:
    hook = LuigisBoxHook("no_such_connection")
    assert hook.luigisbox_conn_id == "no_such_connection"


def test_one_hook_one_client(shop: Any) -> None:
    hook = LuigisBoxHook("luigisbox_test")
    assert hook.get_conn() is hook.client
    assert hook.client.settings.base_url == shop.box.url


def test_uploads_through_the_hook(shop: Any, lines: Any, tmp_path: Any) -> None:
    hook = LuigisBoxHook("luigisbox_test")
    manifest = lines.write_chunks(tmp_path, lines.user_lines("u1"))
    assert hook.upload_users([tmp_path / "chunks/users-00000.json"], manifest).status == 200
    (chunk,) = lines.write_chunks(tmp_path, lines.purchase_lines(2), kind="transactions")["chunks"]
    assert hook.upload_transactions(tmp_path / chunk["name"], chunk).bytes == chunk["bytes"]


def test_the_host_of_a_result_link(shop: Any, serve: Serve) -> None:
    shop.connect("batch_test", host=serve(lambda request: request.reply(404)), password="hush")
    works, sentence = BatchLinkHook("batch_test").test_connection()
    assert works
    assert "answered 404" in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, "names no host"), ({"host": "http://127.0.0.1:9"}, "refused"), ({"host": "ftp://x"}, "host")],
)
def test_the_host_of_a_result_link_is_wrong(shop: Any, fields: dict[str, Any], said: str) -> None:
    shop.connect("batch_test", **fields)
    works, sentence = BatchLinkHook("batch_test").test_connection()
    assert not works
    assert said in sentence
