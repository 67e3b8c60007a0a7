"""The demo's second publisher: an audience from Klaviyo's segment, a run that Klaviyo's campaign starts, a write-back.

Its sandbox is a process of its own: another tracker of Luigi's Box, and the Klaviyo account, with the shop's households
as profiles.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from demo.airflow import Api
from demo.processes import DemoError
from include.sandbox.klaviyo.fill import fill_klaviyo

PUBLISHER = "demo_klaviyo"
TRACKER = "1234-5679"
SEGMENT = "SEGM01"
CAMPAIGN = "SPRING"
"""The newsletter that is scheduled in Klaviyo."""
HISTORY = f"past_transactions__{PUBLISHER}"
WATCHER = f"campaign_watcher__{PUBLISHER}"
HOURS_AHEAD = 6
"""How long before its sending the newsletter is scheduled."""


def connections(port: int) -> dict[str, dict[str, Any]]:
    """Airflow connections of the second publisher."""
    host = f"http://127.0.0.1:{port}"
    return {
        "luigisbox_demo_klaviyo": {
            "conn_type": "luigisbox",
            "host": host,
            "login": TRACKER,
            "password": "your_private_api_key",
        },
        "batch_demo_klaviyo": {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port},
        "klaviyo_demo": {"conn_type": "klaviyo", "host": host, "password": "pk_sandbox"},
    }


def fill(folder: Path) -> int:
    """Fill Klaviyo's account with the shop's households; gives the number of profiles."""
    (folder / "sandbox-klaviyo").mkdir()
    with closing(sqlite3.connect(folder / "warehouse.sqlite")) as database:
        ids = [str(row[0]) for row in database.execute("SELECT household_id FROM households ORDER BY household_id")]
    filled = fill_klaviyo(folder / "sandbox-klaviyo", [(name, f"household-{name}@example.com") for name in ids])
    return int(filled["profiles"])


def send_history(airflow: Api, start: datetime) -> Callable[[], bool]:
    """Send the purchases since ``start`` to the second tracker in one triggered run; gives what asks if it is done.

    Raises:
        DemoError: (by what is given) the run failed.
    """
    window = {"window_start": start.isoformat(), "window_end": datetime(2018, 1, 1, tzinfo=start.tzinfo).isoformat()}
    airflow.unpause(HISTORY)
    airflow.trigger(HISTORY, "half-a-year", window)

    def done() -> bool:
        (state,) = [run["state"] for run in airflow.runs(HISTORY)]
        if state == "failed":
            raise DemoError(f"the run of {HISTORY} failed; look at its tasks' logs")
        return bool(state == "success")

    return done


def schedule_campaign(sandbox: str) -> None:
    """What a marketer does in Klaviyo: schedule a newsletter to the segment."""
    body = {
        "name": "Spring",
        "status": "scheduled",
        "send_at": (datetime.now(UTC) + timedelta(hours=HOURS_AHEAD)).isoformat(timespec="seconds"),
        "included": [SEGMENT],
        "excluded": [],
    }
    answer = requests.put(f"{sandbox}/_sandbox/klaviyo/campaigns/{CAMPAIGN}", json=body, timeout=10)
    answer.raise_for_status()


def figures(airflow: Api, sandbox: str, seen: dict[str, set[tuple[str, str]]], folder: Path) -> dict[str, Any]:
    """What became of the second newsletter.

    Args:
        airflow: the running Airflow.
        sandbox: address of the sandbox with Klaviyo's account.
        seen: every (task, state) that was observed, by run id.
        folder: the demo's folder.
    """
    (run_id,) = [run_id for run_id in seen if run_id.startswith("klaviyo__")]
    built, report = (airflow.result("campaign", run_id, task) for task in ("audience.build", "recommendations.report"))
    return {
        "run_id": run_id,
        "audience": {key: built[key] for key in ("extracted", "rejected", "duplicates", "uploaded", "reasons")},
        "batch": {key: report[key] for key in ("outcome", "personalised", "absent", "unexpected")},
        "delivered": report["deliveries"]["profiles"],
        "account": requests.get(f"{sandbox}/_sandbox/klaviyo/state", timeout=10).json(),
        "tracker": requests.get(f"{sandbox}/_sandbox/state", timeout=10).json(),
        "waits_deferred": sorted(task for task, state in seen[run_id] if state == "deferred"),
        "profile": _profile(folder / "sandbox-klaviyo"),
    }


def _profile(state: Path) -> dict[str, Any]:
    """The first profile with recommendations, as Klaviyo holds it.

    Raises:
        DemoError: there is none.
    """
    query = "SELECT external_id, properties FROM profiles WHERE properties ->> '$.mail-basket' IS NOT NULL LIMIT 1"
    with closing(sqlite3.connect(state / "klaviyo.sqlite")) as database:
        row = database.execute(query.replace("$.mail-basket", '$."mail-basket"')).fetchone()
    if row is None:
        raise DemoError(f"no profile in {state} has recommendations")
    return {"household": row[0], "properties": json.loads(row[1])}


def written(delivered: dict[str, Any]) -> int:
    """Profiles that have what they should: a task that was tried again finds what it wrote before unchanged."""
    return int(delivered["sent"] + delivered["unchanged"])


def check(found: dict[str, Any]) -> None:
    """Hold the sums of the second newsletter against what Klaviyo and Luigi's Box hold.

    Raises:
        DemoError: the sentence lists the sums that do not hold.
    """
    audience, batch, delivered, account = (found[key] for key in ("audience", "batch", "delivered", "account"))
    sums = {
        "extracted = rejected + duplicates + uploaded": (
            audience["extracted"],
            audience["rejected"] + audience["duplicates"] + audience["uploaded"],
        ),
        "profiles of the segment, and rows repeated at borders = extracted": (
            account["members"][f"segment:{SEGMENT}"] <= audience["extracted"],
            True,
        ),
        "uploaded = users the second tracker stored": (audience["uploaded"], found["tracker"]["users"]),
        "uploaded = personalised + absent": (audience["uploaded"], batch["personalised"] + batch["absent"]),
        "recipients of the write-back = uploaded": (delivered["recipients"], audience["uploaded"]),
        "profiles written = profiles that hold recommendations, but for that of the default set": (
            written(delivered),
            account["properties"]["mail-basket"] - 1,
        ),
        "each of them was imported": (account["imported"] > written(delivered), True),
        "the batch was fresh": (batch["outcome"], "fresh"),
        "the waits were deferred": (found["waits_deferred"], ["recommendations.wait", "recommendations.write_back"]),
    }
    wrong = [f"  {what}: {left!r} and {right!r}" for what, (left, right) in sums.items() if left != right]
    if wrong:
        raise DemoError("these sums of the Klaviyo newsletter do not hold:\n" + "\n".join(wrong))


def table(found: dict[str, Any]) -> str:
    """What a person sees of the second newsletter: its figures, and one profile."""
    audience, batch, delivered = found["audience"], found["batch"], found["delivered"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in audience["reasons"].items() if reason != "duplicate")
    rows = [
        ("extracted", audience["extracted"], f"profiles of Klaviyo's segment {SEGMENT}"),
        ("rejected", audience["rejected"], reasons),
        ("duplicates", audience["duplicates"], "profiles with a customer id that came before"),
        ("uploaded", audience["uploaded"], "= extracted - rejected - duplicates"),
        ("personalised", batch["personalised"], "have recommendations of their own"),
        ("defaulted", delivered["defaulted"], "the others, who get the default set"),
        ("written back", written(delivered), "profiles in Klaviyo that carry their recommendations"),
    ]
    width = max(len(f"{count:,}") for _, count, _ in rows)
    lines = ["", f"  The newsletter that Klaviyo started ({found['run_id']}):", ""]
    lines += [f"  {name:<15} {count:>{width},}   {note}" for name, count, note in rows]
    lines += ["", f"  What household {found['profile']['household']} carries in Klaviyo:"]
    for kind in ("mail-basket", "mail-discovery"):
        products = found["profile"]["properties"].get(kind, [])
        lines += [f"    {kind}", *(f"      {n}. {product['title']}" for n, product in enumerate(products, 1))]
    return "\n".join(lines)
