"""Pins: rows or lines → validated scopes → pin customizations at Luigi's Box; one DAG a publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from pipeline.forms import PINS
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


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"pins__{publisher.name}",
        schedule=timetable(publisher.schedule.pins, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=TASK_DEFAULTS,
        params=PINS,
        tags=["luigisbox", "pins", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        pins(plan(publisher.name, "pins"))

    build()


for each in sound_publishers():
    if each.pins:
        make(each)
