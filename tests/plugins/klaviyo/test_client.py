"""The client: what it asks, what it makes of answers, and what of each fault, over a real socket."""

import json
import socket
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from include.errors import ConfigError
from klaviyo.client import Client, Job
from klaviyo.connections import Settings
from vendor_http.errors import (
    Invalid,
    NotFound,
    PermanentError,
    RateLimited,
    Redirected,
    ServerError,
    TransientError,
    Unauthorized,
    Unreachable,
    Unreadable,
    VendorError,
)
from vendor_http.retry import Retry

FIELDS = ["external_id", "email"]


def names(client: Client, source: str = "all", **options: Any) -> list[str]:
    return [row["id"] for page in client.profiles(source, fields=FIELDS, **options) for row in page.rows]


def test_pages_come_until_there_is_no_next_one(vendor: Any, say: Any) -> None:
    vendor.says(say.page("P1", "P2", after="c1"), say.page(after="c2"), say.page("P3"))
    with vendor.client() as client:
        pages = list(client.profiles("all", fields=FIELDS))
    assert [[row["id"] for row in page.rows] for page in pages] == [["P1", "P2"], [], ["P3"]]
    assert [page.cursor for page in pages] == ["c1", "c2", None]
    usual = {"page[size]": "100", "fields[profile]": "external_id,email"}
    assert vendor.asked == [
        ("/api/profiles", usual),
        ("/api/profiles", {**usual, "page[cursor]": "c1"}),
        ("/api/profiles", {**usual, "page[cursor]": "c2"}),
    ]


def test_a_pull_goes_on_at_a_cursor(vendor: Any, say: Any) -> None:
    vendor.says(say.page("P3"))
    with vendor.client() as client:
        assert names(client, cursor="c2") == ["P3"]
    assert vendor.asked[0][1]["page[cursor]"] == "c2"


def test_every_request_carries_key_and_revision(vendor: Any, say: Any) -> None:
    vendor.says(say.page())
    with vendor.client(revision="2026-10-15") as client:
        names(client)
    headers = vendor.headers[0]
    assert headers["authorization"] == "Klaviyo-API-Key pk_hush"
    assert headers["revision"] == "2026-10-15"
    assert headers["accept"] == "application/vnd.api+json"


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("list:LIST01", "/api/lists/LIST01/profiles"),
        ("segment:SEGM01", "/api/segments/SEGM01/profiles"),
        ("list:../x?y", "/api/lists/..%2Fx%3Fy/profiles"),
    ],
)
def test_sources(vendor: Any, say: Any, source: str, path: str) -> None:
    vendor.says(say.page("P1"))
    with vendor.client() as client:
        assert names(client, source, consent=True) == ["P1"]
    assert vendor.asked[0][0] == path
    assert vendor.asked[0][1]["additional-fields[profile]"] == "subscriptions"
    assert vendor.asked[0][1]["fields[profile]"] == "external_id,email,subscriptions"


@pytest.mark.parametrize("source", ["", "list:", "lists:X", "LIST01", "all:1"])
def test_other_sources_are_refused(vendor: Any, source: str) -> None:
    with vendor.client() as client, pytest.raises(ConfigError, match="must be all, list:ID or segment:ID"):
        names(client, source)
    assert vendor.asked == []


def test_only_the_cursor_is_taken_from_the_link(vendor: Any, say: Any) -> None:
    vendor.says(say.page("P1", after="c1", host="https://evil.example"), say.page("P2"))
    with vendor.client() as client:
        assert names(client) == ["P1", "P2"]
    assert len(vendor.asked) == 2


@pytest.mark.parametrize("link", ["https://a.klaviyo.com/api/profiles", "", 7, {"href": "x"}, "http://[x"])
def test_a_link_without_a_cursor_is_no_end(vendor: Any, say: Any, link: Any) -> None:
    vendor.says({"data": say.rows("P1"), "links": {"next": link}})
    with vendor.client() as client, pytest.raises(Unreadable, match="GET /api/profiles: the link to the next page"):
        names(client)


def test_pages_that_go_round_in_a_circle_are_noticed(vendor: Any, say: Any) -> None:
    vendor.says(say.page("P1", after="c1"))
    with vendor.client() as client, pytest.raises(Unreadable, match="the same one again"):
        names(client)
    assert len(vendor.asked) == 2


@pytest.mark.parametrize("start", [None, "c0", "c2"])
@pytest.mark.parametrize(("before", "round_"), [(0, 2), (0, 3), (3, 2), (5, 7)])
def test_larger_circles_are_noticed_too(vendor: Any, say: Any, start: str | None, before: int, round_: int) -> None:
    way = [f"c{number}" for number in range(before + round_)]
    after = {None: way[0], **dict(zip(way, [*way[1:], way[before]], strict=True))}

    def answer(request: Any) -> None:
        asked = dict(parse_qsl(urlsplit(request.path).query)).get("page[cursor]")
        request.reply(200, json.dumps(say.page("P1", after=after.get(asked, way[0]))).encode())

    vendor.breaks(answer)
    with vendor.client() as client, pytest.raises(Unreadable, match="lead in a circle"):
        names(client, cursor=start)
    assert len(vendor.asked) <= 3 * len(way) + 2


def test_a_long_way_is_no_circle(vendor: Any, say: Any) -> None:
    vendor.says(*(say.page(f"P{number}", after=f"c{number}") for number in range(40)), say.page("P40"))
    with vendor.client() as client:
        assert len(names(client)) == 41


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Down for maintenance</html>", "is no JSON"),
        (b'{"data": [{"id": "P1"', "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "no JSON:API document"),
        (b"{}", "no JSON:API collection"),
        (b'{"data": {}, "links": {}}', "no JSON:API collection"),
        (b'{"data": [7], "links": {}}', "no JSON:API collection"),
        (b'{"data": [{"id": 7}], "links": {}}', "no JSON:API collection"),
        (b'{"data": [], "links": []}', "whether there is a next page"),
        (b'{"data": []}', "whether there is a next page"),
    ],
)
def test_what_is_no_document_is_an_error_that_waiting_mends(vendor: Any, say: Any, body: bytes, said: str) -> None:
    vendor.breaks(say.answer(body))
    with vendor.client() as client, pytest.raises(Unreadable, match=said) as caught:
        names(client)
    assert isinstance(caught.value, TransientError)
    assert str(caught.value).startswith("GET /api/profiles: ")


def test_broken_json_is_asked_for_again(vendor: Any, say: Any) -> None:
    vendor.breaks(say.answer(b"<html>")).says(say.page("P1"))
    with vendor.client() as client:
        assert names(client) == ["P1"]
    assert len(vendor.pauses) == 1


def test_odd_values_pass(vendor: Any, say: Any) -> None:
    body = rb'{"data": [{"id": "P1", "attributes": {"name": "\ud83d", "n": 12345678901234567890}}], "links": {}}'
    vendor.breaks(say.answer(body))
    with vendor.client() as client:
        (page,) = client.profiles("all", fields=FIELDS)
    assert page.rows[0]["attributes"] == {"name": "?", "n": 12345678901234567890}


def test_a_429_is_tried_again_after_the_vendors_pause(vendor: Any, say: Any) -> None:
    vendor.fails(429, "throttled", Retry_After="17").says(say.page("P1"))
    with vendor.client() as client:
        assert names(client) == ["P1"]
    assert vendor.pauses == [17]


def test_a_429_with_a_long_pause_is_for_airflow(vendor: Any) -> None:
    vendor.fails(429, "throttled", Retry_After="3600")
    with vendor.client() as client, pytest.raises(RateLimited) as caught:
        names(client)
    assert caught.value.retry_after == 3600
    assert vendor.pauses == []


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors_are_tried_again(vendor: Any, say: Any, status: int) -> None:
    vendor.fails(status).says(say.page("P1"))
    with vendor.client() as client:
        assert names(client) == ["P1"]
    assert len(vendor.pauses) == 1


def test_server_errors_that_last_come_out(vendor: Any) -> None:
    vendor.fails(503, title="Down")
    with vendor.client() as client, pytest.raises(ServerError, match="GET /api/profiles answered 503: Down"):
        names(client)
    assert len(vendor.asked) == 4


def test_an_answer_that_breaks_off_is_asked_for_again(vendor: Any, say: Any) -> None:
    def reset(request: Any) -> None:
        request.reply(200, b'{"data": [', Content_Length="1000")
        request.connection.shutdown(socket.SHUT_RDWR)

    vendor.breaks(reset).says(say.page("P1"))
    with vendor.client() as client:
        assert names(client) == ["P1"]
    assert len(vendor.asked) == 2


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, Invalid, "Connection: klaviyo_test, revision 2026-07-15."),
        (401, Unauthorized, "The key is refused. Connection: klaviyo_test."),
        (403, Unauthorized, "give it the scope. Connection: klaviyo_test."),
        (404, NotFound, "GET /api/lists/LIST01/profiles answered 404"),
    ],
)
def test_what_is_refused_is_not_asked_again(vendor: Any, status: int, kind: type[VendorError], said: str) -> None:
    vendor.fails(status, title="Bad.", said="'revision' jane.doe@example.com 'U-17'")
    with vendor.client() as client, pytest.raises(PermanentError) as caught:
        names(client, "list:LIST01")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert said in str(caught.value)
    assert f"answered {status}: Bad: 'revision' ja…@… '…' [bad] at /data/." in str(caught.value)
    assert len(vendor.asked) == 1


def test_a_redirect_to_another_host_gets_no_key(vendor: Any, serve: Any, say: Any) -> None:
    stolen: list[Any] = []

    def thief(request: Any) -> None:
        stolen.append(dict(request.headers))
        request.reply(200)

    vendor.breaks(say.answer(b"", 302, Location=serve(thief) + "/api/profiles"))
    with vendor.client() as client, pytest.raises(Redirected, match="another host"):
        names(client)
    assert stolen == []


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        pauses: list[float] = []
        client = Client(Settings(url, "pk_hush"), Retry(sleep=pauses.append), sleep=lambda _: None)
        with client, pytest.raises(Unreachable, match="refused"):
            names(client)
        with client, pytest.raises(Unreachable, match="refused"):
            client.create_import_job(b"{}")
    assert len(pauses) == 6


def test_lists_and_segments_are_counted(vendor: Any) -> None:
    counted = {"type": "list", "id": "LIST01", "attributes": {"name": "All", "profile_count": 12}}
    vendor.says({"data": counted})
    with vendor.client() as client:
        assert client.profile_count("list:LIST01") == 12
        assert client.profile_count("segment:SEGM01") == 12
        assert client.profile_count("all") is None
    assert vendor.asked == [
        ("/api/lists/LIST01", {"additional-fields[list]": "profile_count"}),
        ("/api/segments/SEGM01", {"additional-fields[segment]": "profile_count"}),
    ]


@pytest.mark.parametrize("count", [None, "12", 1.5, True])
def test_a_source_without_a_count_is_not_taken_for_empty(vendor: Any, count: Any) -> None:
    vendor.says({"data": {"id": "LIST01", "attributes": {"name": "All", "profile_count": count}}})
    with vendor.client() as client, pytest.raises(Unreadable, match="no profile_count"):
        client.profile_count("list:LIST01")


def test_an_import_job(vendor: Any) -> None:
    job = {"type": "profile-bulk-import-job", "id": "J1"}
    done = {"status": "Complete", "total_count": 3, "completed_count": 2, "failed_count": 1}
    refused = {"code": "invalid", "title": "Bad", "detail": "No", "source": {"pointer": "/data"}}
    vendor.says({"data": job}, status=202)
    vendor.says({"data": {**job, "attributes": done}})
    vendor.says({"data": [{"type": "import-error", "id": "E1", "attributes": refused}], "links": {"next": None}})
    with vendor.client() as client:
        assert client.create_import_job(b'{"data": 1}') == "J1"
        assert client.import_job("J1") == Job("J1", "complete", 3, 2, 1)
        assert list(client.import_errors("J1")) == [refused]
    path = "/api/profile-bulk-import-jobs"
    assert [asked for asked, _ in vendor.asked] == [path, f"{path}/J1", f"{path}/J1/import-errors"]
    assert vendor.bodies[0] == b'{"data": 1}'
    assert vendor.headers[0]["content-type"] == "application/vnd.api+json"


@pytest.mark.parametrize("missing", ["total_count", "completed_count", "failed_count"])
@pytest.mark.parametrize("count", [None, "1", 1.5, True])
def test_a_complete_job_that_does_not_count_is_not_taken_for_one_without_failures(
    vendor: Any, missing: str, count: Any
) -> None:
    counts = {"total_count": 3, "completed_count": 2, "failed_count": 1, missing: count}
    vendor.says({"data": {"id": "J1", "attributes": {"status": "Complete", **counts}}})
    with vendor.client() as client, pytest.raises(Unreadable, match="does not count its profiles"):
        client.import_job("J1")


def lost(request: Any) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("status", [500, 503])
def test_a_job_after_a_server_error_is_sent_again(vendor: Any, status: int) -> None:
    vendor.fails(status).says({"data": {"id": "J1"}}, status=202)
    with vendor.client() as client:
        assert client.create_import_job(b"x") == "J1"
    assert vendor.bodies == [b"x", b"x"]


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data": {}}'])
def test_a_job_without_an_id_is_sent_again(vendor: Any, say: Any, body: bytes) -> None:
    vendor.breaks(say.answer(body, 202)).says({"data": {"id": "J1"}}, status=202)
    with vendor.client() as client:
        assert client.create_import_job(b"x") == "J1"
    assert vendor.bodies == [b"x", b"x"]


def test_a_job_whose_answer_was_lost_is_sent_again(vendor: Any) -> None:
    vendor.breaks(lost).says({"data": {"id": "J1"}}, status=202)
    with vendor.client() as client:
        assert client.create_import_job(b"x") == "J1"
    assert vendor.bodies == [b"x", b"x"]


def test_what_keeps_a_job_from_being_made_comes_out(vendor: Any, say: Any) -> None:
    vendor.breaks(lost)
    with vendor.client() as client, pytest.raises(Unreachable, match="profile-bulk-import-jobs"):
        client.create_import_job(b"x")
    assert len(vendor.asked) == 4
    vendor.answers = [say.answer(b"{}", 503)]
    with vendor.client() as client, pytest.raises(ServerError, match="answered 503"):
        client.create_import_job(b"x")
    vendor.answers = [say.answer(b"{}", 202)]
    with vendor.client() as client, pytest.raises(Unreadable, match="POST /api/profile-bulk-import-jobs"):
        client.create_import_job(b"x")


def test_a_throttled_job_is_sent_again(vendor: Any) -> None:
    vendor.fails(429, Retry_After="1").says({"data": {"id": "J1"}}, status=202)
    with vendor.client() as client:
        assert client.create_import_job(b"{}") == "J1"
    assert vendor.pauses == [1]


def test_a_malformed_job_is_refused_with_the_place(vendor: Any) -> None:
    vendor.fails(400, "invalid", "Invalid input.", "'U-17' is bad")
    with vendor.client() as client, pytest.raises(Invalid, match=r"Invalid input: '…' is bad \[invalid\] at /data/"):
        client.create_import_job(b"{}")


def test_secrets_do_not_show(vendor: Any) -> None:
    assert "hush" not in repr(vendor.settings())
    vendor.says(json.loads('{"errors": [{"title": "No"}]}'), status=401)
    with vendor.client() as client:
        assert "hush" not in repr(client)
        with pytest.raises(Unauthorized) as caught:
            names(client)
    assert "hush" not in str(caught.value)
