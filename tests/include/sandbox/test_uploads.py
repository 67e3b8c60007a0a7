"""Uploads over a real socket: what replaces, what accumulates, what is refused, and what a restart keeps."""

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

USERS = "/v1/recommender/batching/1234-5678/users"
FILES = "/v1/interactions/1234-5678/files"
ONE = ("s1", "p1", "u1", "2024-01-01 00:00:00")


def test_users_replace_the_stored_set(client: Any) -> None:
    assert client.send_users(["u1", "u2", "u2"]).status_code == 200
    assert client.control("state")["users"] == 2
    assert client.send_users(["u3"]).json() == {}
    assert client.control("state")["users"] == 1


def test_one_bad_user_leaves_the_stored_set_alone(client: Any) -> None:
    client.send_users(["u1", "u2"])
    answer = client.send_users(["u3", "default"])
    assert answer.status_code == 422
    assert answer.json()["line"] == 2
    assert "reserved" in answer.json()["reason"]
    assert client.control("state")["users"] == 2
    assert [each["state"] for each in client.control("uploads")] == ["accepted", "cancelled"]


def test_users_as_csv_need_no_extension(client: Any) -> None:
    assert client.send(USERS, "users.csv", '"u1"\n"u2"\n').ok
    assert client.send(USERS, "users", '"u1"\n').ok
    assert client.send(USERS, "users", '{"user_id": "u1"}').ok
    assert [each["format"] for each in client.control("uploads")] == ["csv", "csv", "json"]


@pytest.mark.parametrize(("name", "content"), [("users.csv", '{"auth_user_id": "u"}'), ("users.json", '"u"\n')])
def test_extension_and_content_must_agree(client: Any, name: str, content: str) -> None:
    answer = client.send(USERS, name, content)
    assert answer.status_code == 422
    assert "extension" in answer.json()["reason"]


def test_transactions_need_a_documented_extension(client: Any) -> None:
    answer = client.send(FILES, "purchases.txt", '"s","p"\n')
    assert answer.status_code == 422
    assert ".txt" in answer.json()["reason"]


def test_transactions_accumulate_and_count_twice_when_sent_twice(client: Any) -> None:
    for _ in range(2):
        assert client.send_purchases([ONE, ("s2", "p2", "u1")]).status_code == 200
    state = client.control("state")
    assert (state["transactions"], state["sessions"], state["straddling_sessions"]) == (4, 2, 2)


def test_one_bad_line_cancels_the_whole_file(client: Any) -> None:
    client.send_purchases([ONE])
    assert client.send_purchases([ONE, ("s2", "p2", "u2", "yesterday"), ("s3", "")]).status_code == 200
    last = client.settled()[-1]
    assert (last["state"], last["line"]) == ("cancelled", 2)
    assert "created_at" in last["reason"]
    assert client.control("state")["transactions"] == 1


def test_an_upload_is_listed_with_what_arrived(client: Any) -> None:
    content = b'"s1","p1"\r\n"s2","p2","u2"\r\n'
    client.send(FILES, "purchases.CSV", content)
    (upload,) = client.settled()
    assert (upload["bytes"], upload["rows"], upload["kind"], upload["format"]) == (
        len(content),
        2,
        "transactions",
        "csv",
    )
    assert upload["sha256"] == hashlib.sha256(content).hexdigest()


def test_another_field_is_refused(client: Any) -> None:
    answer = client.send(USERS, "u.json", '{"auth_user_id": "u"}', field="users")
    assert (answer.status_code, "'file'" in answer.json()["reason"]) == (422, True)


def test_a_body_that_is_not_a_form_is_refused(client: Any) -> None:
    headers = client.headers("POST", "application/json", USERS) | {"Content-Type": "application/json"}
    answer = client.session.post(client.url + USERS, data='{"auth_user_id": "u"}', headers=headers, timeout=30)
    assert (answer.status_code, "multipart" in answer.json()["reason"]) == (422, True)


@pytest.mark.parametrize(("path", "setting"), [(USERS, "users_limit"), (FILES, "transactions_limit")])
@pytest.mark.parametrize("size", [1_001, 200_000, 30_000_000])
def test_too_large_is_answered_even_while_the_client_sends(
    start: Callable[..., Any], path: str, setting: str, size: int
) -> None:
    client = start(**{setting: 1_000})
    answer = client.send(path, "u.json", b"x" * size)
    assert answer.status_code == 413
    assert "1,000 bytes" in answer.json()["reason"]
    assert client.control("uploads") == []


def test_a_body_of_unknown_length_is_measured_as_it_comes(start: Callable[..., Any]) -> None:
    client = start(users_limit=1_000)

    def body(lines: int) -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="u.json"\r\n\r\n'
        for number in range(lines):
            yield json.dumps({"auth_user_id": f"u{number}"}).encode() + b"\n"
        yield b"\r\n--b--\r\n"

    headers = client.headers("POST", "multipart/form-data", USERS)
    headers["Content-Type"] = "multipart/form-data; boundary=b"
    assert client.session.post(client.url + USERS, data=body(9), headers=headers, timeout=30).status_code == 200
    assert client.session.post(client.url + USERS, data=body(99), headers=headers, timeout=30).status_code == 413


def test_exactly_the_limit_passes(start: Callable[..., Any]) -> None:
    content = b'{"auth_user_id": "u"}\n' * 10
    client = start(users_limit=len(content))
    assert client.send(USERS, "u.json", content).status_code == 200
    assert client.send(USERS, "u.json", content + b"\n").status_code == 413


def test_an_upload_that_takes_too_long_is_cancelled(start: Callable[..., Any]) -> None:
    client = start(upload_seconds=0.3)

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="u.json"\r\n\r\n'
        time.sleep(0.8)
        yield b'{"auth_user_id": "u"}\r\n--b--\r\n'

    headers = client.headers("POST", "multipart/form-data", USERS)
    headers["Content-Type"] = "multipart/form-data; boundary=b"
    answer = client.session.post(client.url + USERS, data=body(), headers=headers, timeout=30)
    assert answer.status_code == 408
    assert "0.3 s" in answer.json()["reason"]
    assert client.control("uploads") == []


def test_a_client_that_goes_away_leaves_nothing(client: Any) -> None:
    host, port = client.url.removeprefix("http://").split(":")
    headers = client.headers("POST", "multipart/form-data", USERS)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST {USERS} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n{head}"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nhalf".encode()
        )
    for _ in range(500):
        if client.control("requests"):
            break
        time.sleep(0.01)
    assert client.control("requests")[0]["status"] is None
    assert client.control("uploads") == []
    assert list((client.sandbox.state / "incoming").iterdir()) == []


def test_a_restart_keeps_everything(start: Callable[..., Any], tmp_path: Path, purchases: Any) -> None:
    from include.sandbox.server import running

    state = tmp_path / "kept"
    with running(state) as sandbox:
        first = type(start(tmp_path / "other"))(sandbox)
        first.send_users(["u1", "u2"])
        first.send_purchases(purchases)
        first.session.put(first.url + "/_sandbox/catalogue", data=b"id,title\nbread,Bread\n", timeout=30)
        record = first.publish(today="2024-05-20")
        etag = first.link().headers["ETag"]
        first.session.close()
    second = start(state)
    assert second.link().headers["ETag"] == etag
    kept = second.control("state")
    assert kept["batch"] == record
    assert (kept["users"], kept["transactions"], kept["catalogue"]) == (2, len(purchases), 1)
    assert second.send_users(["u3"]).ok
    assert [each["id"] for each in second.control("uploads")] == ["000001", "000002", "000003"]


def test_what_was_stored_but_not_processed_is_taken_up_after_a_restart(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "killed"
    (state / "incoming").mkdir(parents=True)
    (state / "incoming" / "000007").write_text('"s1","p1"\n')
    (state / "incoming" / "000008").write_text("half a body")
    upload = {"id": "000007", "kind": "transactions", "format": "csv", "state": "processing", "bytes": 10}
    upload |= {"sha256": None, "rows": None, "received_at": "2024-01-01T00:00:00+00:00", "line": None, "reason": None}
    (state / "uploads.jsonl").write_text(json.dumps(upload) + '\n{"id": "0000')
    client = start(state)
    (settled,) = client.settled()
    assert (settled["state"], settled["rows"]) == ("accepted", 1)
    assert list((state / "incoming").iterdir()) == []
    assert client.send_users(["u"]).ok
    assert client.control("uploads")[-1]["id"] == "000008"


def test_the_journal_shows_what_came_without_ids(client: Any) -> None:
    client.send_users(["u1"])
    client.session.get(client.url + "/v1/users/u123/history", timeout=30)
    client.session.get(client.url + "/health", timeout=30)
    users, unknown = client.control("requests")
    assert (users["method"], users["path"], users["status"]) == ("POST", USERS, 200)
    assert users["bytes"] > 20
    assert users["seconds"] >= 0
    assert (unknown["path"], unknown["status"]) == ("/v1/…", 404)
    assert "u1" not in json.dumps(unknown)
    client.session.delete(client.url + "/_sandbox/requests", timeout=30)
    assert client.control("requests") == []
