"""Task group: the purchases of one window → whole-session files → upload, once each."""

import logging
from typing import Any

from airflow.sdk import get_current_context, task, task_group

from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.staging import to_path
from luigisbox.operators import UploadTransactionsOperator
from pipeline.plan import Plan, resolve
from warehouse.operators import PullTransactionsOperator

log = logging.getLogger(__name__)


@task
def plan(publisher: str) -> Plan:
    """Resolve what this run is about.

    Raises:
        ConfigError: the run has neither a data interval nor a window, or the publisher sends no purchases.
    """
    if load_publisher(publisher).past_transactions is None:
        raise ConfigError(f"publisher {publisher}: past_transactions is missing in its file")
    the_plan = resolve(publisher, "transactions", get_current_context())
    if the_plan["window"] is None:
        raise ConfigError("this run has no data interval: give window_start and window_end, or start a backfill")
    return the_plan


@task
def build(plan: Plan) -> dict[str, Any]:
    """Validate the purchases and write files of whole sessions."""
    from include.transactions.build import build_transactions

    settings = load_publisher(plan["publisher"]).past_transactions
    if settings is None:
        raise ConfigError(f"publisher {plan['publisher']}: past_transactions is missing in its file")
    manifest = build_transactions(to_path(plan["run"]), settings)
    log.info("books: %s; refused for: %s", manifest["books"], manifest["reasons"] or "nothing")
    return {**manifest["books"], "reasons": manifest["reasons"], "sessions": manifest["sessions"]}


@task_group
def past_transactions(publisher: str) -> None:
    """Pull, build and upload the purchases of one window."""
    the_plan = plan(publisher)
    pull = PullTransactionsOperator(
        task_id="pull", publisher=publisher, run_folder=the_plan["run"], window=the_plan["window"]
    )
    upload = UploadTransactionsOperator(task_id="upload", publisher=publisher, run=the_plan["run"], pool="luigisbox")
    pull >> build(the_plan) >> upload
