"""One part's delivery in a process of its own, which may be killed in the middle of its calls."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import airflow.sdk.io  # noqa: F401  # for an object store; takes long
import pyarrow as pa
import pyarrow.parquet as pq
import s3fs  # type: ignore[import-untyped]  # noqa: F401

from include.deliveries import books, changes, claims, confirmed
from include.deliveries.part import OWN, Part
from include.objects import arrow
from include.publishers.deliveries import SmartEmailingDelivery
from include.staging import to_path
from smartemailing.client import Client, Imported
from smartemailing.connections import Settings
from smartemailing.write_back import write_back

FIELD = "4"


def people(count: int) -> list[tuple[str, str]]:
    """Customer and address; every hundredth has an address that is refused."""
    return [(f"c{n:05d}", f"user{n}@example.com" if n % 100 else f"nobody{n}") for n in range(1, count + 1)]


def part_of(root: Path, count: int, batch: str) -> Part:
    """The only part of a batch whose list has so many customers."""
    recon = root / batch / "recon"
    recipients = recon / "recipients" / "part-000.parquet"
    if not recipients.exists():
        recipients.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"auth_user_id": user, "recipient": email, "personalised": True} for user, email in people(count)]
        pq.write_table(pa.Table.from_pylist(rows), str(recipients), filesystem=arrow(recipients))
    return Part(root / batch / "part-000", root / "confirmed", recon, 0, 1, batch, batch)


def wanted(count: int, batch: str) -> Iterator[changes.Wanted]:
    """Every third value is another one in each batch."""
    for number, (user, email) in enumerate(people(count)):
        value = f"{batch} {user}" if number % 3 == 0 else user
        yield changes.Wanted(user, email, OWN, {FIELD: value})


def killed_after(client: Client, calls: int, seconds: float) -> None:
    """Kill this process from a second thread, in the middle of whatever the first one does."""
    importing, began = client.import_contacts, 0

    def counting(body: bytes) -> Imported:
        nonlocal began
        began += 1
        if began == calls:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return importing(body)

    client.import_contacts = counting  # type: ignore[method-assign]


def main(url: str, folder: str, count: int, batch: str, *kill: float) -> dict[str, int]:
    """Deliver the batch, or what is left of it; gives the figures.

    With ``kill`` (calls, seconds) this process is killed so many seconds after so many calls began.
    """
    delivery = SmartEmailingDelivery(name="contacts", kind="smartemailing", fields={"a": int(FIELD)}, call_contacts=25)
    part = part_of(to_path(folder), count, batch)
    claims.begin(part)
    changes.compare(part, wanted(count, batch))
    confirmed.doubt(part)
    with Client(Settings(url, "sandbox", "sandbox_key", pause_seconds=0.003)) as client:
        if kill:
            killed_after(client, int(kill[0]), float(kill[1]))
        refused = write_back(client, part, delivery)
    return books.settle(part, refused)
