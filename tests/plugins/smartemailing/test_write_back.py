"""Writing to contacts: calls of some hundred, each settled before the next; who cannot be written is set aside."""

import logging
from typing import Any

import pytest

from include.deliveries.smartemailing import REFUSED, SKIPPED, TOO_LONG, Contact
from include.publishers.deliveries import SmartEmailingDelivery
from smartemailing.write_back import Settled, write_contacts
from vendor_http.errors import Invalid, Unauthorized


def delivery(**changes: Any) -> SmartEmailingDelivery:
    return SmartEmailingDelivery(name="contacts", kind="smartemailing", fields={"mail-basket": 21}, **changes)


def contacts(*emails: str, field: int = 21) -> list[Contact]:
    return [Contact(email, {field: f"for {email}"}) for email in emails]


def numbered(count: int) -> list[Contact]:
    return contacts(*(f"user{number}@example.com" for number in range(1, count + 1)))


def reasons(settled: list[Settled]) -> dict[str, str]:
    return {contact.email: reason for call in settled for contact, reason in call.refused}


def test_calls_of_a_size_each_settled(account: Any, client: Any) -> None:
    account.fill(7)
    settled: list[Settled] = []
    seen: list[int] = []

    def settle(call: Settled) -> None:
        settled.append(call)
        seen.append(len(account.values(21)))

    write_contacts(client, numbered(7), delivery(call_contacts=3), settle)
    assert [len(call.written) for call in settled] == [3, 3, 1]
    assert seen == [3, 6, 7]
    assert account.values(21)["user7@example.com"] == "for user7@example.com"


def test_nothing_to_write(account: Any, client: Any) -> None:
    write_contacts(client, [], delivery(), lambda _: pytest.fail("there is nothing to settle"))
    assert account.requests() == []


def test_who_cannot_be_written_is_set_aside(account: Any, client: Any, caplog: Any) -> None:
    account.fill(3)
    long = Contact("user3@example.com", {21: "x" * 101})
    settled: list[Settled] = []
    with caplog.at_level(logging.WARNING):
        write_contacts(client, [*numbered(2), *contacts("nobody"), long], delivery(value_bytes=100), settled.append)
    assert reasons(settled) == {"nobody": SKIPPED, "user3@example.com": TOO_LONG}
    assert sum(len(call.written) + len(call.refused) for call in settled) == 4
    assert set(account.values(21)) == {"user1@example.com", "user2@example.com"}
    assert "2 of 4" in caplog.text
    assert "nobody" not in caplog.text
    assert "example.com" not in caplog.text


def test_all_of_a_call_is_too_long(account: Any, client: Any) -> None:
    settled: list[Settled] = []
    long = [Contact(f"{number}@example.com", {21: "x" * 101}) for number in range(2)]
    write_contacts(client, long, delivery(value_bytes=100), settled.append)
    assert set(reasons(settled).values()) == {TOO_LONG}
    assert account.requests() == []


def test_one_that_is_refused_does_not_sink_its_call(account: Any, client: Any) -> None:
    account.fill(40)
    odd = Contact("odd@example.com", {99: "there is no such field"})
    everybody = numbered(40)
    everybody.insert(17, odd)
    settled: list[Settled] = []
    write_contacts(client, everybody, delivery(), settled.append)
    assert reasons(settled) == {"odd@example.com": REFUSED}
    assert len(account.values(21)) == 40


def test_a_field_that_does_not_exist_stops_at_once(account: Any, client: Any) -> None:
    account.fill(500)
    everybody = contacts(*(f"user{number}@example.com" for number in range(1, 501)), field=99)
    with pytest.raises(Invalid, match="no custom field 99"):
        write_contacts(client, everybody, delivery(), lambda _: pytest.fail("nothing was settled"))
    assert len(account.requests()) < 40


def test_an_error_that_is_not_the_contacts_is_no_reason_to_split(account: Any, client: Any) -> None:
    account.fault("401")
    with pytest.raises(Unauthorized):
        write_contacts(client, numbered(4), delivery(), lambda _: None)
    assert len(account.requests()) == 1


@pytest.mark.parametrize("fault", ["429", "503", "reset_after_store", "reset_mid_body", "error_in_200"])
def test_a_lost_answer_changes_nothing(account: Any, client: Any, fault: str) -> None:
    account.fill(9)
    account.fault(fault, times=3)
    settled: list[Settled] = []
    write_contacts(client, numbered(9), delivery(call_contacts=4), settled.append)
    assert sum(len(call.written) for call in settled) == 9
    assert len(account.values(21)) == 9
    assert account.query("SELECT count(*) FROM contacts") == [(10,)]


def test_an_address_in_other_letters(account: Any, client: Any) -> None:
    account.fill(1)
    settled: list[Settled] = []
    write_contacts(client, contacts("User1@Example.com"), delivery(), settled.append)
    assert len(settled[0].written) == 1
    assert account.values(21) == {"user1@example.com": "for User1@Example.com"}
