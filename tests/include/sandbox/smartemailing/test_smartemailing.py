"""SmartEmailing's sandbox as a customer of the vendor sees it."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.errors import BadInput
from include.sandbox.server import running
from include.sandbox.smartemailing.fill import fill_smartemailing


class Customer:
    """One account, and its credentials."""

    def __init__(self, url: str, state: Path) -> None:
        self.url, self.state = url, state
        self.session = requests.Session()
        self.session.auth = ("sandbox", "sandbox_key")

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.session.get(f"{self.url}/api/v3{path}", params=parameters, timeout=30)

    def data(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def imports(self, data: Any, **settings: Any) -> requests.Response:
        return self.session.post(f"{self.url}/api/v3/import", json={"settings": settings, "data": data}, timeout=30)

    def control(self, path: str) -> Any:
        return requests.get(f"{self.url}/_sandbox/{path}", timeout=30).json()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Customer, dict[str, Any]]]:
    """An account with 1,201 contacts for tests that only ask."""
    state = tmp_path_factory.mktemp("filled")
    with running(state) as sandbox:
        customer = Customer(sandbox.url, state)
        yield customer, fill_smartemailing(state, 1200)
        customer.session.close()


@pytest.fixture(scope="module")
def account(filled: tuple[Customer, dict[str, Any]]) -> Customer:
    return filled[0]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Customer]:
    with running(tmp_path, smartemailing_user="jane", smartemailing_key="k") as sandbox:
        customer = Customer(sandbox.url, tmp_path)
        customer.session.auth = ("jane", "k")
        fill_smartemailing(tmp_path, [("u1", "one@example.com"), ("u2", "two@example.com")], seed=1)
        yield customer
        customer.session.close()


def test_the_door(account: Customer) -> None:
    assert requests.get(f"{account.url}/api/v3/ping", timeout=30).json()["status"] == "ok"
    assert account.get("/check-credentials").json()["status"] == "ok"
    for auth in (None, ("sandbox", "wrong"), ("Sandbox", "sandbox_key")):
        answer = requests.get(f"{account.url}/api/v3/contacts", auth=auth, timeout=30)
        assert (answer.status_code, answer.json()["status"], answer.json()["meta"]) == (401, "error", [])
        assert "basic" in answer.headers["WWW-Authenticate"].lower()
    odd = {"Authorization": "Basic é%%".encode("latin-1")}
    assert requests.get(f"{account.url}/api/v3/contacts", headers=odd, timeout=30).status_code == 401


def test_the_envelope_and_pages(account: Customer) -> None:
    whole = account.get("/contacts").json()
    assert whole["meta"] == {"total_count": 1201, "displayed_count": 500, "offset": 0, "limit": 500}
    part = account.get("/contacts", limit=3, offset=1199).json()
    assert part["meta"] == {"total_count": 1201, "displayed_count": 2, "offset": 1199, "limit": 3}
    assert [contact["id"] for contact in part["data"]] == [1200, 1201]
    assert account.data("/contacts", offset=99999) == []
    assert [contact["id"] for contact in account.data("/contacts", offset=700, limit=2)] == [701, 702]
    assert [contact["id"] for contact in account.data("/contacts", offset=701, limit=2, sort="-id")] == [500, 499]


def test_selecting_sorting_and_filtering(account: Customer) -> None:
    newest = account.data("/contacts", select="id,emailaddress", sort="-id", limit=2)
    assert newest == [
        {"id": 1201, "emailaddress": "default@example.com"},
        {"id": 1200, "emailaddress": "user1200@example.com"},
    ]
    (one,) = account.data("/contacts", emailaddress="USER7@example.com")
    assert one["id"] == 7
    assert all(contact["blacklisted"] for contact in account.data("/contacts", blacklisted=1))
    by_both = account.data("/contacts", sort="-blacklisted,id", limit=1)
    assert by_both[0]["blacklisted"] == 1


def test_custom_fields_come_only_if_asked_for(account: Customer) -> None:
    (plain,) = account.data("/contacts", id=1201)
    assert "customfields" not in plain
    assert [each["contactlist_id"] for each in plain["contactlists"]] == [1]
    (expanded,) = account.data("/contacts", id=1201, expand="customfields", select="id")
    assert expanded.keys() == {"id", "customfields"}
    assert [(each["customfield_id"], each["value"]) for each in expanded["customfields"]] == [(3, "default")]


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 501},
        {"limit": 0},
        {"limit": "x"},
        {"offset": -1},
        {"offset": 10**19},
        {"sort": "id; DROP TABLE contacts"},
        {"sort": "-contactlists"},
        {"select": "password"},
        {"expand": "orders"},
        {"nonsense": 1},
    ],
)
def test_what_cannot_be_asked(account: Customer, parameters: dict[str, Any]) -> None:
    answer = account.get("/contacts", **parameters)
    assert (answer.status_code, answer.json()["status"]) == (422, "error")


@pytest.mark.parametrize(
    ("path", "status"), [("/contactlists/99/contacts", 404), ("/contactlists/x/contacts", 422), ("/nothing", 404)]
)
def test_what_is_not_there(account: Customer, path: str, status: int) -> None:
    answer = account.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, "error")


def test_what_was_filled_is_what_was_counted(filled: tuple[Customer, dict[str, Any]]) -> None:
    account, counts = filled
    contacts = [each for offset in (0, 500, 1000) for each in account.data("/contacts", offset=offset)]
    values = [
        row
        for offset in (0, 500, 1000)
        for row in account.data("/contact-customfields", customfield_id=3, offset=offset)
    ]
    ids = Counter(row["value"] for row in values)
    assert len(contacts) == counts["contacts"] == 1201
    assert sum(contact["blacklisted"] for contact in contacts) == counts["dirt"]["blacklisted"] > 0
    assert len(contacts) - len(values) == counts["dirt"]["no_id"] > 0
    assert ids[""] == counts["dirt"]["empty_id"] > 0
    assert ids["default"] == counts["dirt"]["default"] == 1
    assert sum(count - 1 for value, count in ids.items() if value) == counts["dirt"]["duplicate"] > 0
    for number in ("1", "2"):
        for status, count in counts["lists"][number].items():
            found = [
                m
                for c in contacts
                for m in c["contactlists"]
                if str(m["contactlist_id"]) == number and m["status"] == status
            ]
            assert len(found) == count
        confirmed = account.get(f"/contactlists/{number}/contacts/confirmed", limit=1).json()["meta"]["total_count"]
        assert confirmed == counts["lists"][number]["confirmed"]
    assert account.control("smartemailing/state")["lists"] == counts["lists"]
    assert counts["customers"] == 1201 - sum(counts["dirt"].values())


def test_the_same_seed_makes_the_same_contacts(filled: tuple[Customer, dict[str, Any]], tmp_path: Path) -> None:
    assert fill_smartemailing(tmp_path, 1200) == filled[1]
    assert fill_smartemailing(tmp_path, 1200, seed=8)["lists"] != filled[1]["lists"]


def test_an_address_that_comes_twice(tmp_path: Path) -> None:
    before = fill_smartemailing(tmp_path, 5)
    with pytest.raises(BadInput, match="contacts 1 to 3: an e-mail address is there twice"):
        fill_smartemailing(tmp_path, [("u1", "a@example.com"), ("u2", "A@example.com")])
    with running(tmp_path) as sandbox:
        state = requests.get(f"{sandbox.url}/_sandbox/smartemailing/state", timeout=30).json()
    assert state["contacts"] == before["contacts"]


def test_lists_and_fields(account: Customer) -> None:
    assert [each["id"] for each in account.data("/contactlists")] == [1, 2]
    fields = account.data("/customfields")
    assert fields[0] == {"id": 3, "name": "customer_id", "type": "text"}
    assert len(fields) == 38


def contact(email: Any, value: Any = "x", field: int = 4, **more: Any) -> dict[str, Any]:
    return {"emailaddress": email, "customfields": [{"id": field, "value": value}], **more}


def test_an_import_sets_what_it_names(fresh: Customer) -> None:
    lists = [{"id": 2, "status": "unsubscribed"}]
    answer = fresh.imports([contact("ONE@example.com"), contact("three@example.com", contactlists=lists)])
    assert (answer.status_code, answer.json()["status"]) == (201, "created")
    assert [each["emailaddress"] for each in answer.json()["contacts_map"]] == ["ONE@example.com", "three@example.com"]
    (one,) = fresh.data("/contacts", id=1, expand="customfields")
    assert [(each["customfield_id"], each["value"]) for each in one["customfields"]] == [(3, "u1"), (4, "x")]
    assert one["emailaddress"] == "one@example.com"
    (three,) = fresh.data("/contacts", emailaddress="three@example.com")
    assert [(each["contactlist_id"], each["status"]) for each in three["contactlists"]] == [(2, "unsubscribed")]


def test_an_import_that_does_not_update(fresh: Customer) -> None:
    fresh.imports([contact("one@example.com", "first")])
    fresh.imports([contact("one@example.com", "second")], update=False)
    assert [row["value"] for row in fresh.data("/contact-customfields", customfield_id=4)] == ["first"]


@pytest.mark.parametrize(
    "data",
    [
        [contact("no-address")],
        [contact(None)],
        [contact("a..b@example.com")],
        [contact("x" * 65 + "@example.com")],
        [contact("a@example.com", "é" * 32_769)],
        [contact("a@example.com", 7)],
        [contact("a@example.com", field=99)],
        [contact("a@example.com", contactlists=[{"id": 99}])],
        [contact("a@example.com", contactlists=[{"id": 1, "status": "perhaps"}])],
        [contact(f"u{number}@example.com") for number in range(501)],
        ["x"],
        [],
        "x",
    ],
    ids=range(13),
)
def test_one_thing_wrong_refuses_all(fresh: Customer, data: Any) -> None:
    both = [contact("one@example.com"), *data] if isinstance(data, list) and 0 < len(data) < 500 else data
    answer = fresh.imports(both)
    assert (answer.status_code, answer.json()["status"]) == (422, "error")
    assert fresh.data("/contact-customfields", customfield_id=4) == []
    assert "@" not in answer.json()["message"]


def test_bad_addresses_can_be_skipped(fresh: Customer) -> None:
    answer = fresh.imports([contact("one@example.com"), contact("nobody")], skip_invalid_emails=True)
    assert answer.status_code == 201
    assert [each["emailaddress"] for each in answer.json()["contacts_map"]] == ["one@example.com"]
    longest = contact("two@example.com", "x" * 65_536)
    assert fresh.imports([longest]).status_code == 201


def test_a_body_that_is_no_json(fresh: Customer) -> None:
    for body in (b"", b"{", b"[" * 100_000):
        assert fresh.session.post(f"{fresh.url}/api/v3/import", data=body, timeout=30).status_code in (400, 422)


def test_an_error_that_comes_as_200(fresh: Customer) -> None:
    requests.post(f"{fresh.url}/_sandbox/faults", json={"fault": "error_in_200"}, timeout=30).raise_for_status()
    answer = fresh.imports([contact("one@example.com")])
    assert (answer.status_code, answer.json()["status"]) == (200, "error")
    assert fresh.data("/contact-customfields", customfield_id=4) == []


def test_a_list_that_moves_between_two_pages(fresh: Customer) -> None:
    fill_smartemailing(fresh.state, 99)
    requests.post(f"{fresh.url}/_sandbox/faults", json={"fault": "moving_list"}, timeout=30).raise_for_status()
    pages = [fresh.get("/contactlists/1/contacts", limit=50, offset=offset).json() for offset in (0, 50)]
    ids = [each["id"] for page in pages for each in page["data"]]
    assert [page["meta"]["total_count"] for page in pages] == [100, 100]
    assert sorted(set(range(1, 102)) - set(ids)) == [51]


def test_newsletters(fresh: Customer) -> None:
    url = f"{fresh.url}/_sandbox/smartemailing/newsletters/5"
    assert requests.put(url, json={"name": "Spring", "start": "2026-03-01 08:00:00"}, timeout=30).ok
    assert requests.put(url, json={"name": "Spring", "start": "tomorrow"}, timeout=30).status_code == 422
    summary = [{"id": 5, "name": "Spring", "start": "2026-03-01 08:00:00", "finish": None}]
    assert fresh.data("/newsletter-stats-summary") == summary


def test_many_write_at_once(fresh: Customer) -> None:
    def write(number: int) -> None:
        with requests.Session() as session:
            session.auth = ("jane", "k")
            data = json.dumps({"data": [contact(f"many{number}-{each}@example.com") for each in range(50)]})
            assert session.post(f"{fresh.url}/api/v3/import", data=data, timeout=30).status_code == 201

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fresh.control("smartemailing/state")["values"]["4"] == 300


def test_the_account_survives_a_restart(tmp_path: Path) -> None:
    counts = fill_smartemailing(tmp_path, 10)
    for _ in range(2):
        with running(tmp_path) as sandbox, requests.Session() as session:
            assert (
                session.get(f"{sandbox.url}/_sandbox/smartemailing/state", timeout=30).json()["contacts"]
                == counts["contacts"]
            )
