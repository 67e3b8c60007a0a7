"""Interactions for Advisable.ai: purchases, views and the like of an interval → sent once each; one DAG a publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from pipeline.forms import FILES, INTERACTION_SOURCE, WINDOW
from pipeline.interactions import interactions
from pipeline.schedules import START, TASK_DEFAULTS, timetable

DOC = """
### Interactions of **{name}**

Sends the interactions of the run's interval to Advisable, source by source, and then lets guests who registered become
customers. What was sent is in the **ledger**: an interaction is sent once, whoever asks for it again. One that has
another price or amount now is not sent again: see `changed.parquet` of the run's folder.

* History: start a backfill, and then one run with **source** `transfers` and a window over all of it; or
  trigger the DAG with a **window**, or with **files** and the **source** they are of.
* `send` failed with **unknown**: an answer was lost, or its sender died. Its message names the interactions' files in
  the ledger; look for them at Advisable, say what you found with the DAG `settle_upload`, and clear `send`. Nothing is
  resent by itself, unless `on_unknown` of the publisher's file says so.
* What Advisable **refused** is in `refused.parquet` of the run's folder, with its reason; what was not sent at all for
  what is in it, in `rejects.parquet`.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"interactions__{publisher.name}",
        schedule=timetable(publisher.schedule.interactions, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        default_args=TASK_DEFAULTS,
        params={**WINDOW, **FILES, **INTERACTION_SOURCE},
        tags=["luigisbox", "advisable", "interactions", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        interactions(publisher.name)

    build()


for each in sound_publishers():
    if each.interactions:
        make(each)
