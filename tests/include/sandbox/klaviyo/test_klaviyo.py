"""Klaviyo's stand-in on the wire: keys, revisions, pages, limits, imports, faults."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from include.sandbox.fill import fill_klaviyo
from include.sandbox.server import running

KEY = "Klaviyo-API-Key pk_sandbox"
FAST: dict[str, Any] = {"klaviyo_burst": 100_000, "klaviyo_steady": 100_000, "klaviyo_job_seconds": 0.05}


class Caller:
    """Asks as a client with a key and a revision would."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url, self.session = url, session

    def get(self, path: str, params: dict[str, str] | None = None, **headers: str) -> requests.Response:
        usual = {"Authorization": KEY, "revision": "2026-07-15"}
        given = {name: value for name, value in (usual | headers).items() if value}
        return self.session.get(self.url + path, params=params, headers=given, timeout=30)

    def post(self, content: Any) -> requests.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Authorization": KEY, "revision": "2026-07-15", "Content-Type": "application/vnd.api+json"}
        return self.session.post(self.url + "/api/profile-bulk-import-jobs", data=body, headers=headers, timeout=30)

    def ids(self, path: str, size: int) -> list[str]:
        """Of all pages; of the next link only the cursor is taken: it names the vendor's own host."""
        found: list[str] = []
        params = {"page[size]": str(size)}
        while True:
            answer = self.get(path, params)
            assert answer.ok, answer.text
            found += [row["id"] for row in answer.json()["data"]]
            following = answer.json()["links"]["next"]
            if following is None:
                return found
            params["page[cursor]"] = parse_qs(urlsplit(following).query)["page[cursor]"][0]


def query(*profiles: Any) -> dict[str, Any]:
    return {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": list(profiles)}}}}


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    fill_klaviyo(tmp_path, 500)
    with running(tmp_path, **FAST) as sandbox, requests.Session() as session:
        yield Caller(sandbox.url, session)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Klaviyo-API-Key pk_other"}, 401),
        ({"Authorization": "Klaviyo-Private-API-Key pk_sandbox"}, 401),
        ({"revision": ""}, 400),
        ({"revision": "yesterday"}, 400),
    ],
    ids=["no key", "wrong key", "retired scheme", "no revision", "no date"],
)
def test_key_and_revision(caller: Caller, headers: dict[str, str], status: int) -> None:
    answer = caller.get("/api/profiles", **headers)
    assert answer.status_code == status
    assert {"id", "code", "title", "detail"} <= answer.json()["errors"][0].keys()


@pytest.mark.parametrize(
    "params",
    [
        {"page[size]": "101"},
        {"page[size]": "0"},
        {"page[size]": "many"},
        {"page[cursor]": "nonsense"},
        {"filter": "equals(properties.city,'Prague')"},
        {"filter": "starts-with(email,'a')"},
        {"filter": "nonsense"},
    ],
    ids=str,
)
def test_a_wrong_parameter(caller: Caller, params: dict[str, str]) -> None:
    answer = caller.get("/api/profiles", params)
    assert (answer.status_code, answer.json()["errors"][0]["source"]["parameter"]) == (400, next(iter(params)))


def test_pages_have_twenty_rows_and_lists_ten(caller: Caller) -> None:
    assert len(caller.get("/api/profiles").json()["data"]) == 20
    assert caller.get("/api/lists", {"page[size]": "11"}).status_code == 400
    assert caller.get("/api/lists/NONE/profiles").status_code == 404


@pytest.mark.parametrize("path", ["/api/profiles", "/api/lists/LIST01/profiles"])
def test_border_rows_repeat_and_none_is_left_out(caller: Caller, path: str) -> None:
    ids = caller.ids(path, 10)
    assert len(set(ids)) == 501
    assert len(ids) > 501
    assert ids == caller.ids(path, 10)


def test_no_row_repeats_when_switched_off(tmp_path: Path) -> None:
    fill_klaviyo(tmp_path, 300)
    with running(tmp_path, klaviyo_repeats=False, **FAST) as sandbox, requests.Session() as session:
        ids = Caller(sandbox.url, session).ids("/api/profiles", 10)
    assert len(ids) == len(set(ids)) == 301


def test_the_quota_is_told_and_kept(tmp_path: Path) -> None:
    with running(tmp_path, klaviyo_burst=1000, klaviyo_steady=3) as sandbox, requests.Session() as session:
        caller = Caller(sandbox.url, session)
        answers = [caller.get("/api/profiles") for _ in range(7)]  # a minute may turn once between them
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        told = {"Retry-After"} if answer.status_code == 429 else {"RateLimit-Limit", "RateLimit-Remaining"}
        names = {name for name in answer.headers if name.lower().startswith(("ratelimit", "retry"))}
        assert {name.lower() for name in told} <= {name.lower() for name in names}
        assert (len(names) == 1) == (answer.status_code == 429)


@pytest.mark.parametrize(
    ("profile", "pointer"),
    [
        ({"type": "person", "attributes": {"email": "a@example.com"}}, "/data/attributes/profiles/data/1"),
        ({"type": "profile", "attributes": {"email": 5}}, "/data/attributes/profiles/data/1"),
        ({"type": "profile", "attributes": {}}, "/data/attributes/profiles/data/1"),
        (
            {"type": "profile", "attributes": {"external_id": "a", "properties": {"x": "y" * 100_001}}},
            "/data/attributes/profiles/data/1",
        ),
    ],
    ids=["type", "text", "nobody", "too large"],
)
def test_one_malformed_profile_sinks_the_job(caller: Caller, profile: Any, pointer: str) -> None:
    answer = caller.post(query({"type": "profile", "attributes": {"external_id": "new-one"}}, profile))
    assert answer.status_code in (400, 413)
    assert answer.json()["errors"][0]["source"]["pointer"].startswith(pointer)
    assert caller.get("/api/profiles", {"filter": 'equals(external_id,"new-one")'}).json()["data"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": []}', b'{"data": {"type": "profile"}}'], ids=repr)
def test_a_body_that_is_no_job(caller: Caller, body: bytes) -> None:
    answer = caller.post(body)
    assert (answer.status_code, len(answer.json()["errors"]) > 0) == (400, True)


def test_too_many_profiles(caller: Caller) -> None:
    profile = {"type": "profile", "attributes": {"external_id": "a"}}
    assert caller.post(query(*[profile] * 10_001)).status_code == 400


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_faults_speak_as_klaviyo_does(caller: Caller, status: int) -> None:
    body = {"fault": str(status), "path": "/api/"}
    assert caller.session.post(caller.url + "/_sandbox/faults", json=body, timeout=30).status_code == 201
    answer = caller.get("/api/profiles")
    assert (answer.status_code, "detail" in answer.json()["errors"][0]) == (status, True)
    assert caller.get("/api/profiles").status_code == 200


def test_the_journal_names_no_profile(caller: Caller) -> None:
    caller.get("/api/profiles/01SECRET")
    caller.get("/api/profiles", {"filter": "equals(email,'a@example.com')"})
    journal = caller.session.get(caller.url + "/_sandbox/requests", timeout=30).text
    assert "SECRET" not in journal
    assert "example.com" not in journal


def test_the_native_integration_and_a_restart(tmp_path: Path) -> None:
    fill_klaviyo(tmp_path, 100)
    found = []
    for _ in range(2):
        with running(tmp_path, **FAST) as sandbox, requests.Session() as session:
            caller = Caller(sandbox.url, session)
            body = {"types": {"mail-top": 3}, "share": 100}
            assert session.post(sandbox.url + "/_sandbox/klaviyo/publish", json=body, timeout=30).ok
            (row,) = caller.get("/api/profiles", {"filter": 'equals(external_id,"default")'}).json()["data"]
            found.append(json.dumps(row["attributes"]["properties"]["mail-top"]))
            assert len(json.loads(found[-1])) == 3
    assert "recommendation_id=" in found[0]
    assert found[0] != found[1]
