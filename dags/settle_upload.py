"""Settle upload: a person says what became of a file of which nobody knew; triggered from the form or the API."""

from airflow.sdk import dag

from ledgers.settle import settle
from pipeline.forms import SETTLE, publisher_choice
from pipeline.schedules import START, TASK_DEFAULTS

DOC = """
### What became of a file of unknown fate

An upload that is *appended* (purchases, interactions) and broke off after its last byte, or whose sender died, may have
arrived or not. It is not sent again by itself. This DAG says which:

1. Trigger it without a file: its log lists the files of unknown fate, with their sizes, when they were sent, and by
   which run.
2. Look for an import of that size at that time in the vendor's application, or ask their support.
3. Trigger it with the file, what you found, and why you know. The ledger keeps that, with your name and the time.
4. Clear the task that had failed, of the run that the log names: it goes on.

A file that was confirmed, and that the vendor cancelled afterwards, is freed in the same way: its number is in the
ledger (`python -m include.transactions ledger --publisher … --files`) and in the log of `upload`.

Without Airflow: `python -m include.transactions settle --help`.
"""


@dag(
    dag_id="settle_upload",
    schedule=None,
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,  # who needs it has trouble enough
    default_args=TASK_DEFAULTS,
    params={**publisher_choice(), **SETTLE},
    tags=["luigisbox", "ledger"],
    doc_md=DOC,
)
def settle_upload() -> None:
    """Wire the settle DAG."""
    settle()


settle_upload()
