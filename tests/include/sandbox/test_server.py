"""The sandbox as a process: how it starts, says what is wrong, stops, survives being killed, and stays small."""

import email.utils
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.errors import ConfigError
from include.sandbox.__main__ import main
from include.sandbox.auth import digest_of
from include.sandbox.server import running
from include.sandbox.settings import Settings

FILES = "/v1/interactions/1234-5678/files"
COMMAND = [sys.executable, "-m", "include.sandbox"]


@contextmanager
def process(state: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A sandbox of its own; gives the process, its address and what it printed."""
    command = [*COMMAND, "--port", "0", "--state", str(state), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as started:
        try:
            assert started.stdout is not None
            printed = ""
            while "Ctrl-C" not in printed:
                line = started.stdout.readline()
                assert line, printed
                printed += line
            url = printed.splitlines()[0].split()[-1]
            for _ in range(500):
                if is_healthy(url):
                    break
                time.sleep(0.02)
            yield started, url, printed
        finally:
            started.kill()


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health", timeout=5) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except OSError:
        return False


def control(url: str, name: str) -> Any:
    with urllib.request.urlopen(f"{url}/_sandbox/{name}", timeout=30) as answer:
        return json.load(answer)


def signed() -> dict[str, str]:
    date = email.utils.formatdate(usegmt=True)
    digest = digest_of("POST", "multipart/form-data", date, FILES, "your_private_api_key")
    return {
        "Date": date,
        "Authorization": f"ApiAuth 1234-5678:{digest}",
        "Content-Type": "multipart/form-data; boundary=b",
    }


def upload(url: str, block: bytes, blocks: int) -> int:
    """Send a file of so many blocks, which is never held as a whole; gives the status."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="t.json"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    connection.putrequest("POST", FILES)
    for name, value in signed().items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(head) + len(block) * blocks + len(tail)))
    connection.endheaders(head)
    for _ in range(blocks):
        connection.send(block)
    connection.send(tail)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_it_is_and_stops_cleanly(tmp_path: Path, number: int) -> None:
    with process(tmp_path / "state") as (started, url, printed):
        for expected in (f"{url}/health", "1234-5678", "your_private_api_key", f"{url}/batches/", str(tmp_path)):
            assert expected in printed
        started.send_signal(number)
        rest, _ = started.communicate(timeout=30)
        assert started.returncode == 0
        assert rest.startswith("Stopped.")
        assert "Traceback" not in rest


def test_a_key_of_ones_own_is_not_printed(tmp_path: Path) -> None:
    keys = ("--private-key", "s3cret", "--tracker", "7-7", "--advisable-app-secret", "s3cret", "--pins-partial")
    with process(tmp_path / "state", *keys) as (_, url, printed):
        assert "s3cret" not in printed
        assert "7-7" in printed
        assert f"{url}/advisable\n" in printed


def test_it_stops_while_an_upload_hangs(tmp_path: Path) -> None:
    with process(tmp_path / "state") as (started, url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            headers = {"Host": "x", "Content-Length": "1000000", **signed()}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            connection.sendall(f"POST {FILES} HTTP/1.1\r\n{head}\r\n--b\r\nhalf".encode())
            while not list((tmp_path / "state" / "incoming").iterdir()):
                time.sleep(0.02)
            started.terminate()
            printed, _ = started.communicate(timeout=30)
            assert started.returncode == 0
            assert "Traceback" not in printed


def test_what_was_accepted_survives_a_kill(tmp_path: Path) -> None:
    line = b'{"session_id": "s1", "identity": "p1", "user_id": "u1", "created_at": "2024-01-01 00:00:00"}\n'
    with process(tmp_path / "state") as (started, url, _):
        assert upload(url, line * 1000, 20) == 200
        started.kill()
        started.wait(timeout=30)
    with process(tmp_path / "state") as (_, url, _):
        for _ in range(500):
            if control(url, "uploads")[0]["state"] != "processing":
                break
            time.sleep(0.02)
        assert control(url, "state")["transactions"] == 20_000


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says before it exits with 2."""
    try:
        code: Any = main(list(arguments))
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tracker", "abc"], "two numbers"),
        (["--types", "a=b"], "allowed are 1 to 1000"),
        (["--types", "a=1,a=2"], "twice"),
        (["--types", "a=1:magic"], "basket, discovery, popular"),
        (["--today", "yesterday"], "--today"),
        (["--publish-every", "0"], "publish_every"),
        (["--catalogue", "/nowhere.csv"], "/nowhere.csv"),
        (["--link-basic", "nobody"], "USER:PASSWORD"),
        (["--port", "http"], "--port"),
        (["--pins-details", "pages"], "fields"),
    ],
)
def test_a_wrong_setting_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, "--state", str(tmp_path / "state"), "--port", "0", *arguments)


def test_a_port_or_a_folder_that_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path / "state") as sandbox:
        port = sandbox.url.rsplit(":", 1)[1]
        assert "--port" in refused(capsys, "--state", str(tmp_path / "other"), "--port", port)
        assert "another sandbox" in refused(capsys, "--state", str(tmp_path / "state"), "--port", "0")
        with pytest.raises(ConfigError, match="another sandbox"), running(tmp_path / "state"):
            pass


def test_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, private_key="s3cret-1", link_bearer="s3cret-2")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"private_key": ""},
        {"state": Path("/tmp/a[1]")},
        {"upload_seconds": 0},
        {"publish_after": -1},
        {"link_basic": "a:b", "link_bearer": "c"},
        {"link_header": "no colon"},
        {"pins_details": "pages"},
        {"advisable_app_secret": ""},
    ],
)
def test_wrong_settings(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Settings(**{"state": tmp_path, **wrong})


def test_many_sandboxes_at_a_time(start: Callable[..., Any], tmp_path: Path) -> None:
    clients = [start(tmp_path / f"state{number}", tracker=f"{number}-1") for number in range(3)]
    assert len({client.url for client in clients}) == 3
    assert [client.control("state")["tracker"] for client in clients] == ["0-1", "1-1", "2-1"]


def test_a_large_upload_needs_little_memory(tmp_path: Path) -> None:
    """200 MB arrive, are checked and stored; measured in a process of its own."""
    line = b'{"session_id": "s%06d", "identity": "p1", "user_id": "u1", "created_at": "2024-01-01 00:00:00"}\n'
    block = b"".join(line % number for number in range(11_000))
    with process(tmp_path / "state") as (started, url, _):
        assert upload(url, block, 1) == 200
        while control(url, "uploads")[0]["state"] == "processing":
            time.sleep(0.02)
        watched, peak, done = psutil.Process(started.pid), [0], threading.Event()
        before = watched.memory_info().rss

        def watch() -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], watched.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert upload(url, block, 200_000_000 // len(block)) == 200
        while control(url, "uploads")[1]["state"] == "processing":
            time.sleep(0.05)
        done.set()
        watcher.join()
        assert control(url, "uploads")[1]["state"] == "accepted"
    assert peak[0] - before < 150_000_000
    assert list((tmp_path / "state" / "incoming").iterdir()) == []
