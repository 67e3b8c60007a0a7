"""Looks and their repetition, with a clock that tests turn: conditions, jitter, deadline, one line per reason."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.errors import ConfigError
from include.recommendations.freshness import Seen
from luigisbox.connections import LinkAccess
from luigisbox.fetch import fetch_batch
from luigisbox.result_link import (
    HEAD_BYTES,
    Watch,
    look,
    open_store,
    public_link,
    resolve_link,
    store_headers,
    watch,
)
from luigisbox.watching import Surroundings
from tests.object_store import connection
from vendor_http import shared_transport as shared
from vendor_http.errors import PermanentError, Unreachable
from vendor_http.retry import Retry
from vendor_http.shared_transport import _transports, proxy_for, shared_transport

Serve = Callable[[Callable[[Any], None]], str]
SENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = "Fri, 01 May 2026 13:00:00 GMT"
EARLIER = "Fri, 01 May 2026 11:00:00 GMT"


class Night:
    """Surroundings in which a sleep only moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self.lines: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def info(self, line: str, *arguments: Any) -> None:
        self.lines.append(line % arguments)

    def run(self, url: str, **options: Any) -> dict[str, Any]:
        what = Watch(**{"url": url, "not_before": SENT, "deadline": 100.0, "poll_seconds": 10.0, **options})
        around = Surroundings(clock=lambda: self.now, sleep=self.sleep, chance=lambda: 0.5, log=self)
        return asyncio.run(watch(what, around))


class Answers:
    """A link that answers as told; the last answer stays."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.conditions: list[tuple[str | None, str | None]] = []

    def __call__(self, request: Any) -> None:
        self.conditions.append((request.headers["If-None-Match"], request.headers["If-Modified-Since"]))
        status, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        request.reply(status, b"" if status == 304 else b"x" * 10, **headers)


def test_looks_are_conditional_and_an_unchanged_link_keeps_its_reason(serve: Serve) -> None:
    answers = Answers((200, {"ETag": '"a"', "Last_Modified": EARLIER}), (304, {}), (503, {}), (304, {}))
    night = Night()
    event = night.run(serve(answers))
    why = f"last changed {EARLIER}, before 2026-05-01T12:00:00Z"
    assert event == {"status": "deadline", "reason": why}
    assert set(answers.conditions[1:]) == {('"a"', None)}
    assert [line.split(": ", 1)[0] for line in night.lines] == ["still waiting"] * 3
    assert "503" in night.lines[1]
    assert night.lines[0] == night.lines[2] == f"still waiting: {why}"


def test_without_an_etag_the_date_is_the_condition(serve: Serve) -> None:
    answers = Answers((200, {"Last_Modified": EARLIER}), (304, {}))
    Night().run(serve(answers))
    assert set(answers.conditions[1:]) == {(None, EARLIER)}


def test_the_first_look_is_conditional_on_what_was_refused(serve: Serve) -> None:
    answers = Answers((304, {}))
    event = Night().run(serve(answers), refused=[Seen(etag='"r"')], reason="it was made from the previous list")
    assert event == {"status": "deadline", "reason": "it was made from the previous list"}
    assert set(answers.conditions) == {('"r"', None)}


def test_what_was_refused_is_known_without_conditions_too(serve: Serve) -> None:
    answers = Answers((200, {"ETag": '"r"', "Last_Modified": LATER}))
    event = Night().run(serve(answers), refused=[Seen(etag='"r"')], reason="it is not whole")
    assert event == {"status": "deadline", "reason": "it is not whole"}


def test_something_new_is_found(serve: Serve) -> None:
    answers = Answers((404, {}), (200, {"ETag": '"b"', "Last_Modified": LATER}))
    night = Night()
    assert night.run(serve(answers), refused=[Seen(etag='"a"')])["status"] == "found"
    assert night.lines == ["still waiting: nothing is published at the link yet (answered 404)"]


def test_pauses_are_jittered_and_end_at_the_deadline(serve: Serve) -> None:
    night = Night()
    night.run(serve(Answers((404, {}))), deadline=33.0)
    assert night.sleeps == [5.0, 10.0, 10.0, 8.0]
    assert night.now == 33.0


def test_a_deadline_that_passed_is_the_end(serve: Serve) -> None:
    answers = Answers((404, {}))
    event = Night().run(serve(answers), deadline=-1.0, reason="it was stale")
    assert event == {"status": "deadline", "reason": "it was stale"}
    assert answers.conditions == []


def test_refused_credentials_end_the_watch(serve: Serve) -> None:
    assert Night().run(serve(Answers((401, {}))))["status"] == "error"


@pytest.mark.parametrize("status", [403, 404, 410, 429, 500, 503])
def test_these_are_waited_out(serve: Serve, status: int) -> None:
    found = asyncio.run(look(serve(Answers((status, {}))), LinkAccess()))
    assert str(status) in found.reason


def test_no_server_is_waited_out() -> None:
    found = asyncio.run(look("http://127.0.0.1:9/x?token=hush", LinkAccess()))
    assert found.reason.startswith("the link cannot be reached (ConnectError")
    assert "hush" not in found.reason


def test_a_look_reads_no_more_than_the_head(serve: Serve) -> None:
    sent: list[int] = []

    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(1 << 40))
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"x" * HEAD_BYTES)
                sent.append(HEAD_BYTES)
        except OSError:
            request.close_connection = True

    seen = asyncio.run(look(serve(answer), LinkAccess())).seen
    assert seen is not None
    assert seen.length == 1 << 40
    assert sum(sent) < 50_000_000


def test_endless_redirects_end(serve: Serve) -> None:
    url = serve(lambda request: request.reply(302, Location="/again"))
    with pytest.raises(PermanentError, match="more than 5 redirects"):
        asyncio.run(look(url, LinkAccess()))


@pytest.mark.parametrize("location", ["http://127.0.0.1:99999999/", "http://[half/", "http://127.0.0.1:port/"])
def test_a_redirect_to_nowhere_is_waited_out(serve: Serve, location: str, tmp_path: Path) -> None:
    url = serve(lambda request: request.reply(302, Location=location))
    assert len(asyncio.run(look(url, LinkAccess())).reason.splitlines()) == 1
    with pytest.raises(Unreachable):
        fetch_batch(url, LinkAccess(), (tmp_path, "shop"), tmp_path, "xml", 1000, Retry(attempts=1))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Length": "\u00b2"},
        {"Content_Length": "-1"},
        {"Content_Length": "9" * 5000},
        {"Last_Modified": "Fri, 01 May " + "9" * 30 + " 13:00:00 GMT"},
        {"ETag": '"\u00e1"'},
        {"Last_Modified": "\u00e1"},
    ],
    ids=["superscript", "negative", "endless", "year", "etag", "date"],
)
def test_headers_nobody_can_read_stop_no_wait(serve: Serve, headers: dict[str, str], tmp_path: Path) -> None:
    def answer(request: Any) -> None:
        request.reply(200, b"x" * 10, **headers)
        request.close_connection = True

    url = serve(answer)
    found = asyncio.run(look(url, LinkAccess()))
    assert len(found.reason.splitlines()) == (0 if found.seen else 1)
    if found.seen:
        asyncio.run(look(url, LinkAccess(), found.seen))
        assert Night().run(url)["status"] == "found"
    with contextlib.suppress(Unreachable):
        fetched = fetch_batch(url, LinkAccess(), (tmp_path, "shop"), tmp_path, "xml", 1000, Retry(attempts=1))
        assert fetched.seen.etag is None


def test_waits_share_one_transport_that_is_closed_after_the_last(serve: Serve) -> None:
    url = serve(Answers((404, {})))

    async def share() -> None:
        async with shared_transport(url, True) as first:
            async with shared_transport(url, True) as second, shared_transport(url, False) as other:
                assert first is second
                assert first is not other
            await look(url, LinkAccess())
            assert len(first._pool.connections) == 1
        assert first._pool.connections == []

    asyncio.run(share())
    assert _transports == {}


def test_looks_share_a_connection(serve: Serve) -> None:
    peers: set[Any] = set()
    answers = Answers((200, {"ETag": '"a"', "Last_Modified": EARLIER}), (304, {}), (404, {}), (304, {}))

    def answer(request: Any) -> None:
        peers.add(request.client_address)
        answers(request)

    url = serve(answer)

    async def looks() -> None:
        async with shared_transport(url, True):
            for _ in range(6):
                await look(url, LinkAccess())

    asyncio.run(looks())
    assert len(peers) == 1


def test_many_waits_at_once_open_one_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    url = "https://x.example/"
    original = shared._context
    monkeypatch.setattr(shared, "_context", lambda verify: (opened.append(verify), original(verify))[-1])

    async def one() -> None:
        async with shared_transport(url, True):
            await asyncio.sleep(0.05)

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(100)))

    asyncio.run(many())
    assert opened == [True]


def test_a_wait_that_is_cancelled_while_the_transport_opens_leaves_nothing() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(look("http://127.0.0.1:9/", LinkAccess()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert _transports == {}


def test_certificates_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match="verify: /no/such/file"):
        asyncio.run(look("https://127.0.0.1:9/", LinkAccess(verify="/no/such/file")))
    assert _transports == {}


def test_looks_go_through_the_environments_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("http_proxy", serve(lambda request: (asked.append(request.path), request.reply(404))[-1]))
    assert "404" in asyncio.run(look("http://vendor.example/b.xml", LinkAccess())).reason
    assert asked == ["http://vendor.example/b.xml"]


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://vendor.example/", "http://proxy.example:3128"),
        ("https://vendor.example/", "http://secure.example:3128"),
        ("https://me@inside.example:8080/", None),
    ],
)
def test_proxies_of_the_environment(url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("https_proxy", "secure.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for(url) == proxy


def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://me:hush@proxy.example")
    with pytest.raises(ConfigError, match="a proxy that cannot be used") as caught:
        asyncio.run(look("http://vendor.example/", LinkAccess()))
    assert "hush" not in str(caught.value)


def test_cookies_are_not_kept(serve: Serve) -> None:
    seen: list[str | None] = []

    def answer(request: Any) -> None:
        seen.append(request.headers["Cookie"])
        request.reply(404, Set_Cookie="session=1")

    url = serve(answer)

    async def twice() -> None:
        async with shared_transport(url, True):
            await look(url, LinkAccess())
            await look(url, LinkAccess())

    asyncio.run(twice())
    assert seen == [None, None]


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://me:hush@x.example/b.xml?token=hush#hush", "https://x.example/b.xml?…"),
        ("http://x.example:8080/b.xml", "http://x.example:8080/b.xml"),
        ("file:///a/b.xml", "file:///a/b.xml"),
        ("s3://conn@bucket/b.xml", "s3://bucket/b.xml"),
    ],
)
def test_links_are_shown_without_secrets(link: str, shown: str) -> None:
    assert public_link(link) == shown


def test_links_are_resolved_against_their_connection() -> None:
    access = LinkAccess(base_url="https://x.example")
    assert resolve_link("/b.xml", access) == "https://x.example/b.xml"
    assert resolve_link("https://x.example:443/b.xml", access) == "https://x.example:443/b.xml"
    with pytest.raises(ConfigError, match="is not on the host"):
        resolve_link("http://x.example/b.xml", access)
    with pytest.raises(ConfigError, match="names the host"):
        resolve_link("/b.xml", LinkAccess())


@pytest.mark.parametrize(
    ("stat", "headers"),
    [
        (
            {"size": 5, "ETag": '"abc"', "LastModified": datetime(2026, 5, 1, 13, tzinfo=UTC)},
            {"etag": '"abc"', "last-modified": LATER, "content-length": "5"},
        ),
        (
            {"size": 5, "etag": "abc", "mtime": datetime(2026, 5, 1, 13, tzinfo=UTC)},
            {"etag": "abc", "last-modified": LATER, "content-length": "5"},
        ),
        ({"size": 5}, {"content-length": "5"}),
    ],
    ids=["s3", "gs", "bare"],
)
def test_what_stores_say_in_the_words_of_http(stat: dict[str, Any], headers: dict[str, str]) -> None:
    assert store_headers(stat) == headers


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no.such.host.invalid"])
def test_a_store_that_cannot_be_reached_is_waited_for(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries of the stores have errors of their own."""
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    for name, value in connection(endpoint, "away", config_kwargs={"retries": {"max_attempts": 1}}).items():
        monkeypatch.setenv(name, value)
    link, access = "s3://away@bucket/b.xml", LinkAccess()
    assert asyncio.run(look(link, access)).reason.startswith("the link cannot be read: s3://bucket/b.xml: the object")
    with pytest.raises(Unreachable, match="the object store"):
        fetch_batch(link, access, (tmp_path, "shop"), tmp_path, "xml", 10_000, Retry(attempts=1))


def test_a_store_without_its_provider() -> None:
    with pytest.raises(ConfigError, match="install its Airflow provider"):
        open_store("gs://bucket/b.xml", LinkAccess())


def test_the_default_log_is_a_logger() -> None:
    assert isinstance(Surroundings().log, logging.Logger)
