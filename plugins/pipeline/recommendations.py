"""Task group: wait for the batch → reconcile it with the list → fan out to the deliveries → report."""

import logging
from typing import Any

from airflow.sdk import get_current_context, task, task_group

from include.publishers.config import load_publisher
from include.staging import MANIFEST, read_json, staging_root, to_path
from luigisbox.assets import RECOMMENDATIONS_READY, recommendations_ready
from pipeline.deliver_operator import DeliverOperator
from pipeline.plan import Plan
from pipeline.pools import PLATFORMS
from pipeline.wait import WaitOperator

log = logging.getLogger(__name__)


@task
def reconcile(plan: Plan, batch: dict[str, Any]) -> dict[str, Any]:
    """Hold the batch against the list it was made for; log the coverage, fail below the thresholds.

    Raises:
        PipelineError: the coverage is below what the publisher's file demands.
    """
    from include.audience import user_sets
    from include.recommendations import coverage

    publisher, folder = load_publisher(plan["publisher"]), to_path(batch["uri"])
    user_set = user_sets.load(staging_root(), publisher.name, batch["user_set"])
    figures = coverage.reconcile(
        folder,
        user_set,
        publisher.batch,
        publisher.coverage,
        default_only=batch["outcome"] == "default_only",
        previous=batch["outcome"] == "previous",
    )
    log.info("coverage of batch %s\n%s", batch["sha256"][:12], coverage.table(figures))
    coverage.check(figures)
    return figures


@task
def fan_out(
    plan: Plan,
    batch: dict[str, Any],
    coverage: dict[str, Any],  # noqa: ARG001
    platforms: bool,
) -> list[dict[str, Any]]:
    """One item for each part of the batch and each delivery that works on parts.

    Args:
        plan: of the run.
        batch: what ``wait`` returned.
        coverage: what ``reconcile`` returned: nothing is delivered before.
        platforms: the deliveries to newsletter platforms; or all others.
    """
    from pipeline.deliver import check_types

    check_types(plan, batch)
    publisher = load_publisher(plan["publisher"])
    parts = len(read_json(to_path(batch["uri"]) / MANIFEST)["parts"])
    wanted = [publisher.delivery(name) for name in plan["deliveries"]]
    return [
        {"delivery": delivery.name, "part": part}
        for delivery in wanted
        if delivery.kind != "asset" and (delivery.kind in PLATFORMS) == platforms
        for part in range(parts)
    ]


@task(outlets=[RECOMMENDATIONS_READY], trigger_rule="none_failed")
def report(
    plan: Plan,
    batch: dict[str, Any],
    coverage: dict[str, Any],
    delivered: list[dict[str, Any]],
    written: list[dict[str, Any]],
) -> dict[str, Any]:
    """Commit the deliveries, check the books, log the table, and announce *recommendations ready* where asked for."""
    from pipeline.deliver import close_books

    figures = close_books(plan, batch, coverage, [*(delivered or []), *(written or [])])
    log.info("%s", figures.pop("table"))
    publisher = load_publisher(plan["publisher"])
    if any(publisher.delivery(name).kind == "asset" for name in plan["deliveries"]):
        events = get_current_context()["outlet_events"]
        events[RECOMMENDATIONS_READY].add(recommendations_ready(publisher.name), extra=figures)
    return figures


@task_group
def recommendations(the_plan: Any, pool: str, user_set: Any = "") -> None:
    """Wait for the batch of a user set and deliver it.

    Args:
        the_plan: what ``plan`` returned; while a DAG is wired, values of tasks are Airflow's ``XComArg``.
        pool: of the deliveries to platforms; see ``pipeline.pools``.
        user_set: name of the accepted list; empty: the live one.
    """
    batch: Any = WaitOperator(
        task_id="wait",
        publisher=the_plan["publisher"],
        user_set=user_set,
        deadline=the_plan["deadline"],
        since=the_plan["since"],
    ).output
    coverage: Any = reconcile(the_plan, batch)
    parts: Any = fan_out(the_plan, batch, coverage, platforms=False)
    platform_parts: Any = fan_out.override(task_id="fan_out_to_platforms")(the_plan, batch, coverage, platforms=True)
    how: dict[str, Any] = {"plan": the_plan, "batch": batch, "map_index_template": "{{ what }}"}
    delivered: Any = DeliverOperator.partial(task_id="deliver", **how).expand(item=parts).output
    written: Any = DeliverOperator.partial(task_id="write_back", pool=pool, **how).expand(item=platform_parts).output
    report(the_plan, batch, coverage, delivered, written)
