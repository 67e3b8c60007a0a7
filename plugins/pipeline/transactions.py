"""Task group: the purchases of one window, or of some files → whole-session files → upload, each session once."""

import logging
from typing import Any

from airflow.sdk import task, task_group

from include.publishers import config
from include.staging import to_path
from luigisbox.operators import UploadTransactionsOperator
from pipeline.plan import Plan
from warehouse.operators import PullTransactionsOperator

log = logging.getLogger(__name__)


@task
def build(plan: Plan) -> dict[str, Any]:
    """Validate the purchases and write files of whole sessions."""
    from include.books import table
    from include.transactions.build import build_transactions

    settings = config.past_transactions(config.load_publisher(plan["publisher"]))
    manifest = build_transactions(to_path(plan["run"]), settings, window=plan["window"])
    log.info("%s", table(manifest))
    return {**manifest["books"], "reasons": manifest["reasons"], "sessions": manifest["sessions"]}


@task_group
def past_transactions(the_plan: Any) -> None:
    """Pull, build and upload the purchases of one window, or of some files.

    Args:
        the_plan: what ``plan`` returned; while a DAG is wired, values of tasks are Airflow's ``XComArg``.
    """
    publisher, run = the_plan["publisher"], the_plan["run"]
    pull = PullTransactionsOperator(
        task_id="pull", publisher=publisher, run_folder=run, window=the_plan["window"], files=the_plan["files"]
    )
    upload = UploadTransactionsOperator(task_id="upload", publisher=publisher, run=run, pool="luigisbox")
    pull >> build(the_plan) >> upload
