"""Signatures: the vendor's documented examples, and everything that must not pass."""

import email.utils
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.auth import digest_of, signed_content_type

SCOPES = "/v1/recommender/pin/1234-5678/scopes"
JSON = "application/json; charset=utf-8"
VECTORS = [
    (
        "POST",
        "multipart/form-data",
        "/v1/recommender/batching/1234-5678/users",
        "NLLWuJoWF1AcgBIee2mMgty6Uxo/qOeb4LnwMy0Tc80=",
    ),
    ("POST", "multipart/form-data", "/v1/interactions/1234-5678/files", "vYt670Hqx8dUlDm8aK+s23+RfkPeKpgbtVuGgoT8b1E="),
    (
        "POST",
        "application/x-ndjson",
        "/v1/recommender/pin/1234-5678/scopes/_bulk",
        "KPBEc44WGwSNryjC1qPkz2ZLuffIjtQMygK9oNEjen0=",
    ),
    ("GET", "application/json; charset=utf-8", "/v1/content_export", "o/34Kaot44F6IUlcN2hfTj9aKSC9BfCV1MkEPgPKh9s="),
]


@pytest.mark.parametrize(("method", "content_type", "path", "digest"), VECTORS)
def test_documented_examples(method: str, content_type: str, path: str, digest: str) -> None:
    assert digest_of(method, content_type, "Thu, 29 Jun 2017 12:11:16 GMT", path, "your_private_api_key") == digest


@pytest.mark.parametrize(
    ("header", "signed"),
    [
        ("multipart/form-data; boundary=abc", "multipart/form-data"),
        ("multipart/form-data", "multipart/form-data"),
        (JSON, JSON),
        ("application/x-ndjson", "application/x-ndjson"),
        ("", ""),
    ],
)
def test_only_a_multipart_type_loses_its_parameters(header: str, signed: str) -> None:
    assert signed_content_type(header) == signed


def ask(client: Any, path: str = SCOPES, query: str = "?limit=1", **changed: str) -> requests.Response:
    headers = client.headers("POST", JSON, path, **changed) | {"Content-Type": JSON}
    return client.session.post(client.url + path + query, data=b"{}", headers=headers, timeout=30)


def test_a_signed_question_is_answered_whatever_its_query(shared: Any) -> None:
    for query in ("", "?limit=1", "?limit=1&offset=0&sort=created_at:desc"):
        answer = ask(shared, query=query)
        assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["Date"].endswith("GMT")


@pytest.mark.parametrize("seconds", [-4, 4])
def test_a_clock_that_is_a_little_wrong_is_tolerated(shared: Any, seconds: int) -> None:
    assert ask(shared, Date=email.utils.formatdate(time.time() + seconds, usegmt=True)).ok


@pytest.mark.parametrize(("seconds", "side"), [(-60, "behind"), (60, "ahead")])
def test_a_clock_that_is_wrong_is_told_so(shared: Any, seconds: int, side: str) -> None:
    answer = ask(shared, Date=email.utils.formatdate(time.time() + seconds, usegmt=True))
    assert answer.status_code == 401
    assert re.search(rf"(59|60|61) s {side}", answer.json()["reason"])


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("Authorization", "ApiAuth 1234-5678:AAAA", "does not fit"),
        ("Authorization", "ApiAuth 9-9:AAAA", "public key"),
        ("Authorization", "Bearer abc", "not of the form"),
        ("Authorization", "", "not of the form"),
        ("Date", "2024-01-01T00:00:00Z", "Date is missing"),
        ("Date", "Xxx, 99 Foo 2024 99:99:99 GMT", "Date is missing"),
        ("Date", "Sat, 21 Nov 2026 03:42:01 -0000", "Date is missing"),
    ],
)
def test_what_is_not_signed_as_documented_is_refused(shared: Any, header: str, value: str, reason: str) -> None:
    answer = ask(shared, **{header: value})
    assert answer.status_code == 401
    assert reason in answer.json()["reason"]


def test_method_type_path_and_key_are_all_signed(shared: Any) -> None:
    for signed in (("PUT", JSON, SCOPES), ("POST", "application/json", SCOPES), ("POST", JSON, SCOPES + "/")):
        answer = shared.session.post(
            shared.url + SCOPES, headers=shared.headers(*signed) | {"Content-Type": JSON}, timeout=30
        )
        assert answer.status_code == 401
        assert "does not fit" in answer.json()["reason"]
    assert shared.sandbox.private_key not in answer.text


def test_another_tracker_in_the_path(shared: Any) -> None:
    users = "/v1/recommender/batching/9-9/users"
    assert shared.send(users, "u.json", '{"auth_user_id": "u"}').status_code == 401
    assert ask(shared, path="/v1/recommender/pin/9-9/scopes").status_code == 404


def test_a_public_key_of_its_own(start: Callable[..., Any]) -> None:
    client = start(public_key="public", private_key="other key")
    assert ask(client).ok
    headers = client.headers("POST", JSON, SCOPES)
    headers["Authorization"] = headers["Authorization"].replace("1234-5678", "public")
    answer = client.session.post(client.url + SCOPES, headers=headers | {"Content-Type": JSON}, timeout=30)
    assert answer.ok


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
def test_the_documented_recipe_with_curl_and_openssl(client: Any, tmp_path: Path) -> None:
    """What the vendor's documentation tells a shop to run, in a shell."""
    (tmp_path / "users.json").write_text('{"auth_user_id": "u1"}\n{"auth_user_id": "u2"}\n')
    (tmp_path / "purchases.csv").write_text('"s1","p1","u1","2023-04-22 15:04:30.12312"\n"s1","p2"\n')
    script = r"""
        set -eu
        send() {
            date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
            digest=$(printf 'POST\nmultipart/form-data\n%s\n%s' "$date" "$1" |
                openssl dgst -sha256 -hmac "$KEY" -binary | base64)
            curl --silent --show-error --fail-with-body -X POST -H "Date: $date" \
                -H "Authorization: ApiAuth 1234-5678:$digest" -F "file=@$2" "$URL$1"
        }
        send /v1/recommender/batching/1234-5678/users users.json
        send /v1/interactions/1234-5678/files purchases.csv
    """
    environment = {"URL": client.url, "KEY": client.sandbox.private_key, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "{}{}"), done.stderr + done.stdout
    assert [each["state"] for each in client.settled()] == ["accepted", "accepted"]
    state = client.control("state")
    assert (state["users"], state["transactions"], state["sessions"]) == (2, 2, 1)
