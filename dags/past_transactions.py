"""Past transactions: purchases of an interval → whole-session files → upload, once each; one DAG a publisher."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from include.publishers.models import Publisher
from pipeline.forms import FILES, WINDOW
from pipeline.plan import plan
from pipeline.schedules import START, TASK_DEFAULTS, timetable
from pipeline.transactions import past_transactions

DOC = """
### Past transactions of **{name}**

Sends the purchases of the run's interval. What is sent is **appended and cannot be taken back**: the ledger notes the
sessions of each file before its first byte leaves, and a session that was sent is never sent again, whoever asks.

* History: start a backfill over the years you have; the pool `luigisbox` keeps the uploads apart. Or trigger the DAG
  with a **window**, or with **files** (without a window, everything in them).
* Windows and files may **overlap** what was sent: sessions that were sent are left out, and `upload` says how many.
* **Changed** sessions (sent before, not the same now) are not sent either: Luigi's Box cannot take the old ones back.
  They are counted, and listed in `changed.parquet` of the run's folder.
* `upload` failed with **unknown**: the connection broke after a whole file had left, or its sender died. The message
  says what to check at Luigi's Box; say what you found with the DAG `settle_upload`, then clear `upload`. Nothing is
  resent by itself, unless `on_unknown` of the publisher's file says so.
"""


def make(publisher: Publisher) -> None:
    """Wire the DAG of one publisher."""

    @dag(
        dag_id=f"past_transactions__{publisher.name}",
        schedule=timetable(publisher.schedule.past_transactions, publisher.schedule.time_zone),
        start_date=START,
        catchup=False,
        default_args=TASK_DEFAULTS,
        params={**WINDOW, **FILES},
        tags=["luigisbox", "past transactions", *publisher.tags],
        doc_md=DOC.format(name=publisher.name),
    )
    def build() -> None:
        past_transactions(plan(publisher.name, "transactions"))

    build()


for each in sound_publishers():
    if each.past_transactions:
        make(each)
