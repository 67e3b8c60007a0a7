"""Task group: rows or lines → validated scopes → Luigi's Box, and what became of each line."""

import logging
from typing import Any

from airflow.sdk import get_current_context, task, task_group

from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.publishers.senders import Pins
from include.staging import to_path
from luigisbox.pin_operators import SendPinsOperator
from pipeline.plan import Plan

log = logging.getLogger(__name__)


@task
def pull(plan: Plan) -> dict[str, Any]:
    """Bring the pins to the staging store."""
    from warehouse.pins import pull_pins

    settings, run = _settings(plan["publisher"]), to_path(plan["run"])
    return pull_pins(settings, run, get_current_context(), plan["publisher"], plan["window"], plan["files"])


@task
def build(plan: Plan) -> dict[str, Any]:
    """Validate the scopes, and write them in parts of one call each."""
    from include.books import table
    from include.pins.build import build_pins

    manifest = build_pins(to_path(plan["run"]), _settings(plan["publisher"]))
    log.info("%s", table(manifest))
    return {**manifest["books"], "reasons": manifest["reasons"], "scopes": manifest["scopes"]}


@task_group
def pins(the_plan: Any) -> None:
    """Pull, build and send pins.

    Args:
        the_plan: what ``plan`` returned; while a DAG is wired, values of tasks are Airflow's ``XComArg``.
    """
    send = SendPinsOperator(
        task_id="send",
        publisher=the_plan["publisher"],
        run=the_plan["run"],
        as_of=the_plan["as_of"],
        mode="{{ params.mode or '' }}",
        conflict_strategy="{{ params.conflict_strategy or '' }}",
        only_show="{{ params.dry_run }}",
        pool="luigisbox",
    )
    pull(the_plan) >> build(the_plan) >> send


def _settings(publisher: str) -> Pins:
    settings = load_publisher(publisher).pins
    if settings is None:
        raise ConfigError(f"publisher {publisher}: pins is missing in its file")
    return settings
