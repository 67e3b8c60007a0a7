"""Task group: source → chunks → guard → upload: the whole `audience` DAG, and the first half of a campaign."""

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Asset, task, task_group

from include.errors import PipelineError
from include.publishers.config import load_publisher
from include.staging import staging_root, to_path
from luigisbox.operators import UploadUsersOperator
from pipeline.plan import Plan
from pipeline.pull import PullOperator

if TYPE_CHECKING:
    from include.audience.sources import Turn

log = logging.getLogger(__name__)


class ListNotPublished(PipelineError):
    """The guard held or refused the new list; the live one stays as it is."""


@task
def split(plan: Plan) -> list[dict[str, Any]]:
    """The source's natural parts, one mapped pull each: partitions of a query, or a platform's lists and segments."""
    from include.audience.sources import turns_of
    from warehouse.partitions import plan_partitions
    from warehouse.queries import WHOLE

    if plan["sql"] or plan["file"]:
        return [dict(WHOLE)]
    if turns := turns_of(load_publisher(plan["publisher"]).audience):
        return [dict(turn) for turn in turns]
    return [dict(part) for part in plan_partitions(plan["publisher"], plan["window"])]


@task
def build(plan: Plan, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Validate, de-duplicate and write the chunks; a platform's sources are put together first."""
    from include.audience.build import build_audience
    from include.audience.gather import gather
    from include.books import table

    settings, run, expected = load_publisher(plan["publisher"]).audience, to_path(plan["run"]), len(parts)
    if "sources" in parts[0]:
        gather(run, [source for part in parts for source in cast("Turn", part)["sources"]], settings)
        expected = 1
    manifest = build_audience(run, settings, datetime.fromisoformat(plan["as_of"]), expected)
    log.info("%s", table(manifest))
    return {**manifest["books"], "reasons": manifest["reasons"], "chunks": len(manifest["chunks"])}


@task
def judge(plan: Plan) -> dict[str, Any]:
    """Ask the guard whether this list may replace the live one.

    Raises:
        ListNotPublished: it holds or refuses; the message has the figures and how to go on.
    """
    from include.audience import guard, user_sets

    run, publisher = to_path(plan["run"]), load_publisher(plan["publisher"])
    live = user_sets.live(staging_root(), publisher.name)
    segment = bool(plan["sql"] or plan["file"])
    verdict = guard.judge(run, live, publisher.guard, plan["accept_held"], segment)
    if not verdict.passed:
        raise ListNotPublished(verdict.sentence())
    log.info("%s", verdict.sentence())
    return {"verdict": verdict.verdict, "accepted_by_hand": verdict.accepted_by_hand}


@task_group
def audience(the_plan: Any, outlets: list[Asset], pool: str) -> Any:
    """Pull, build, judge and upload one user set.

    Args:
        the_plan: what ``plan`` returned; while a DAG is wired, values of tasks are Airflow's ``XComArg``.
        outlets: assets to emit when Luigi's Box has accepted the list.
        pool: of the pulls; see ``pipeline.pools``.

    Returns:
        what the upload returns; its ``user_set`` is the accepted list's name.
    """
    parts: Any = split(the_plan)
    pull = PullOperator.partial(
        task_id="pull",
        pool=pool,
        map_index_template="{{ what }}",
        publisher=the_plan["publisher"],
        run_folder=the_plan["run"],
        window=the_plan["window"],
        sql=the_plan["sql"],
        file=the_plan["file"],
    ).expand(partition=parts)
    upload = UploadUsersOperator(
        task_id="upload",
        publisher=the_plan["publisher"],
        run=the_plan["run"],
        outlets=outlets,
        multiple_outputs=True,
        pool="luigisbox",
    )
    pull >> build(the_plan, parts) >> judge(the_plan) >> upload
    return upload.output
