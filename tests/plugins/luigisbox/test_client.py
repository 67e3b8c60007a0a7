"""The client against the sandbox, with each of its faults, and against servers that are worse than that."""

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.errors import BadInput, PipelineError
from luigisbox.client import Client, Settings, skew_sentence
from vendor_http.errors import (
    FateUnknown,
    Invalid,
    RateLimited,
    ServerError,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unreachable,
    VendorError,
)
from vendor_http.retry import Retry
from vendor_http.session import Timeouts

Serve = Callable[[Callable[[Any], None]], str]
USERS = "/v1/recommender/batching/"
FILES = "/v1/interactions/"


def send_users(client: Client, folder: Path, lines: Any, *contents: bytes) -> Any:
    manifest = lines.write_chunks(folder, *contents)
    return client.upload_users([folder / chunk["name"] for chunk in manifest["chunks"]], manifest)


def send_purchases(client: Client, folder: Path, lines: Any, content: bytes) -> Any:
    (chunk,) = lines.write_chunks(folder, content, kind="transactions")["chunks"]
    return client.upload_transactions(folder / chunk["name"], chunk)


def statuses(box: Any) -> list[int | None]:
    return [entry["status"] for entry in box.requests()]


def big_purchases(lines: Any) -> bytes:
    """More than the sockets' buffers hold, so that a reset in the middle is seen before the end was handed over."""
    block: bytes = lines.purchase_lines(400, size=50_000)
    return block


class TestUsers:
    def test_all_chunks_arrive_as_one_file(self, box: Any, lines: Any, tmp_path: Path) -> None:
        contents = [lines.user_lines("a", "b"), lines.user_lines("ž", 'c"d')]
        receipt = send_users(box.client(), tmp_path, lines, *contents)
        assert (receipt.status, receipt.attempts, receipt.bytes) == (200, 1, len(b"".join(contents)))
        assert receipt.started_at < receipt.finished_at
        upload = box.uploads("users")[-1]
        assert (upload["rows"], upload["sha256"], upload["bytes"]) == (4, receipt.sha256, receipt.bytes)

    def test_csv_too(self, box: Any, lines: Any, tmp_path: Path) -> None:
        manifest = lines.write_chunks(tmp_path, b'"a"\n"b""c"\n', form="csv")
        box.client().upload_users([tmp_path / "chunks/users-00000.csv"], manifest)
        upload = box.uploads("users")[-1]
        assert (upload["rows"], upload["format"]) == (2, "csv")

    def test_more_than_fits_is_refused_with_the_number_that_would_fit(self, box: Any) -> None:
        manifest = {"bytes": 600_000_000, "rows": 10_000_000, "sha256": "", "format": "json"}
        with pytest.raises(TooLarge, match="about 5,000,000 of these users would fit"):
            box.client().upload_users([], manifest)
        assert statuses(box) == []

    def test_an_empty_list_is_refused(self, box: Any, lines: Any, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="nothing to send"):
            send_users(box.client(), tmp_path, lines, b"")
        assert statuses(box) == []

    def test_an_unknown_format_is_refused(self, box: Any) -> None:
        with pytest.raises(PipelineError, match="format 'xls'"):
            box.client().upload_users([], {"bytes": 1, "rows": 1, "sha256": "", "format": "xls"})

    def test_a_missing_chunk_is_noticed_before_the_first_byte(self, box: Any, lines: Any, tmp_path: Path) -> None:
        manifest = lines.write_chunks(tmp_path, lines.user_lines("a"), lines.user_lines("b"))
        with pytest.raises(BadInput, match="Nothing was sent"):
            box.client().upload_users([tmp_path / "chunks/users-00000.json"], manifest)
        assert statuses(box) == []

    def test_a_changed_chunk_never_becomes_the_list(self, box: Any, lines: Any, tmp_path: Path) -> None:
        send_users(box.client(), tmp_path / "good", lines, lines.user_lines("good"))
        manifest = lines.write_chunks(tmp_path, lines.user_lines("a"))
        (tmp_path / "chunks/users-00000.json").write_bytes(lines.user_lines("z"))
        with pytest.raises(BadInput, match="SHA-256"):
            box.client().upload_users([tmp_path / "chunks/users-00000.json"], manifest)
        assert box.state()["user_set"]["rows"] == 1
        assert len([upload for upload in box.uploads("users") if upload["sha256"] == manifest["sha256"]]) == 0

    def test_401_is_permanent_and_says_the_clock_skew(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("skewed_clock", seconds=-90)
        client = box.client()
        with pytest.raises(Unauthorized, match=r"clock is (89|90|91) s ahead of theirs \(too much: 5 s are allowed\)"):
            send_users(client, tmp_path, lines, lines.user_lines("a"))
        assert statuses(box) == [401]

    def test_a_wrong_key_is_permanent(self, box: Any, lines: Any, tmp_path: Path) -> None:
        with pytest.raises(Unauthorized, match="the clocks agree") as caught:
            send_users(box.client(private_key="wrong-hush"), tmp_path, lines, lines.user_lines("a"))
        assert "hush" not in str(caught.value)
        assert statuses(box) == [401]

    def test_an_invalid_line_is_permanent(self, box: Any, lines: Any, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="line 2"):
            send_users(box.client(), tmp_path, lines, lines.user_lines("a") + b"{}\n")
        assert statuses(box) == [422]

    def test_429_waits_as_long_as_asked(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("429", retry_after=17)
        client = box.client()
        assert send_users(client, tmp_path, lines, lines.user_lines("a")).attempts == 2
        assert client.pauses == [17]
        assert statuses(box) == [429, 200]

    def test_429_with_a_long_pause_is_left_to_airflow(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("429", retry_after=600)
        with pytest.raises(RateLimited):
            send_users(box.client(), tmp_path, lines, lines.user_lines("a"))
        assert statuses(box) == [429]

    @pytest.mark.parametrize("status", ["500", "502", "503"])
    def test_5xx_is_tried_again(self, box: Any, lines: Any, tmp_path: Path, status: str) -> None:
        box.fault(status, times=2)
        assert send_users(box.client(), tmp_path, lines, lines.user_lines("a")).attempts == 3
        assert statuses(box) == [int(status), int(status), 200]

    def test_503_waits_as_long_as_asked(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("503", retry_after=17)
        client = box.client()
        assert send_users(client, tmp_path, lines, lines.user_lines("a")).attempts == 2
        assert client.pauses == [17]

    @pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -0000", "x"])
    def test_a_crazy_date_does_no_harm(self, serve: Serve, lines: Any, tmp_path: Path, date: str) -> None:
        def answer(request: Any) -> None:
            request.take()
            request.send_response_only(200)
            request.send_header("Date", date)
            request.send_header("Content-Length", "0")
            request.end_headers()

        client = Client(Settings(serve(answer), "1-2", "key"), Retry(attempts=1))
        assert send_users(client, tmp_path, lines, lines.user_lines("a")).status == 200

    def test_5xx_for_ever_gives_up(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("500", times=9)
        with pytest.raises(ServerError, match="answered 500"):
            send_users(box.client(), tmp_path, lines, lines.user_lines("a"))
        assert statuses(box) == [500] * 4

    @pytest.mark.parametrize("fault", ["reset_mid_body", "reset_after_store"])
    def test_a_lost_connection_is_tried_again_because_users_replace(
        self, box: Any, lines: Any, tmp_path: Path, fault: str
    ) -> None:
        box.fault(fault)
        assert send_users(box.client(), tmp_path, lines, lines.user_lines("a")).attempts == 2
        assert statuses(box) == [None, 200]


class TestTransactions:
    def test_a_file_arrives(self, box: Any, lines: Any, tmp_path: Path) -> None:
        content = lines.purchase_lines(10)
        receipt = send_purchases(box.client(), tmp_path, lines, content)
        assert receipt.status == 200
        assert box.uploads("transactions")[-1]["bytes"] == len(content)

    def test_more_than_1_gb_is_refused(self, box: Any) -> None:
        with pytest.raises(TooLarge, match="Nothing was sent"):
            box.client().upload_transactions(Path("x.json"), {"bytes": 1_000_000_001, "sha256": ""})

    def test_a_reset_after_the_end_is_never_sent_again(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("reset_after_store")
        with pytest.raises(FateUnknown, match="whether it was stored is unknown"):
            send_purchases(box.client(), tmp_path, lines, lines.purchase_lines(3))
        assert statuses(box) == [None]

    @pytest.mark.parametrize("status", ["500", "502", "503"])
    def test_5xx_after_the_end_is_never_sent_again(self, box: Any, lines: Any, tmp_path: Path, status: str) -> None:
        box.fault(status)
        with pytest.raises(FateUnknown, match=f"answered {status}"):
            send_purchases(box.client(), tmp_path, lines, lines.purchase_lines(3))
        assert statuses(box) == [int(status)]

    def test_a_refusal_is_not_stored_and_tried_again(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("429")
        assert send_purchases(box.client(), tmp_path, lines, lines.purchase_lines(3)).attempts == 2
        assert statuses(box) == [429, 200]

    def test_a_reset_in_the_middle_is_not_stored_and_tried_again(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("reset_mid_body", after_bytes=1_000_000)
        receipt = send_purchases(box.client(), tmp_path, lines, big_purchases(lines))
        assert receipt.attempts == 2
        assert statuses(box) == [None, 200]

    def test_no_connection_is_not_stored(self, lines: Any, tmp_path: Path) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            client = Client(Settings(url, "1-2", "key"), Retry(sleep=lambda _: None))
            with pytest.raises(Unreachable, match="nothing was stored"):
                send_purchases(client, tmp_path, lines, lines.purchase_lines(3))

    def test_a_silent_server_after_the_end_is_unknown(self, serve: Serve, lines: Any, tmp_path: Path) -> None:
        url = serve(lambda request: (request.take(), request.rfile.read(1))[-1])
        client = Client(Settings(url, "1-2", "key", timeouts=Timeouts(read=0.2)), Retry(sleep=lambda _: None))
        with pytest.raises(FateUnknown):
            send_purchases(client, tmp_path, lines, lines.purchase_lines(3))

    def test_an_early_success_is_unknown(self, serve: Serve, lines: Any, tmp_path: Path) -> None:
        def answer(request: Any) -> None:
            request.reply(200, b"{}")
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True

        client = Client(Settings(serve(answer), "1-2", "key"), Retry(sleep=lambda _: None))
        with pytest.raises(VendorError) as caught:
            send_purchases(client, tmp_path, lines, big_purchases(lines))
        assert not isinstance(caught.value, ServerError)

    def test_a_redirect_is_not_followed(self, serve: Serve, lines: Any, tmp_path: Path) -> None:
        asked: list[str] = []

        def answer(request: Any) -> None:
            asked.append(request.path)
            request.take()
            request.reply(307, Location="http://elsewhere.example/")

        client = Client(Settings(serve(answer), "1-2", "key"), Retry(sleep=lambda _: None))
        with pytest.raises(VendorError, match="The redirect is not followed"):
            send_purchases(client, tmp_path, lines, lines.purchase_lines(3))
        assert asked == ["/v1/interactions/1-2/files"]


class TestTime:
    def test_a_slow_vendor_is_given_up_on(self, box: Any, lines: Any, tmp_path: Path) -> None:
        box.fault("slow_read", bytes_per_second=1_000_000)
        content = big_purchases(lines)
        client = box.client(upload_seconds=1.5)
        with pytest.raises(TooSlow, match="all of it must arrive within"):
            send_purchases(client, tmp_path, lines, content)
        assert client.pauses == []
        assert all(upload["bytes"] != len(content) or upload["state"] != "accepted" for upload in box.uploads("users"))

    def test_the_next_file_is_refused_at_the_speed_of_the_last(self, box: Any, lines: Any, tmp_path: Path) -> None:
        client = box.client()
        client.bytes_per_second = 1.0
        with pytest.raises(TooSlow, match="Nothing was sent"):
            send_purchases(client, tmp_path, lines, lines.purchase_lines(30))
        assert statuses(box) == []

    def test_a_stalled_connection_is_cut(self, serve: Serve, lines: Any, tmp_path: Path) -> None:
        release = threading.Event()
        url = serve(lambda request: (release.wait(10), request.take(), request.reply(200))[-1])
        client = Client(Settings(url, "1-2", "key", timeouts=Timeouts(read=0.3)), Retry(attempts=1))
        with pytest.raises(Unreachable, match="nothing was stored"):
            send_purchases(client, tmp_path, lines, big_purchases(lines))
        release.set()


class TestProbe:
    def test_a_sentence_when_all_is_well(self, box: Any) -> None:
        sentence = box.client().probe()
        assert "is reachable and accepts the key of tracker 1234-5678" in sentence
        assert "the clocks agree to two seconds" in sentence
        assert [entry["path"] for entry in box.requests()] == ["/v1/recommender/pin/1234-5678/scopes"]

    def test_a_skewed_clock_is_named_before_it_hurts(self, box: Any) -> None:
        box.fault("skewed_clock", seconds=3)
        assert "behind theirs (within: 5 s are allowed)" in box.client().probe()

    def test_a_wrong_key(self, box: Any) -> None:
        with pytest.raises(Unauthorized, match="the clocks agree"):
            box.client(private_key="other").probe()

    @pytest.mark.parametrize(
        ("skew", "sentence"),
        [
            (None, "their clock is unknown"),
            (-0.4, "the clocks agree"),
            (1.7, "the clocks agree"),
            (7.2, "7 s ahead of theirs (too much"),
            (-3.0, "3 s behind theirs (within"),
        ],
    )
    def test_skew_in_words(self, skew: float | None, sentence: str) -> None:
        assert sentence in skew_sentence(skew)
