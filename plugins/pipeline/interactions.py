"""Task groups: interactions of each source → validated units → sent once each; then guests become customers."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.sdk import get_current_context, task, task_group

from advisable.operators import SendInteractionsOperator, TransferInteractionsOperator
from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.publishers.senders import INTERACTION_COLUMNS, Interactions, Transfers
from include.staging import to_path
from pipeline.plan import Plan, plan

if TYPE_CHECKING:
    from include.extract import Record
    from include.publishers.base import Source

log = logging.getLogger(__name__)
TRANSFERS = "transfers"
"""What the form calls the transfers, and their folder."""
_WHAT = "{{ task.run.rpartition('/')[2] }}"


class Item(TypedDict):
    """One source of a run: its name, its folder, and what its template may know."""

    name: str
    run: str
    window: dict[str, str] | None
    files: str | None


@task
def sources(the_plan: Plan) -> list[Item]:
    """The sources that this run sends: all, or the one that the form names.

    Raises:
        ConfigError: there is no such source, or files were given with a window, or without saying of which source they
            are.
    """
    settings = _settings(the_plan["publisher"])
    chosen = _chosen(the_plan, settings)
    return [_item(the_plan, source.name) for source in settings.sources if chosen in (None, source.name)]


@task
def transfers(the_plan: Plan) -> list[Item]:
    """The transfers of this run, if it has any."""
    settings = _settings(the_plan["publisher"])
    chosen = _chosen(the_plan, settings)
    return [_item(the_plan, TRANSFERS)] if settings.transfers and chosen in (None, TRANSFERS) else []


@task(map_index_template="{{ what }}")
def pull(publisher: str, name: str, run: str, window: dict[str, str] | None, files: str | None) -> dict[str, int]:
    """Stage the rows of a source."""
    settings = _settings(publisher)
    source = settings.transfers if name == TRANSFERS else settings.source(name)
    if source is None:
        raise ConfigError(f"publisher {publisher}: interactions has no source {name}")
    record = _pull(source, to_path(run), publisher, window, files)
    return {"rows": record["rows"], "refused": record["refused"]}


@task(map_index_template="{{ what }}")
def build(publisher: str, name: str, run: str) -> dict[str, Any]:
    """Validate the rows and write the units."""
    from include.books import table
    from include.interactions.build import build_interactions
    from include.interactions.transfers import build_transfers

    settings = _settings(publisher)
    get_current_context()["what"] = name  # type: ignore[typeddict-unknown-key]
    if name == TRANSFERS:
        manifest = build_transfers(to_path(run), settings)
    else:
        source = settings.source(name)
        if source is None:
            raise ConfigError(f"publisher {publisher}: interactions has no source {name}")
        manifest = build_interactions(to_path(run), source, settings)
    log.info("%s", table(manifest))
    return {**manifest["books"], "reasons": manifest["reasons"]}


@task_group
def source(publisher: str, name: Any, run: Any, window: Any, files: Any) -> None:
    """Pull, build and send one source."""
    pulled = pull(publisher, name, run, window, files)
    send = SendInteractionsOperator(
        task_id="send",
        publisher=publisher,
        run=run,
        pool="advisable",
        max_active_tis_per_dagrun=1,
        map_index_template=_WHAT,
    )
    pulled >> build(publisher, name, run) >> send


@task_group
def transfer(publisher: str, name: Any, run: Any, window: Any, files: Any) -> None:
    """Pull, build and send the transfers; after all sources, so that no interaction of a guest comes too late."""
    pulled = pull.override(trigger_rule="none_failed")(publisher, name, run, window, files)
    send = TransferInteractionsOperator(
        task_id="send", publisher=publisher, run=run, pool="advisable", map_index_template=_WHAT
    )
    pulled >> build(publisher, name, run) >> send


def interactions(publisher: str) -> None:
    """Wire plan, sources and transfers of a publisher.

    Args:
        publisher: name of the publisher file.
    """
    the_plan: Any = plan(publisher, "interactions")
    sent = source.partial(publisher=publisher).expand_kwargs(sources(the_plan))
    sent >> transfer.partial(publisher=publisher).expand_kwargs(transfers(the_plan))


def _settings(publisher: str) -> Interactions:
    settings = load_publisher(publisher).interactions
    if settings is None:
        raise ConfigError(f"publisher {publisher}: interactions is missing in its file")
    return settings


def _chosen(the_plan: Plan, settings: Interactions) -> str | None:
    """The source that the form names; None: all."""
    chosen = get_current_context()["params"].get("source") or None
    known = [source.name for source in settings.sources] + ([TRANSFERS] if settings.transfers else [])
    if chosen and chosen not in known:
        raise ConfigError(f"source: there is no {chosen!r}; known are {', '.join(known)}. Nothing was done.")
    if the_plan["files"] and not chosen:
        raise ConfigError(
            f"files: say in source of which source they are, one of {', '.join(known)}. Nothing was done."
        )
    if the_plan["files"] and the_plan["window"]:
        raise ConfigError(
            "files: all that lies in them is sent, whatever the window is; give files or a window, not both. Nothing "
            "was done."
        )
    return chosen


def _item(the_plan: Plan, name: str) -> Item:
    run = to_path(the_plan["run"]) / name
    return {"name": name, "run": run.as_uri(), "window": the_plan["window"], "files": the_plan["files"]}


def _pull(source: "Source", run: Path, publisher: str, window: dict[str, str] | None, files: str | None) -> "Record":
    from include.interactions.transfers import COLUMNS
    from warehouse.pull import Columns
    from warehouse.source import pull_source

    context = get_current_context()
    context["what"] = run.name  # type: ignore[typeddict-unknown-key]
    if isinstance(source, Transfers):
        return pull_source(source, Columns(COLUMNS), run, context, publisher, window, files=files)
    columns = Columns(INTERACTION_COLUMNS[:3], INTERACTION_COLUMNS[3:])
    names = getattr(source, "columns", {})
    return pull_source(source, columns, run, context, publisher, window, names=names, files=files)
