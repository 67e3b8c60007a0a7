"""Task group: the purchases of one window → whole-session files → upload, once each."""

import logging
from typing import Any

from airflow.sdk import task, task_group

from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.staging import to_path
from luigisbox.operators import UploadTransactionsOperator
from pipeline.plan import Plan
from warehouse.operators import PullTransactionsOperator

log = logging.getLogger(__name__)


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
def past_transactions(the_plan: Any) -> None:
    """Pull, build and upload the purchases of one window.

    Args:
        the_plan: what ``plan`` returned; while a DAG is wired, values of tasks are Airflow's ``XComArg``.
    """
    publisher, run, window = the_plan["publisher"], the_plan["run"], the_plan["window"]
    pull = PullTransactionsOperator(task_id="pull", publisher=publisher, run_folder=run, window=window)
    upload = UploadTransactionsOperator(task_id="upload", publisher=publisher, run=run, window=window, pool="luigisbox")
    pull >> build(the_plan) >> upload
