"""The session: time limits, redirects within one host, no .netrc, errors of the house."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vendor_http.errors import Redirected, Unreachable
from vendor_http.session import Timeouts, VendorSession, check_redirect, origin

Serve = Callable[[Callable[[Any], None]], str]


@pytest.mark.parametrize(
    ("url", "target", "absolute"),
    [
        ("https://a.example/x", "/y?z=1", "https://a.example/y?z=1"),
        ("https://a.example/x/", "y", "https://a.example/x/y"),
        ("http://a.example/x", "https://a.example/x", "https://a.example/x"),
        ("https://a.example:443/x", "https://A.example/y", "https://A.example/y"),
    ],
)
def test_redirects_within_a_host_are_followed(url: str, target: str, absolute: str) -> None:
    assert check_redirect(url, target) == absolute


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example/x", "https://b.example/x"),
        ("https://a.example/x", "//b.example/x"),
        ("https://a.example/x", "http://a.example/x"),
        ("https://a.example/x", "https://a.example:8443/x"),
        ("http://a.example:8080/x", "https://a.example/x"),
        ("https://a.example/x", "https://a.example@b.example/x"),
        ("https://a.example/x", "file:///etc/passwd"),
    ],
)
def test_redirects_to_elsewhere_are_refused(url: str, target: str) -> None:
    with pytest.raises(Redirected, match="another host"):
        check_redirect(url, target)


def test_origin_knows_the_usual_ports() -> None:
    assert origin("https://A.example/x") == ("https", "a.example", 443)
    assert origin("http://a.example:81") == ("http", "a.example", 81)


def test_a_get_follows_within_the_host(serve: Serve) -> None:
    def answer(request: Any) -> None:
        if request.path == "/here":
            request.reply(302, Location="/there")
        else:
            request.reply(200, request.path.encode())

    with VendorSession(Timeouts()) as session:
        assert session.get(serve(answer) + "/here").content == b"/there"


def test_a_get_does_not_follow_to_another_host(serve: Serve) -> None:
    asked: list[str] = []
    other = serve(lambda request: (asked.append(request.path), request.reply(200))[-1])
    url = serve(lambda request: request.reply(302, Location=other + "/steal"))
    with VendorSession(Timeouts()) as session, pytest.raises(Redirected, match="not followed"):
        session.get(url + "/x?token=hush")
    assert asked == []


def test_a_post_is_never_redirected(serve: Serve) -> None:
    asked: list[str] = []

    def answer(request: Any) -> None:
        asked.append(request.path)
        request.take()
        request.reply(307, Location="/again")

    with VendorSession(Timeouts()) as session:
        assert session.post(serve(answer) + "/x", data=b"body").status_code == 307
    assert asked == ["/x"]


def test_endless_redirects_end(serve: Serve) -> None:
    url = serve(lambda request: request.reply(302, Location="/again"))
    with VendorSession(Timeouts()) as session, pytest.raises(Redirected, match="more than 5"):
        session.get(url)


def test_netrc_is_never_read(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[Any] = []
    url = serve(lambda request: (seen.append(request.headers["Authorization"]), request.reply(200))[-1])
    with VendorSession(Timeouts()) as session:
        session.get(url)
    assert seen == [None]


def test_no_server_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with VendorSession(Timeouts()) as session, pytest.raises(Unreachable) as caught:
            session.get(f"http://127.0.0.1:{port}/x?token=hush")
    assert "refused" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_silent_server_is_unreachable(serve: Serve) -> None:
    release = threading.Event()
    url = serve(lambda request: (release.wait(10), request.reply(200))[-1])
    with VendorSession(Timeouts(read=0.1)) as session, pytest.raises(Unreachable, match=r"[Tt]imed? ?out"):
        session.get(url)
    release.set()


@pytest.mark.parametrize("proxied", [False, True], ids=["directly", "through a proxy"])
def test_a_body_is_introduced_to_its_socket(serve: Serve, proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Body:
        def __init__(self) -> None:
            self.peers: list[Any] = []

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Any:
            yield b"hello"

        def attach(self, connection: socket.socket) -> None:
            self.peers.append(connection.getpeername()[1])

    url = serve(lambda request: request.reply(200, request.take()))
    if proxied:
        monkeypatch.setenv("http_proxy", url)
    with VendorSession(Timeouts()) as session:
        body: Any = Body()
        assert session.post("http://vendor.example/" if proxied else url, data=body).content == b"hello"
    assert body.peers == [int(url.rpartition(":")[2])]
