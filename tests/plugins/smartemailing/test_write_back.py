"""Writing to contacts: calls of some hundred, each noted before the next; who cannot be written is set aside."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.deliveries.changes import Change, Wanted, compare
from include.deliveries.part import OWN, Part
from include.deliveries.smartemailing import REFUSED, SKIPPED, TOO_LONG
from include.publishers.deliveries import SmartEmailingDelivery
from smartemailing.write_back import CALLS, send_call, write_back
from vendor_http.errors import Invalid, ServerError, Unauthorized


def delivery(**changes: Any) -> SmartEmailingDelivery:
    return SmartEmailingDelivery(name="contacts", kind="smartemailing", fields={"mail-basket": 21}, **changes)


def call_of(*emails: str, field: str = "21") -> list[Change]:
    return [Change(row, email, OWN, {field: f"for {email}"}) for row, email in enumerate(emails)]


def numbered(count: int, field: str = "21") -> list[Change]:
    return call_of(*(f"user{number}@example.com" for number in range(1, count + 1)), field=field)


def compared(root: Path, changes: list[Change]) -> Part:
    """A part of which these are the changes."""
    (root / "recon" / "recipients").mkdir(parents=True)
    rows = [{"auth_user_id": f"{change.row:05d}", "recipient": change.recipient} for change in changes]
    table = pa.Table.from_pylist(rows, pa.schema([("auth_user_id", pa.string()), ("recipient", pa.string())]))
    pq.write_table(table, root / "recon" / "recipients" / "part-000.parquet")
    part = Part(root / "part-000", root / "confirmed", root / "recon", 0, 1, "batch", "one")
    part.folder.mkdir()
    wanted = [Wanted(row["auth_user_id"], c.recipient, OWN, c.fields) for row, c in zip(rows, changes, strict=True)]
    compare(part, wanted)
    return part


def test_calls_of_a_size_in_order(account: Any, client: Any, tmp_path: Path) -> None:
    account.fill(7)
    part = compared(tmp_path, numbered(7))
    assert write_back(client, part, delivery(call_contacts=3)) == []
    assert len(account.values(21)) == 7
    assert len(account.requests()) == 3
    assert len(list((part.sending / CALLS).iterdir())) == 3


def test_a_retry_goes_on_after_what_is_settled(account: Any, client: Any, tmp_path: Path) -> None:
    account.fill(6)
    part = compared(tmp_path, [*numbered(3), *(Change(3 + n, f"zz{n}", OWN, {"21": "x"}) for n in range(4))])
    original, asked = client.import_contacts, []

    def breaking(body: bytes) -> Any:
        asked.append(body)
        if len(asked) == 3:
            raise ServerError("the vendor has trouble")
        return original(body)

    client.import_contacts = breaking
    with pytest.raises(ServerError):
        write_back(client, part, delivery(call_contacts=2))
    client.import_contacts = original
    account.forget()
    found = write_back(client, part, delivery(call_contacts=5))  # the size of a call may change meanwhile
    assert [reason for _, reason in found] == [SKIPPED] * 4
    assert len(account.requests()) == 1
    assert len(account.values(21)) == 3


def test_nothing_to_write(account: Any, client: Any, tmp_path: Path) -> None:
    assert write_back(client, compared(tmp_path, []), delivery()) == []
    assert account.requests() == []


def test_who_cannot_be_written_is_set_aside(account: Any, client: Any, tmp_path: Path, caplog: Any) -> None:
    account.fill(3)
    everybody = [
        *numbered(2),
        Change(2, "user3@example.com", OWN, {"21": "x" * 101}),
        Change(3, "nobody", OWN, {"21": "x"}),
    ]
    part = compared(tmp_path, everybody)
    with caplog.at_level(logging.WARNING):
        refused = write_back(client, part, delivery(value_bytes=100))
    assert sorted(reason for _, reason in refused) == [SKIPPED, TOO_LONG]
    assert set(account.values(21)) == {"user1@example.com", "user2@example.com"}
    assert "2 of the 4" in caplog.text
    assert "nobody" not in caplog.text
    assert "example.com" not in caplog.text


def test_all_of_a_call_is_too_long(account: Any, client: Any) -> None:
    long = [Change(row, f"{row}@example.com", OWN, {"21": "x" * 101}) for row in range(2)]
    assert send_call(client, long, delivery(value_bytes=100)) == [(0, TOO_LONG), (1, TOO_LONG)]
    assert account.requests() == []


def test_one_that_is_refused_does_not_sink_its_call(account: Any, client: Any) -> None:
    account.fill(40)
    everybody = numbered(40)
    everybody[17] = Change(17, "odd@example.com", OWN, {"99": "there is no such field"})
    assert send_call(client, everybody, delivery()) == [(17, REFUSED)]
    assert len(account.values(21)) == 39


def test_a_field_that_does_not_exist_stops_at_once(account: Any, client: Any, tmp_path: Path) -> None:
    account.fill(500)
    part = compared(tmp_path, numbered(500, field="99"))
    with pytest.raises(Invalid, match="no custom field 99"):
        write_back(client, part, delivery())
    assert not (part.folder / CALLS).exists()
    assert len(account.requests()) < 40


def test_an_error_that_is_not_the_contacts_is_no_reason_to_split(account: Any, client: Any) -> None:
    account.fault("401")
    with pytest.raises(Unauthorized):
        send_call(client, numbered(4), delivery())
    assert len(account.requests()) == 1


@pytest.mark.parametrize("fault", ["429", "503", "reset_after_store", "reset_mid_body", "error_in_200"])
def test_a_lost_answer_changes_nothing(account: Any, client: Any, fault: str) -> None:
    account.fill(9)
    account.fault(fault, times=3)
    assert send_call(client, numbered(9), delivery()) == []
    assert len(account.values(21)) == 9
    assert account.query("SELECT count(*) FROM contacts") == [(10,)]


def test_an_address_in_other_letters(account: Any, client: Any) -> None:
    account.fill(1)
    assert send_call(client, call_of("User1@Example.com"), delivery()) == []
    assert account.values(21) == {"user1@example.com": "for User1@Example.com"}
