"""Pins: rows or lines → validated scopes → pin customizations at Luigi's Box; one DAG a publisher."""

from airflow.sdk import Param, dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from pipeline.pins import pins
from pipeline.plan import plan
from pipeline.schedules import START, TASK_DEFAULTS, timetable

DOC = """
### Pins of **{name}**

Creates pin customizations from the publisher's query or files, or makes what is there what is wanted (`mode: sync`).

* Try **dry run** first: the log of `send` shows what would be created, replaced and deleted.
* `build` rejected lines: `rejects.parquet` of the run's folder has each with its line and reason.
* `send` failed: its log and `results.parquet` say what became of each line. What was applied is not sent again when the
  task is cleared.
* A run never goes over newer pins: one that would replace or delete is refused if later ones were sent already.
* A sync **deletes** only with `pins.delete: true` in the publisher's file, never more than `pins.max_deletions`, and
  nothing while lines are rejected or refused.
"""

FORM = {
    "files": Param(
        None,
        type=["string", "null"],
        title="Files",
        description="URI of a file, or of many with * and ?, instead of the publisher's query or files: one scope a "
        "line (.ndjson, .jsonl, .json, also .gz), or one pin a row (.csv, .parquet).",
        section="Pins",
    ),
    "mode": Param(
        None,
        type=["string", "null"],
        enum=[None, "create", "sync"],
        title="Mode",
        description="create: send all of them. sync: compare with what is there, and send the difference. Empty: as "
        "the publisher's file says.",
        section="Pins",
    ),
    "conflict_strategy": Param(
        None,
        type=["string", "null"],
        enum=[None, "raise", "ignore", "override"],
        title="Conflict strategy",
        description="Of a scope that is there already: raise refuses it, ignore leaves the old one, override replaces "
        "it. Empty: as the publisher's file says.",
        section="Pins",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Show what would change, and change nothing.",
        section="Pins",
    ),
}


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"pins__{publisher.name}",
        schedule=timetable(publisher.schedule.pins, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=TASK_DEFAULTS,
        params=FORM,
        tags=["luigisbox", "pins", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        pins(plan(publisher.name, "pins"))

    build()


for each in sound_publishers():
    if each.pins:
        make(each)
