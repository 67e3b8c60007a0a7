"""Campaign watcher: newsletters of the platform that are due start runs of the DAG campaign; one DAG a publisher."""

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from newsletters.triggers import CAMPAIGN
from pipeline.campaigns import newsletters, watched_newsletters
from pipeline.schedules import START, TASK_DEFAULTS

DOC = """
### Newsletters of **{name}**

A trigger looks at {kind} and tells of each newsletter that is to be sent within {lead:g} hours. Each starts one run of
the DAG `campaign`, whose id is made of publisher, newsletter and time: a run that exists is skipped, never doubled. A
newsletter moved to another time is a new run.

* While this DAG is paused, nobody watches. Once unpaused, newsletters that are still to come are noticed.
* `start` failed because `campaign` is paused: unpause it. The newsletter is announced again after 15 minutes.
* The trigger's log is the triggerer's own.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""
    if publisher.campaigns is None:
        return
    watched = watched_newsletters(publisher.name, publisher.campaigns.kind)

    @dag(
        dag_id=f"campaign_watcher__{publisher.name}",
        schedule=[watched],
        start_date=START,
        catchup=False,
        default_args=TASK_DEFAULTS,
        tags=["luigisbox", "campaign", *publisher.tags],
        doc_md=DOC.format(name=publisher.name, kind=publisher.campaigns.kind, lead=publisher.campaigns.lead_hours),
    )
    def build() -> None:
        TriggerDagRunOperator.partial(
            task_id="start",
            trigger_dag_id=CAMPAIGN,
            logical_date=None,
            skip_when_already_exists=True,
            fail_when_dag_is_paused=True,
            map_index_template="{{ task.trigger_run_id }}",
        ).expand_kwargs(newsletters(publisher.name))

    build()


for each in sound_publishers():
    make(each)
