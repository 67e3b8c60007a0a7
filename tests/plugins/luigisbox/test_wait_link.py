"""What lies at the link, and how it is opened: files, stores, protected links, and answers that are no batch."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.errors import ConfigError
from luigisbox.wait import NoBatchInTime
from tests.plugins.luigisbox.waits import BOTH, Played, document, soon
from vendor_http.errors import PermanentError

Serve = Callable[[Callable[[Any], None]], str]


def test_the_collections_of_smartemailing_from_a_file(shop: Any, tmp_path: Path) -> None:
    product = {"id": "1", "url": "https://x.example/1?recommendation_id=7", "title": "One", "image_link": None}
    lines = [{"id": user, "data": {"mail-recommender-1": [product]}} for user in ("u1", "u2", "default")]
    shop.accepted("one", "u1", "u2")
    path = tmp_path / "collection.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(path, (time.time() + 5,) * 2)
    shop.configure(form="json", link=path.as_uri(), connection="")
    result = Played(True).run()
    assert (result["outcome"], result["users"], result["rows"]) == ("fresh", 2, 2)


@BOTH
def test_nothing_published_yet(shop: Any, deferrable: bool, serve: Serve) -> None:
    shop.accepted("one", "u1")
    shop.connect("batch_test", host=serve(lambda request: request.reply(404)))
    with pytest.raises(NoBatchInTime, match=r"Last reason: nothing is published at the link yet \(answered 404\)"):
        Played(deferrable, deadline=soon(0.5)).run()


def test_a_connection_that_breaks_during_the_fetch(shop: Any, serve: Serve) -> None:
    asked: list[int] = []
    whole = document("u1")

    def answer(request: Any) -> None:
        asked.append(1)
        if len(asked) in (2, 3):
            request.reply(200, whole[:100], Content_Length=str(len(whole)), ETag='"x"')
            request.close_connection = True
        else:
            request.reply(200, whole, ETag='"x"')

    shop.connect("batch_test", host=serve(answer))
    shop.accepted("one", "u1")
    shop.patch_retry()
    assert Played(True).run()["outcome"] == "fresh"
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html><body>Maintenance</body></html>", "what the link shows is not a batch"),
        (b'<!DOCTYPE users [<!ENTITY a "aa">]><users></users>', "what the link shows is not a batch"),
        (b"", "the batch is not whole"),
        (b"x" * 20_000, "longer than batch.max_bytes"),
    ],
    ids=["page", "bomb", "empty", "long"],
)
def test_what_is_no_batch_is_waited_out(shop: Any, serve: Serve, content: bytes, reason: str) -> None:
    shop.configure(max_bytes=10_000)
    shop.connect("batch_test", host=serve(lambda request: request.reply(200, content)))
    shop.accepted("one", "u1")
    with pytest.raises(NoBatchInTime) as caught:
        Played(True, deadline=soon(0.6)).run()
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({"login": "me", "password": "hush"}, "Authorization", "Basic bWU6aHVzaA=="),
        ({"password": "hush"}, "Authorization", "Bearer hush"),
        ({"extra": '{"headers": {"X-Key": "hush"}}'}, "X-Key", "hush"),
    ],
)
def test_the_link_is_opened_by_its_connection(
    shop: Any, serve: Serve, fields: dict[str, Any], header: str, value: str
) -> None:
    seen: list[str | None] = []

    def answer(request: Any) -> None:
        seen.append(request.headers[header])
        request.reply(200, document("u1"))

    shop.connect("batch_test", host=serve(answer), **fields)
    shop.accepted("one", "u1")
    assert Played(True).run()["outcome"] == "fresh"
    assert seen == [value, value]


def test_redirects_stay_on_the_host(shop: Any, serve: Serve) -> None:
    asked: list[str] = []

    def answer(request: Any) -> None:
        asked.append(request.path)
        if request.path.startswith("/batches"):
            request.reply(302, Location="/elsewhere")
        else:
            request.reply(200, document("u1"))

    shop.connect("batch_test", host=serve(answer), password="hush")
    shop.accepted("one", "u1")
    assert Played(True).run()["outcome"] == "fresh"
    stolen: list[str] = []
    other = serve(lambda request: (stolen.append(request.path), request.reply(200))[-1])
    shop.connect("batch_test", host=serve(lambda request: request.reply(302, Location=other)), password="hush")
    with pytest.raises(PermanentError, match="another host"):
        Played(True).run()
    assert stolen == []


def test_a_link_elsewhere_does_not_get_the_connections_secrets(shop: Any) -> None:
    shop.configure(link="https://elsewhere.example/batch.xml")
    shop.accepted("one", "u1")
    with pytest.raises(ConfigError, match="is not on the host of its connection"):
        Played(True).run()


def test_a_file_is_a_link_too(shop: Any, tmp_path: Path) -> None:
    path = tmp_path / "batch.xml"
    shop.configure(link=path.as_uri(), connection="")
    shop.accepted("one", "u1")
    with pytest.raises(NoBatchInTime, match="no such file"):
        Played(True, deadline=soon(0.4)).run()
    path.write_bytes(document("u1", "default"))
    result = Played(True).run()
    assert (result["outcome"], result["users"]) == ("fresh", 1)
    assert path.exists()


def test_an_object_store_is_a_link_too(shop: Any, tmp_path: Path) -> None:
    import fsspec
    from airflow.sdk.io import attach

    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/batch.xml", document("u1"))
    attach("memory", fs=store)
    from luigisbox.connections import LinkAccess
    from luigisbox.fetch import fetch_batch
    from luigisbox.result_link import look

    seen = asyncio.run(look("memory://bucket/batch.xml", LinkAccess())).seen
    fetched = fetch_batch("memory://bucket/batch.xml", LinkAccess(), (shop.root, "shop"), tmp_path, "xml", 10_000)
    assert seen == fetched.seen
    assert (fetched.folder / "raw.xml").read_bytes() == document("u1")
