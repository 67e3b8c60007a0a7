"""The client against the sandbox: pages of a list that moves, imports, errors in every dress."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from smartemailing import look
from smartemailing.connections import smartemailing_settings
from vendor_http.errors import (
    Invalid,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
    Unreachable,
    Unreadable,
    VendorError,
)


def read(pages: Any) -> list[int]:
    return [row["id"] for page in pages for row in page.rows]


def test_every_contact_comes_once(account: Any, client: Any) -> None:
    filled = account.fill(1234)
    pages = list(client.contacts(None))
    assert read(pages) == list(range(1, 1236))
    assert [page.last for page in pages] == [False, False, True]
    assert {page.total_count for page in pages} == {filled["contacts"]}
    assert max(len(page.rows) for page in pages) == 500
    assert pages[0].rows[0].keys() >= {"id", "guid", "emailaddress", "blacklisted", "contactlists"}


def test_lists_and_what_is_selected(account: Any, client: Any) -> None:
    filled = account.fill(700)
    pages = list(client.contacts(1, select=("emailaddress",)))
    assert len(read(pages)) == sum(filled["lists"]["1"].values())
    assert set(pages[0].rows[0]) == {"id", "emailaddress"}
    assert len(read(client.contacts(2))) == sum(filled["lists"]["2"].values())
    with pytest.raises(NotFound, match="was not found"):
        list(client.contacts(99))


def test_an_empty_account(client: Any, account: Any) -> None:
    account.query("DELETE FROM contacts")
    (page,) = client.contacts(None)
    assert (page.rows, page.last, page.total_count) == ([], True, 0)


def test_a_reading_goes_on_where_it_stopped(account: Any, client: Any) -> None:
    account.fill(1400)
    first = next(client.contacts(None))
    account.query("DELETE FROM contacts WHERE id <= 3")  # all before the place moves up meanwhile
    rest = read(client.contacts(None, offset=first.offset, after=first.after))
    assert rest == list(range(501, 1402))


@pytest.mark.parametrize("moves", [1, 3])
def test_a_list_that_moves_is_read_whole(account: Any, client: Any, moves: int) -> None:
    account.fill(1800)
    account.fault("moving_list", times=moves)
    pages = list(client.contacts(1))
    found = read(pages)
    assert len(found) == len(set(found))
    assert set(range(1, 1802)) <= set(found)


def test_a_list_that_loses_many_at_once(account: Any, client: Any) -> None:
    account.fill(2600)
    pages = client.contacts(None)
    found = [row["id"] for _ in range(3) for row in next(pages).rows]
    account.query("DELETE FROM contacts WHERE id <= 1200")
    found += read(pages)
    assert found == list(range(1, 2602))


@pytest.mark.parametrize("joining", [10, 499, 1300])
def test_contacts_that_join_in_front_repeat_nothing_and_hide_nobody(account: Any, client: Any, joining: int) -> None:
    account.fill(2000)
    account.query("DELETE FROM memberships WHERE contact_id <= ?", joining)
    pages = client.contacts(1)
    first = next(pages)
    account.query("INSERT INTO memberships SELECT 1, id, 'confirmed', '', '' FROM contacts WHERE id <= ?", joining)
    rest = list(range(joining + 501, 2002))
    assert [row["id"] for row in first.rows] == list(range(joining + 1, joining + 501))
    assert read(pages) == rest
    assert read(client.contacts(1, offset=first.offset, after=first.after)) == rest


def test_one_custom_field_by_itself(account: Any, client: Any) -> None:
    filled = account.fill(800)
    rows = [row for page in client.customfield_values(3) for row in page.rows]
    assert len(rows) == filled["contacts"] - filled["dirt"]["no_id"]
    assert {row["customfield_id"] for row in rows} == {3}
    assert sum(row["value"] == "default" for row in rows) == 1


def body(*contacts: tuple[str, str], **settings: Any) -> bytes:
    data = [{"emailaddress": email, "customfields": [{"id": 4, "value": value}]} for email, value in contacts]
    return json.dumps({"settings": settings, "data": data}).encode()


def test_an_import(account: Any, client: Any) -> None:
    account.fill(2)
    done = client.import_contacts(body(("USER1@example.com", "a"), ("new@example.com", "b")))
    assert done.written["user1@example.com"] == 1
    assert set(done.written) == {"user1@example.com", "new@example.com"}
    assert account.values(4) == {"user1@example.com": "a", "new@example.com": "b"}


def test_one_bad_address_sinks_all_unless_skipped(account: Any, client: Any) -> None:
    account.fill(1)
    with pytest.raises(Invalid, match="not a valid e-mail"):
        client.import_contacts(body(("user1@example.com", "a"), ("nobody", "b")))
    assert account.values(4) == {}
    done = client.import_contacts(body(("user1@example.com", "a"), ("nobody", "b"), skip_invalid_emails=True))
    assert set(done.written) == {"user1@example.com"}


@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "reset_mid_body", "reset_after_store", "error_in_200"])
def test_what_passes_is_tried_again(account: Any, client: Any, fault: str) -> None:
    account.fill(1)
    account.fault(fault, times=2)
    client.import_contacts(body(("user1@example.com", "a")))
    assert account.values(4) == {"user1@example.com": "a"}
    assert len(account.pauses) == 2
    assert len(read(client.contacts(None))) == 2


def test_retry_after_is_honoured(account: Any, client: Any) -> None:
    account.fault("429", retry_after=7)
    client.probe()
    assert account.pauses == [7.0]


def test_a_long_pause_is_left_to_airflow(account: Any, client: Any) -> None:
    account.fault("429", retry_after=3600)
    with pytest.raises(RateLimited) as caught:
        client.probe()
    assert caught.value.retry_after == 3600
    assert account.pauses == []


def test_a_pause_between_requests(account: Any) -> None:
    slept: list[float] = []
    from smartemailing.client import Client

    with Client(account.settings(pause_seconds=3600), sleep=slept.append) as client:
        client.probe()
    assert [round(each) for each in slept] == [0, 3600]


def test_the_wrong_key(account: Any) -> None:
    with account.client(api_key="hush") as client, pytest.raises(Unauthorized, match="Authentication Failed") as caught:
        client.probe()
    assert "hush" not in str(caught.value)
    assert account.pauses == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Authentication Failed", Unauthorized),
        ("You have no permission to do this", Unauthorized),
        ("Parameter limit is invalid", Invalid),
        ("Customfield not found", Invalid),
        ("Something went wrong", ServerError),
        (None, ServerError),
    ],
)
def test_an_error_in_an_answer_200(account: Any, serve: Any, message: str | None, kind: type[VendorError]) -> None:
    content = json.dumps({"status": "error", "meta": [], "message": message}).encode()
    url = serve(lambda request: request.reply(200, content))
    said = "answered 200, but says that it failed"
    with account.client(base_url=url) as client, pytest.raises(kind, match=said) as caught:
        client.probe()
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>maintenance</html>", ServerError),
        (b"[" * 100_000, ServerError),
        (b"[]", ServerError),
        (b"{}", Unreadable),
        (b'{"status": "ok", "meta": [], "data": []}', Unreadable),
        (b'{"status": "ok", "meta": {"total_count": 1}, "data": [{"id": "x"}]}', Unreadable),
        (b'{"status": "ok", "meta": {"total_count": 1}, "data": ["x"]}', Unreadable),
    ],
)
def test_nonsense_for_an_answer(account: Any, serve: Any, content: bytes, kind: type[VendorError]) -> None:
    with account.client(base_url=serve(lambda request: request.reply(200, content))) as client, pytest.raises(kind):
        list(client.contacts(None))


@pytest.mark.parametrize("content", [b'{"status": "ok"}', b'{"status": "ok", "meta": [], "data": []}'])
def test_one_odd_answer_is_asked_for_again(account: Any, serve: Any, content: bytes) -> None:
    page = b'{"status": "ok", "meta": {"total_count": 1}, "data": [{"id": 1}]}'
    answers = [content, page, content, b'{"contacts_map": []}']

    def answer(request: Any) -> None:
        request.take()
        request.reply(200, answers.pop(0))

    with account.client(base_url=serve(answer)) as client:
        assert read(client.contacts(None)) == [1]
        assert client.import_contacts(b"{}").written == {}
    assert len(account.pauses) == 2


def test_a_count_that_is_never_reached(account: Any, serve: Any) -> None:
    content = b'{"status": "ok", "meta": {"total_count": 9}, "data": [{"id": 1}]}'
    with account.client(base_url=serve(lambda request: request.reply(200, content))) as client:
        pages = list(client.contacts(None))
    assert (read(pages), pages[-1].last, pages[-1].total_count) == ([1], True, 9)


def test_addresses_in_an_answer_are_masked(account: Any, serve: Any) -> None:
    content = json.dumps({"status": "error", "meta": [], "message": "jane.doe@example.com is invalid"}).encode()
    url = serve(lambda request: (request.take(), request.reply(422, content)))
    with account.client(base_url=url) as client, pytest.raises(Invalid) as caught:
        client.import_contacts(b"{}")
    assert "ja…@…" in str(caught.value)
    assert "jane" not in str(caught.value)


@pytest.mark.parametrize("content", [b'{"status": "created"}', b'{"status": "created", "contacts_map": [{}]}'])
def test_an_import_that_does_not_say_what_it_wrote(account: Any, serve: Any, content: bytes) -> None:
    def answer(request: Any) -> None:
        request.take()
        request.reply(201, content)

    with account.client(base_url=serve(answer)) as client, pytest.raises(Unreadable, match="contacts_map"):
        client.import_contacts(b"{}")


def plan(account: Any, number: int, **content: Any) -> None:
    requests.put(f"{account.url}/_sandbox/smartemailing/newsletters/{number}", json=content).raise_for_status()


@pytest.mark.asyncio
async def test_newsletters(account: Any) -> None:
    plan(account, 5, name="Spring", start="2026-03-01 08:00:00")
    plan(account, 6, name="Draft")
    draft, spring = await look.newsletters(account.settings())
    assert (spring.id, spring.name, spring.finish) == ("5", "Spring", None)
    assert spring.start == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert draft.start is None


@pytest.mark.asyncio
async def test_looks_raise_the_same_errors(account: Any) -> None:
    assert (await look.get(account.settings(), "/ping"))["status"] == "ok"
    with pytest.raises(Unauthorized):
        await look.get(account.settings(api_key="x"), "/check-credentials")
    account.fault("429", retry_after=9)
    with pytest.raises(RateLimited) as caught:
        await look.get(account.settings(), "/ping")
    assert caught.value.retry_after == 9
    account.fault("error_in_200")
    with pytest.raises(ServerError):
        await look.get(account.settings(), "/customfields")
    with pytest.raises(Unreachable):
        await look.get(account.settings(base_url="http://127.0.0.1:9"), "/ping")


class Connection:
    conn_id, host, schema, login, password, port = "shop", None, None, "jane", "hush", None
    extra_dejson: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def test_settings_of_a_connection() -> None:
    usual = smartemailing_settings(Connection())
    assert (usual.base_url, usual.pause_seconds, str(usual.time_zone)) == ("https://app.smartemailing.cz", 0.2, "UTC")
    assert "hush" not in repr(usual)
    other = smartemailing_settings(Connection(extra_dejson={"pause_seconds": "2", "time_zone": "Europe/Prague"}))
    assert (other.pause_seconds, str(other.time_zone)) == (2.0, "Europe/Prague")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"login": ""}, "user name"),
        ({"login": "a:b"}, "user name"),
        ({"password": None}, "API key"),
        ({"extra_dejson": {"pause_seconds": -1}}, "pause_seconds"),
        ({"extra_dejson": {"time_zone": "Middle/Earth"}}, "time_zone"),
        ({"host": "ftp://x"}, "host"),
    ],
)
def test_mistakes_in_a_connection(fields: dict[str, Any], said: str) -> None:
    from include.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        smartemailing_settings(Connection(**fields))
