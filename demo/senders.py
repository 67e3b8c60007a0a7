"""The demo's other senders: December once more, of which the ledger sends nothing; pins; and a day for Advisable.ai."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from demo.airflow import DONE, Api
from demo.processes import DemoError
from demo.report import last_error
from demo.warehouse import INTERACTIONS_SINCE
from include.ledger import FILE, sqlite_ledger
from include.ledger.tables import book_text

AGAIN = ("past_transactions__demo", "december-once-more", "past_transactions.upload")
PINS = ("pins__demo", "pins", "pins.send")
INTERACTIONS = ("interactions__demo", "last-day", "source.send")
"""DAG, run and the task whose result counts."""
WANTED = "SELECT count(*) FROM (SELECT 1 FROM pinned_products GROUP BY product_id HAVING min(position) >= -1)"
"""Products whose pins are all as they should be: a scope goes whole or not at all."""
BOUGHT = "household_id, product_id, transaction_timestamp"
"""What tells one interaction from another."""
RUNS = (AGAIN, PINS, INTERACTIONS)


def connection(port: int) -> dict[str, dict[str, Any]]:
    """The Airflow connection of Advisable.ai, which the sandbox plays too."""
    form = {"host": f"http://127.0.0.1:{port}/advisable", "login": "sandbox", "password": "sandbox_secret"}
    return {"advisable_demo": {"conn_type": "advisable", **form}}


def trigger(airflow: Api, zone: Any) -> None:
    """Start the three runs."""
    end = datetime(2018, 1, 1, tzinfo=zone)
    since = {AGAIN: datetime(2017, 12, 1, tzinfo=zone), INTERACTIONS: INTERACTIONS_SINCE}
    for dag, run, _ in RUNS:
        start = since.get((dag, run, _))
        window = {"window_start": start.isoformat(), "window_end": end.isoformat()} if start else {}
        airflow.unpause(dag)
        airflow.trigger(dag, run, window)


def finished(airflow: Api, logs: Path) -> Callable[[], bool]:
    """What asks whether the three runs are done.

    Raises:
        DemoError: (by what is given) one failed.
    """

    def ask() -> bool:
        states = {dag: {each["dag_run_id"]: each["state"] for each in airflow.runs(dag)}[run] for dag, run, _ in RUNS}
        for dag, state in states.items():
            if state == "failed":
                raise DemoError(f"a run of {dag} failed. {last_error(logs, dag)}")
        return set(states.values()) <= DONE

    return ask


def figures(airflow: Api, sandbox: str, folder: Path) -> dict[str, Any]:
    """What became of the three runs, and what the ledger and the sandbox hold."""
    again, pins, interactions = (airflow.result(*run, map_index=0 if run is INTERACTIONS else -1) for run in RUNS)
    ledger = sqlite_ledger(folder / "staging" / FILE)
    with closing(sqlite3.connect(folder / "warehouse.sqlite")) as database:
        since = INTERACTIONS_SINCE.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        query = f"SELECT count(*) FROM (SELECT DISTINCT {BOUGHT} FROM transactions WHERE transaction_timestamp >= ?)"
        (bought,) = database.execute(query, [since]).fetchone()
        (wanted,) = database.execute(WANTED).fetchone()
    return {
        "again": again,
        "pins": pins,
        "pins_wanted": wanted,
        "pins_stored": len(requests.get(f"{sandbox}/_sandbox/pins", timeout=10).json()),
        "interactions": interactions,
        "interactions_bought": bought,
        "interactions_stored": len(requests.get(f"{sandbox}/_sandbox/interactions", timeout=60).json()),
        "ledger": [month._asdict() for month in ledger.months("demo/transactions")],
        "ledger_text": book_text(ledger, "demo/transactions"),
    }


def check(found: dict[str, Any], history: dict[str, Any]) -> None:
    """Hold the sums against what the sandbox holds.

    Raises:
        DemoError: the sentence lists the sums that do not hold.
    """
    ledger = found["ledger"]
    sums = {
        "sessions of December sent once more": (found["again"]["sent"]["sessions"], 0),
        "sessions of December changed or unknown": (
            found["again"]["changed"]["sessions"] + found["again"]["unknown"]["sessions"],
            0,
        ),
        "some sessions were recognised": (found["again"]["already_sent"]["sessions"] > 0, True),
        "sessions in the ledger = baskets sent": (sum(month["units"] for month in ledger), history["sessions"]),
        "rows in the ledger = purchases sent": (sum(month["rows"] for month in ledger), history["rows"]),
        "every file is confirmed": ({month["state"] for month in ledger}, {"confirmed"}),
        "pins applied = pins stored": (found["pins"]["applied"], found["pins_stored"]),
        "pins wanted = pins stored": (found["pins_wanted"], found["pins_stored"]),
        "interactions sent = interactions stored": (found["interactions"]["sent"], found["interactions_stored"]),
        "purchases of the last day = interactions": (found["interactions_bought"], found["interactions_stored"]),
    }
    wrong = [f"  {what}: {left!r} and {right!r}" for what, (left, right) in sums.items() if left != right]
    if wrong:
        raise DemoError("these sums of the other senders do not hold:\n" + "\n".join(wrong))


def table(found: dict[str, Any]) -> str:
    """What a person sees: the ledger, and the figures of the three runs."""
    again, pins, interactions = found["again"], found["pins"], found["interactions"]
    rows = [
        ("sent again", again["sent"]["sessions"], "baskets of December, in a run for a window that was sent"),
        ("already sent", again["already_sent"]["sessions"], "baskets that the ledger knew"),
        ("pins applied", pins["applied"], "best sellers, each with the companion that is bought with it"),
        ("pins rejected", pins["rejected"], "a position that no pin can have, and the other row of its scope"),
        ("interactions", interactions["sent"], f"purchases to Advisable.ai, in {interactions['requests']} requests"),
    ]
    width = max(len(f"{count:,}") for _, count, _ in rows)
    lines = ["", "  The ledger of what was sent to Luigi's Box:", ""]
    lines += [f"  {line}" for line in found["ledger_text"].splitlines()]
    return "\n".join([*lines, "", *(f"  {name:<15} {count:>{width},}   {note}" for name, count, note in rows)])
