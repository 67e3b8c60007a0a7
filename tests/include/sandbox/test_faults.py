"""Each fault really happens, on the socket."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

USERS = "/v1/recommender/batching/1234-5678/users"


@pytest.fixture
def published(client: Any, purchases: Any) -> Any:
    client.send_users(["u1", "u2"])
    client.send_purchases(purchases)
    client.publish(today="2024-05-20")
    return client


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503])
def test_an_answer_of_that_status_so_many_times(client: Any, status: int) -> None:
    client.fault(status, times=2)
    for _ in range(2):
        answer = client.send_users(["u1"])
        assert (answer.status_code, "reason" in answer.json()) == (status, True)
    assert client.send_users(["u1"]).status_code == 200
    assert [(each["status"], each["fault"]) for each in client.control("requests")] == [
        (status, str(status)),
        (status, str(status)),
        (200, None),
    ]


def test_too_many_requests_says_when_to_come_again(client: Any) -> None:
    client.fault("429")
    assert client.send_users(["u1"]).headers["Retry-After"] == "1"
    client.fault("429", retry_after=7)
    assert client.send_users(["u1"]).headers["Retry-After"] == "7"
    client.fault("503", retry_after=3)
    assert client.send_users(["u1"]).headers["Retry-After"] == "3"


def test_a_status_is_answered_while_a_large_body_is_still_coming(client: Any) -> None:
    client.fault(500)
    assert client.send(USERS, "u.json", b"x" * 40_000_000).status_code == 500


def test_a_fault_keeps_to_its_path(published: Any) -> None:
    published.fault(500, path="/batches/")
    published.fault(503, path="/v1/interactions/")
    assert published.send_users(["u1"]).status_code == 200
    assert published.link().status_code == 500
    assert published.link().status_code == 200
    assert published.send_purchases([("s", "p")]).status_code == 503


def test_the_connection_is_reset_in_the_middle_of_the_body(client: Any) -> None:
    client.send_users(["u1"])
    client.fault("reset_mid_body")
    with pytest.raises(requests.ConnectionError):
        client.send_users([f"u{number}" for number in range(200_000)])
    assert client.control("state")["users"] == 1
    entry = client.control("requests")[-1]
    assert (entry["status"], entry["fault"]) == (None, "reset_mid_body")
    assert entry["bytes"] < 5_000_000
    assert list((client.sandbox.state / "incoming").iterdir()) == []
    assert client.send_users(["u1", "u2"]).ok


def test_the_connection_is_reset_after_so_many_bytes(client: Any) -> None:
    client.fault("reset_mid_body", after_bytes=0)
    with pytest.raises(requests.ConnectionError):
        client.send_users(["u1"])


def test_the_answer_is_reset_in_its_middle(published: Any) -> None:
    size = len(published.link().content)
    published.fault("reset_mid_body", path="/batches/")
    received: list[bytes] = []

    def read() -> None:
        url = published.url + "/batches/1234-5678.xml"
        with published.session.get(url, headers={"Accept-Encoding": ""}, stream=True, timeout=30) as answer:
            assert answer.status_code == 200
            received.extend(answer.iter_content(64))

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        read()
    assert 0 < len(b"".join(received)) < size
    assert len(published.link().content) == size


@pytest.mark.parametrize("kind", ["users", "purchases"])
def test_the_connection_is_reset_after_everything_was_stored(client: Any, kind: str) -> None:
    client.fault("reset_after_store")
    send = {
        "users": lambda: client.send_users(["u1", "u2"]),
        "purchases": lambda: client.send_purchases([("s", "p"), ("s", "q")]),
    }
    with pytest.raises(requests.ConnectionError):
        send[kind]()
    client.settled()
    state = client.control("state")
    assert state["users"] + state["transactions"] == 2
    assert client.control("requests")[-1]["status"] is None


def test_a_refusal_is_not_reset_after_store(client: Any) -> None:
    client.fault("reset_after_store")
    assert client.send_users(["default"]).status_code == 422


def test_slow_reading(start: Callable[..., Any]) -> None:
    client = start(upload_seconds=0.3)
    client.fault("slow_read", bytes_per_second=100_000, times=1)
    assert client.send(USERS, "u.json", b'{"user_id": "u"}\n' * 20_000).status_code == 408
    client.fault("slow_read", bytes_per_second=50_000_000)
    assert client.send_users(["u1"]).status_code == 200


def test_a_late_batch(published: Any) -> None:
    before = published.control("state")["batch"]["folder"]
    published.fault("late_batch", seconds=0.3)
    answer = published.session.post(published.url + "/_sandbox/publish", timeout=30)
    assert answer.status_code == 202
    assert published.control("state")["batch"]["folder"] == before
    for _ in range(200):
        if published.control("state")["batch"]["folder"] != before:
            break
        time.sleep(0.02)
    assert published.control("state")["batch"]["folder"] != before


def test_a_truncated_batch(published: Any) -> None:
    whole = published.link()
    published.fault("truncated_batch")
    head = published.link(method="HEAD")
    cut = published.link(If_None_Match=whole.headers["ETag"])
    assert cut.status_code == 200
    assert cut.content == whole.content[: len(whole.content) // 2]
    assert int(cut.headers["Content-Length"]) == int(head.headers["Content-Length"]) == len(cut.content)
    assert cut.headers["ETag"] == head.headers["ETag"] != whole.headers["ETag"]
    again = published.link(If_None_Match=cut.headers["ETag"])
    assert (again.status_code, again.content) == (200, whole.content)


def test_a_batch_from_the_previous_list(published: Any) -> None:
    published.send_users(["u3", "u4"])
    published.fault("previous_list_batch")
    assert published.publish(today="2024-05-20")["made_from"] == "previous"
    assert "<auth_user_id>u1<" in published.link().text
    assert "<auth_user_id>u3<" not in published.link().text
    assert published.publish(today="2024-05-20")["made_from"] == "current"
    assert "<auth_user_id>u3<" in published.link().text
    assert "<auth_user_id>u1<" not in published.link().text


def test_a_batch_that_never_changes(published: Any) -> None:
    etag = published.link().headers["ETag"]
    published.fault("frozen_batch")
    published.fault("frozen_batch")
    for _ in range(4):
        published.send_users(["u3"])
        published.publish(today="2024-05-20")
        assert published.link(If_None_Match=etag).status_code == 304
        assert published.link().headers["ETag"] == etag
    published.session.delete(published.url + "/_sandbox/faults", timeout=30)
    assert published.link(If_None_Match=etag).status_code == 200


def test_a_link_frozen_before_the_first_batch(client: Any) -> None:
    client.fault("frozen_batch")
    client.publish()
    assert client.link().status_code == 404


@pytest.mark.parametrize("seconds", [120, -120])
def test_a_skewed_clock(client: Any, seconds: int) -> None:
    client.fault("skewed_clock", seconds=seconds)
    answer = client.send_users(["u1"])
    assert answer.status_code == 401
    ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    assert abs(ahead - seconds) < 30
    assert ("behind" if seconds > 0 else "ahead") in answer.json()["reason"]
    client.session.delete(client.url + "/_sandbox/faults", timeout=30)
    assert client.send_users(["u1"]).ok


def test_faults_are_listed_and_cleared(client: Any) -> None:
    client.fault("500", times=3)
    client.fault("frozen_batch")
    client.send_users(["u1"])
    listed = client.control("faults")
    assert [(each["fault"], each["times"]) for each in listed] == [("500", 2), ("frozen_batch", None)]
    client.session.delete(client.url + "/_sandbox/faults", timeout=30)
    assert client.control("faults") == []
    assert client.send_users(["u1"]).ok


@pytest.mark.parametrize("body", [{"fault": "418"}, {}, {"fault": "500", "times": 0}, {"fault": "500", "tmies": 1}, []])
def test_a_fault_that_does_not_exist(client: Any, body: Any) -> None:
    answer = client.session.post(client.url + "/_sandbox/faults", json=body, timeout=30)
    assert answer.status_code == 422
    assert answer.json()["reason"]
    assert client.control("faults") == []
