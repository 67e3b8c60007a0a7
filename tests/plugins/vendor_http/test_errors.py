"""One function knows HTTP statuses; every status has one meaning."""

import json
from email.utils import formatdate
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vendor_http import errors
from vendor_http.errors import VendorError, clean, detail, error_for_status, retry_after

EMPTY: dict[str, str] = {}


@pytest.mark.parametrize(
    ("status", "kind", "parent"),
    [
        (302, errors.Redirected, errors.PermanentError),
        (400, errors.Invalid, errors.PermanentError),
        (401, errors.Unauthorized, errors.PermanentError),
        (403, errors.Unauthorized, errors.PermanentError),
        (404, errors.NotFound, errors.PermanentError),
        (405, errors.ClientError, errors.PermanentError),
        (408, errors.TooSlow, errors.VendorError),
        (409, errors.Conflict, errors.PermanentError),
        (410, errors.NotFound, errors.PermanentError),
        (413, errors.TooLarge, errors.PermanentError),
        (422, errors.Invalid, errors.PermanentError),
        (429, errors.RateLimited, errors.TransientError),
        (500, errors.ServerError, errors.TransientError),
        (503, errors.ServerError, errors.TransientError),
        (599, errors.ServerError, errors.TransientError),
    ],
)
def test_each_status_has_one_error(status: int, kind: type[VendorError], parent: type[VendorError]) -> None:
    error = error_for_status(status, "POST", "/v1/x?secret=1", b"", EMPTY)
    assert type(error) is kind
    assert isinstance(error, parent)
    assert error.status == status
    assert f"POST /v1/x answered {status}." in str(error)
    assert "secret" not in str(error)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, VendorError)}
    drawn = {word for word in (errors.__doc__ or "").replace("├──", " ").replace("└──", " ").split() if word in kinds}
    assert drawn == kinds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"{}", ""),
        (b'{"reason": "Bad", "exception_details": {"model": ["is missing", "x"]}}', 'Bad (model: ["is missing", "x"])'),
        (b'{"error": {"type": "t", "code": 7, "message": "m"}}', "t: 7: m"),
        (b'{"error": "plain"}', "plain"),
        (b'{"errors": {"a": ["b"]}}', '{"a": ["b"]}'),
        (
            b'{"errors": [{"code": "invalid", "title": "Bad.", "detail": "No.", "source": {"pointer": "/a"}}]}',
            "Bad: No. [invalid] at /a",
        ),
        (b'{"errors": [{"title": "A"}, {"source": {"parameter": "page[size]"}}, 3]}', "A; at page[size]; 3"),
        (b'{"errors": []}', ""),
        (b'["x"]', '["x"]'),
        (b'"text"', "text"),
        (b"<html><b>Down</b>\n for  now</html>", "Down for now"),
        (b"\xff\x00 not text", "� not text"),
        (b"no such user jane.doe@example.com", "no such user ja…@…"),
    ],
)
def test_what_the_vendor_said_comes_as_one_line(body: bytes, said: str) -> None:
    assert detail(body) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("'jane.doe@example.com' is no 'email'", "'…' is no 'email'"),
        ("Profile \"U-17\" has bad 'properties.x'", "Profile \"…\" has bad 'properties.x'"),
        ("It doesn't know 'U-17' or 'O'Brien'", "It doesn't know '…' or '…'"),
        ("Call +420 777 123 456 or 420777123456.", "Call … or …."),
        ("Revision 2020-01-01 is too old", "Revision 2020-01-01 is too old"),
        ("jane.doe@example.com exists", "ja…@… exists"),
    ],
)
def test_details_of_json_api_show_no_values(said: str, shown: str) -> None:
    error = {"code": "invalid", "detail": said, "meta": {"value": "secret"}, "original_payload": {"email": "secret"}}
    assert detail(json.dumps({"errors": [error]}).encode()) == f"{shown} [invalid]"


def test_all_pointers_are_kept_however_long_the_sentence() -> None:
    pointers = tuple(f"/data/attributes/profiles/data/{number}" for number in range(500))
    body = json.dumps({"errors": [{"source": {"pointer": pointer}} for pointer in pointers]}).encode()
    error = error_for_status(400, "POST", "/x", body, EMPTY)
    assert error.pointers == pointers
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"[]", b"[" * 100_000, b'{"errors": 1}', b'{"errors": [1, {"source": 1}, {"source": {"pointer": 1}}]}'],
)
def test_other_answers_have_no_pointers(body: bytes) -> None:
    assert error_for_status(400, "POST", "/x", body, EMPTY).pointers == ()


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (
            b'{"reason": "no", "exception_details": {"position": ["line 2", {"x": 1}]}}',
            {"position": ["line 2", {"x": 1}]},
        ),
        (b'{"exception_details": ["line 2"]}', {}),
        (b'["exception_details"]', {}),
        (b"{", {}),
        (b"", {}),
    ],
)
def test_what_is_said_of_each_field_is_kept_whole(body: bytes, details: dict[str, object]) -> None:
    assert error_for_status(422, "POST", "/v1/x", body, EMPTY).details == details


def test_deeply_nested_json_is_only_text() -> None:
    assert detail(b"[" * 100_000).startswith("[[[")


@given(st.binary(max_size=2000))
def test_any_answer_gives_a_short_line(body: bytes) -> None:
    line = detail(body)
    assert len(line) <= errors.DETAIL_CHARACTERS
    assert line.isprintable() or not any(ord(character) < 32 for character in line)


def test_long_text_is_cut() -> None:
    assert clean("x" * 1000) == "x" * (errors.DETAIL_CHARACTERS - 1) + "…"


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"retry-after": "1.5"}) == 1.5
    soon = retry_after({"Retry-After": formatdate(time() + 60, usegmt=True)})
    assert soon is not None
    assert 50 < soon <= 61
    assert retry_after({"Retry-After": formatdate(time() - 60, usegmt=True)}) == 0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({"Retry-After": "-3"}) is None
    assert retry_after({"Retry-After": "Mon, 01 Jan 99999999999 00:00:00 GMT"}) is None
    assert retry_after(EMPTY) is None
