"""The signer against the documented recipe, and the auth object on real prepared requests."""

import shutil
import subprocess
from base64 import b64encode

import pytest
import requests

from luigisbox.auth import LuigisBoxAuth, sign

KEY = "your_private_api_key"
DATE = "Thu, 29 Jun 2017 12:11:16 GMT"
EPOCH = 1498738276
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
    (
        "GET",
        "application/json; charset=utf-8",
        "/v1/content_export",
        "o/34Kaot44F6IUlcN2hfTj9aKSC9BfCV1MkEPgPKh9s=",
    ),
]


@pytest.mark.parametrize(("method", "content_type", "path", "digest"), VECTORS)
def test_the_documented_vectors(method: str, content_type: str, path: str, digest: str) -> None:
    assert sign(method, content_type, DATE, path, KEY) == digest


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("method", "content_type", "path", "digest"), VECTORS)
def test_openssl_agrees(method: str, content_type: str, path: str, digest: str) -> None:
    text = f"{method}\n{content_type}\n{DATE}\n{path}".encode()
    command = ["openssl", "dgst", "-sha256", "-hmac", KEY, "-binary"]
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    assert b64encode(done.stdout).decode() == digest


@pytest.mark.parametrize(("method", "content_type", "path", "digest"), VECTORS)
def test_a_prepared_request_is_signed_without_boundary_and_query(
    method: str, content_type: str, path: str, digest: str
) -> None:
    header = content_type + "; boundary=0123456789abcdef" if "multipart" in content_type else content_type
    request = requests.Request(
        method,
        f"https://x.example{path}?limit=1",
        headers={"Content-Type": header},
        auth=LuigisBoxAuth("1-2", KEY, lambda: EPOCH),
    ).prepare()
    assert request.headers["Authorization"] == f"ApiAuth 1-2:{digest}"
    assert request.headers["Date"] == DATE
    assert request.headers["Content-Type"] == header


def test_the_path_is_signed_as_it_goes_over_the_wire() -> None:
    auth = LuigisBoxAuth("1-2", KEY, lambda: EPOCH)
    request = requests.Request("GET", "https://x.example/a b/ž?q=1", auth=auth).prepare()
    assert request.path_url == "/a%20b/%C5%BE?q=1"
    assert request.headers["Authorization"].endswith(sign("GET", "", DATE, "/a%20b/%C5%BE", KEY))


def test_each_attempt_is_signed_anew() -> None:
    times = iter([EPOCH, EPOCH + 7])
    auth = LuigisBoxAuth("1-2", KEY, lambda: next(times))
    first, second = (requests.Request("POST", "https://x.example/", auth=auth).prepare() for _ in range(2))
    assert first.headers["Date"] != second.headers["Date"]
    assert first.headers["Authorization"] != second.headers["Authorization"]


def test_the_key_does_not_show() -> None:
    assert KEY not in repr(LuigisBoxAuth("1-2", KEY))
