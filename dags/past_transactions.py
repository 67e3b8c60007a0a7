"""Past transactions: purchases of an interval → whole-session files → upload, once each; one DAG a publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from pipeline.forms import WINDOW
from pipeline.plan import plan
from pipeline.schedules import START, TASK_DEFAULTS, timetable
from pipeline.transactions import past_transactions

DOC = """
### Past transactions of **{name}**

Sends the purchases of the run's interval. What is sent is **appended and cannot be taken back**: the ledger notes each
file before its first byte leaves, and a file that was confirmed is never sent again, whoever asks.

* History: start a backfill over the years you have; the pool `luigisbox` keeps the uploads apart.
* `upload` refused an **overlapping window**: purchases of it were sent in other files. Trigger the DAG with a window
  that does not overlap.
* `upload` failed with **unknown**: the connection broke after the whole file had left. Its message says what to check
  at Luigi's Box and how to settle it; nothing is resent by itself.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"past_transactions__{publisher.name}",
        schedule=timetable(publisher.schedule.past_transactions, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        default_args=TASK_DEFAULTS,
        params=WINDOW,
        tags=["luigisbox", "past transactions", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        past_transactions(plan(publisher.name, "transactions"))

    build()


for each in sound_publishers():
    if each.past_transactions:
        make(each)
