"""Audience: source → validated chunks → guard → upload of the user set; one DAG for each publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from luigisbox.assets import user_set_accepted
from pipeline.audience import audience
from pipeline.forms import ACCEPT_HELD, AUDIENCE, WINDOW
from pipeline.plan import plan
from pipeline.pools import pull_pool
from pipeline.schedules import START, TASK_DEFAULTS, timetable

DOC = """
### Audience of **{name}**

Pulls the customer ids, validates them, writes chunks, asks the guard, uploads the list. The upload **replaces** the
live list of the tracker, so the guard compares first: an empty list, or one that shrank, grew or changed too much,
does not pass. Luigi's Box's answer emits the asset `user_set_{name}`.

* `judge` failed with **held**: look at its log; if the list is right, trigger the DAG again with *Publish a held list*.
* `judge` failed with **refused**: mend the source, or the thresholds under `guard:` in `{name}.yaml`.
* A backfill builds and compares each old list, and the guard refuses to publish it over a newer one.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"audience__{publisher.name}",
        schedule=timetable(publisher.schedule.audience, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=TASK_DEFAULTS,
        params={**AUDIENCE, **ACCEPT_HELD, **WINDOW},
        tags=["luigisbox", "audience", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        audience(plan(publisher.name), outlets=[user_set_accepted(publisher.name)], pool=pull_pool([publisher]))

    build()


for each in sound_publishers():
    make(each)
