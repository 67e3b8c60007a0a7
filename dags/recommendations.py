"""Recommendations: wait → parse → reconcile → fan out to the deliveries; one DAG for each publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from luigisbox.assets import user_set_accepted
from pipeline.forms import BATCH
from pipeline.plan import plan
from pipeline.pools import write_pool
from pipeline.recommendations import recommendations
from pipeline.schedules import START, TASK_DEFAULTS, timetable

DOC = """
### Recommendations of **{name}**

Waits, without holding a worker, until Luigi's Box has published a batch made from the live list; then parses it, holds
it against the list, and hands it to the deliveries in parts. Ends with the asset event `recommendations_{name}`.

* `wait` is deferred for hours: normal. Its log says in one line what it is still waiting for.
* `wait` failed at the deadline: the message has the last evidence. `on_deadline` of the publisher's file may say
  `use_previous` or `default_only` instead.
* `reconcile` failed: the batch covers less than `coverage:` in `include/publishers/{name}.yaml` demands.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""
    when = publisher.schedule.recommendations

    @dag(
        dag_id=f"recommendations__{publisher.name}",
        schedule=[user_set_accepted(publisher.name)]
        if when == "after_upload"
        else timetable(when, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=TASK_DEFAULTS,
        params=BATCH,
        tags=["luigisbox", "recommendations", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        recommendations(plan(publisher.name), pool=write_pool([publisher]))

    build()


for each in sound_publishers():
    make(each)
