"""The result link: validators, ranges, compression, credentials."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from include.sandbox.link import accepts_gzip


@pytest.fixture(scope="module")
def published(shared: Any, purchases: Any) -> Any:
    shared.send_users([f"u{number}" for number in range(10)])
    shared.send_purchases(purchases)
    shared.publish(today="2024-05-20")
    return shared


def test_nothing_is_there_before_the_first_batch(client: Any) -> None:
    assert client.link().status_code == 404
    assert client.link("json", "HEAD").status_code == 404


@pytest.mark.parametrize("form", ["xml", "json"])
def test_a_get_and_a_head_say_the_same(published: Any, form: str) -> None:
    got, head = published.link(form), published.link(form, "HEAD")
    record = published.control("state")["batch"]["files"][form]
    assert (len(got.content), hashlib.sha256(got.content).hexdigest()) == (record["bytes"], record["sha256"])
    for name in ("ETag", "Last-Modified", "Content-Length", "Content-Type", "Vary", "Accept-Ranges"):
        assert got.headers[name] == head.headers[name]
    assert got.headers["ETag"].startswith('"')
    assert head.content == b""


def test_what_is_known_is_not_sent_again(published: Any) -> None:
    got = published.link()
    etag, modified = got.headers["ETag"], got.headers["Last-Modified"]
    for headers in (
        {"If_None_Match": etag},
        {"If_None_Match": f'"other", W/{etag}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": modified},
        {"If_None_Match": etag, "If_Modified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        answer = published.link(**headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    for headers in (
        {"If_None_Match": '"other"'},
        {"If_None_Match": '"other"', "If_Modified_Since": modified},
        {"If_Modified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"If_Modified_Since": "rubbish"},
    ):
        assert published.link(**headers).status_code == 200


def test_ranges(published: Any) -> None:
    whole = published.link()
    size, etag = len(whole.content), whole.headers["ETag"]
    for header, expected in (
        ("bytes=0-9", (0, 10)),
        (f"bytes=10-{size + 99}", (10, size)),
        ("bytes=100-", (100, size)),
        ("bytes=-5", (size - 5, size)),
        (f"bytes=-{size + 99}", (0, size)),
    ):
        answer = published.link(Range=header, If_Range=etag)
        assert answer.status_code == 206
        assert answer.content == whole.content[slice(*expected)]
        assert answer.headers["Content-Range"] == f"bytes {expected[0]}-{expected[1] - 1}/{size}"
    assert published.link(Range="bytes=0-9", If_Range=whole.headers["Last-Modified"]).status_code == 206


def test_ranges_that_are_not_served(published: Any) -> None:
    size = len(published.link().content)
    for header in (f"bytes={size}-", "bytes=-0"):
        answer = published.link(Range=header)
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    for headers in (
        {"Range": "bytes=0-9", "If_Range": '"another version"'},
        {"Range": "bytes=0-1,5-9"},
        {"Range": "bytes=9-5"},
        {"Range": "lines=0-9"},
        {"Range": "bytes=-"},
    ):
        answer = published.link(**headers)
        assert (answer.status_code, len(answer.content)) == (200, size)
    assert published.link(method="HEAD", Range="bytes=0-9").status_code == 200


def test_compressed_only_when_asked_for(published: Any) -> None:
    plain = published.link()
    assert "Content-Encoding" not in plain.headers
    packed = published.session.get(
        published.url + "/batches/1234-5678.xml", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=30
    )
    raw = packed.raw.read(decode_content=False)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert int(packed.headers["Content-Length"]) == len(raw) < len(plain.content)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert published.link(Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"]).status_code == 304
    assert published.link(If_None_Match=packed.headers["ETag"]).status_code == 200


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("GZIP", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
    ],
)
def test_who_asks_for_gzip(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


def test_a_new_batch_has_new_validators(published: Any) -> None:
    before = published.link()
    published.send_users(["u1"])
    published.publish(today="2024-05-20")
    after = published.link(If_None_Match=before.headers["ETag"])
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.content != before.content


@pytest.mark.parametrize(
    ("setting", "header", "value"),
    [
        ({"link_basic": "user:pässword"}, "Authorization", "Basic dXNlcjpww6Rzc3dvcmQ="),
        ({"link_bearer": "token-7"}, "Authorization", "Bearer token-7"),
        ({"link_header": "X-Api-Key: k7"}, "X-Api-Key", "k7"),
    ],
)
def test_a_link_that_demands_credentials(
    start: Callable[..., Any], setting: dict[str, str], header: str, value: str
) -> None:
    client = start(**setting)
    client.publish()
    refused = client.link()
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"]
    assert client.link(**{header.replace("-", "_"): value + "x"}).status_code == 401
    assert client.link(**{header.replace("-", "_"): value}).status_code == 200


def test_only_its_own_tracker(published: Any) -> None:
    for path in ("/batches/9-9.xml", "/batches/1234-5678.csv", "/batches/1234-5678"):
        assert published.session.get(published.url + path, timeout=30).status_code == 404
