"""The demo's figures: gathered from Airflow, the sandbox and the files, then held against each other."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from demo.airflow import Api
from demo.processes import DemoError
from include.staging import write_json

HISTORY = "past_transactions__demo"


def summary(
    airflow: Api, run_id: str, sandbox: str, shop: dict[str, Any], seen: set[tuple[str, str]], folder: Path
) -> dict[str, Any]:
    """Everything the table shows, as one JSON object.

    Args:
        airflow: the running Airflow.
        run_id: of the campaign run.
        sandbox: address of the running sandbox.
        shop: what the warehouse holds.
        seen: every (task id, state) that was observed while the campaign ran.
        folder: the demo's folder.
    """

    def campaign(task: str) -> dict[str, Any]:
        result: dict[str, Any] = airflow.result("campaign", run_id, task)
        return result

    built, report = campaign("audience.build"), campaign("recommendations.report")
    runs = [run["dag_run_id"] for run in airflow.runs(HISTORY) if run["run_type"] == "backfill"]
    history = [airflow.result(HISTORY, run, "past_transactions.upload") for run in runs]
    sent = [{**figures["sent"], "files": figures["files"], "bytes": figures["bytes"]} for figures in history]
    feed = report["deliveries"]["feed"]
    files = [path for path in (folder / "staging").rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {
        "shop": shop,
        "history": {
            "runs": len(runs),
            **{key: sum(figures[key] for figures in sent) for key in ("files", "rows", "sessions", "bytes")},
        },
        "audience": {key: built[key] for key in ("extracted", "rejected", "duplicates", "uploaded", "reasons")},
        "batch": {key: report[key] for key in ("outcome", "personalised", "absent", "unexpected")},
        "delivered": {
            "recipients": feed["recipients"],
            "default": feed["default"],
            "table_rows": report["deliveries"]["warehouse_table"]["rows"],
            "table_rows_found": _table_rows(folder / "warehouse.sqlite"),
        },
        "sandbox": requests.get(f"{sandbox}/_sandbox/state", timeout=10).json(),
        "wait_was_deferred": ("recommendations.wait", "deferred") in seen,
        "files": len(files),
        "household": _household(folder / "staging" / "demo" / "deliveries"),
    }


def _table_rows(warehouse: Path) -> int:
    with closing(sqlite3.connect(warehouse)) as connection:
        return int(connection.execute("SELECT count(*) FROM newsletter_recommendations").fetchone()[0])


def _household(deliveries: Path) -> dict[str, Any]:
    """The first personalised recipient of the feed, as the newsletter platform gets it."""
    for part in sorted(deliveries.glob("*/feed/part-*.jsonl")):
        with part.open(encoding="utf-8") as lines:
            for line in lines:
                recipient: dict[str, Any] = json.loads(line)
                if recipient["personalised"]:
                    return recipient
    raise DemoError(f"no personalised recipient in the feed below {deliveries}")


def last_error(logs: Path, dag_id: str) -> str:
    """What the newest failed task of a DAG said, and where its log is."""
    for log in sorted(
        logs.glob(f"dag_id={dag_id}/**/attempt=*.log"), key=lambda path: path.stat().st_mtime, reverse=True
    ):
        for line in reversed(log.read_text("utf-8").splitlines()):
            if '"error_detail"' in line:
                error = json.loads(line)["error_detail"][0]
                return f"{error['exc_type']}: {error['exc_value']}\nThe log: {log}"
    return f"The logs lie in {logs}."


def check(figures: dict[str, Any]) -> None:
    """Hold every sum against another that was counted elsewhere.

    Raises:
        DemoError: the sentence lists the sums that do not hold.
    """
    audience, batch, delivered = figures["audience"], figures["batch"], figures["delivered"]
    sandbox, history = figures["sandbox"], figures["history"]
    sums = {
        "extracted = rejected + duplicates + uploaded": (
            audience["extracted"],
            audience["rejected"] + audience["duplicates"] + audience["uploaded"],
        ),
        "uploaded = users the sandbox stored": (audience["uploaded"], sandbox["users"]),
        "uploaded = personalised + absent": (audience["uploaded"], batch["personalised"] + batch["absent"]),
        "recipients of the feed = uploaded": (delivered["recipients"], audience["uploaded"]),
        "default set in the feed = absent": (delivered["default"], batch["absent"]),
        "rows reported = rows in the warehouse table": (delivered["table_rows"], delivered["table_rows_found"]),
        "purchases sent = purchases the sandbox stored": (history["rows"], sandbox["transactions"]),
        "baskets sent = sessions the sandbox stored": (history["sessions"], sandbox["sessions"]),
        "the batch was fresh": (batch["outcome"], "fresh"),
        "the wait was deferred": (figures["wait_was_deferred"], True),
    }
    wrong = [f"  {what}: {left!r} and {right!r}" for what, (left, right) in sums.items() if left != right]
    if wrong:
        raise DemoError("these sums do not hold:\n" + "\n".join(wrong))


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write ``summary.json``."""
    write_json(path, figures)


def table(figures: dict[str, Any], folder: Path) -> str:
    """The table a person sees at the end, one household's recommendations, and where the outputs lie."""
    audience, batch, delivered, history = (figures[key] for key in ("audience", "batch", "delivered", "history"))
    reasons = ", ".join(
        f"{count} {reason}" for reason, count in sorted(audience["reasons"].items()) if reason != "duplicate"
    )
    rows = [
        (
            "purchases sent",
            history["rows"],
            f"{history['sessions']:,} baskets, {history['files']} files, {history['runs']} runs",
        ),
        ("extracted", audience["extracted"], "rows of campaign 13's audience"),
        ("rejected", audience["rejected"], reasons),
        ("duplicates", audience["duplicates"], "ids that came more than once"),
        ("uploaded", audience["uploaded"], "= extracted - rejected - duplicates"),
        ("personalised", batch["personalised"], "have recommendations of their own"),
        ("absent", batch["absent"], "= uploaded - personalised: no purchase in six months"),
        ("default", delivered["default"], "absent recipients who get the default set"),
        ("delivered", delivered["recipients"], "recipients in the feed"),
        ("table rows", delivered["table_rows"], "recommendations in the warehouse table"),
        ("files", figures["files"], "in the staging store"),
    ]
    width = max(len(f"{count:,}") for _, count, _ in rows)
    lines = ["", *(f"  {name:<15} {count:>{width},}   {note}" for name, count, note in rows)]
    lines += [f"  {'seconds':<15} {figures['seconds']:>{width},.0f}   from an empty folder to the last delivery", ""]
    household = figures["household"]
    lines.append(f"  What household {household['recipient']} gets:")
    for kind, products in household["recommendations"].items():
        lines += [f"    {kind}", *(f"      {n}. {product['title']}" for n, product in enumerate(products, 1))]
    deliveries = folder / "staging" / "demo" / "deliveries"
    lines += [
        "",
        f"  feed, top products  {deliveries}",
        f"  warehouse table     {folder / 'warehouse.sqlite'} (newsletter_recommendations)",
        f"  figures             {folder / 'summary.json'}",
        f"  logs                {folder / 'airflow' / 'logs'}",
    ]
    return "\n".join(lines)
