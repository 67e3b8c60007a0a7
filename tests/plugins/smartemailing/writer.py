"""A write-back in a process of its own, to be killed: ``python writer.py URL FOLDER COUNT``.

Each settled call becomes one file, written whole; what stands in one is not sent again.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from include.deliveries.smartemailing import Contact
from include.publishers.deliveries import SmartEmailingDelivery
from include.staging import write_json
from smartemailing.client import Client
from smartemailing.connections import Settings
from smartemailing.write_back import Settled, write_contacts


def contacts(count: int) -> Iterator[Contact]:
    """Everybody; every hundredth has an address that is refused."""
    for number in range(1, count + 1):
        email = f"user{number}@example.com" if number % 100 else f"nobody{number}"
        yield Contact(email, {4: f"value {number}"})


def settled_before(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.glob("call-*.json"):
        content = json.loads(path.read_text())
        names |= {*content["written"], *content["refused"]}
    return names


def main(url: str, folder: Path, count: int) -> None:
    """Write what is not settled yet."""
    known = settled_before(folder)
    number = len(list(folder.glob("call-*.json")))
    delivery = SmartEmailingDelivery(name="contacts", kind="smartemailing", fields={"a": 4}, call_contacts=25)

    def settle(call: Settled) -> None:
        nonlocal number
        number += 1
        content = {
            "written": [contact.email for contact in call.written],
            "refused": {contact.email: reason for contact, reason in call.refused},
        }
        write_json(folder / f"call-{number:05d}.json", content)

    waiting = (contact for contact in contacts(count) if contact.email not in known)
    with Client(Settings(url, "sandbox", "sandbox_key", pause_seconds=0.003)) as client:
        write_contacts(client, waiting, delivery, settle)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
