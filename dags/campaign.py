"""Campaign: audience and recommendations in one run for one newsletter campaign, triggered by the API or the form."""

from airflow.sdk import dag

from include.publishers.config import sound_publishers
from luigisbox.assets import RECOMMENDATIONS_LATE
from pipeline.audience import audience
from pipeline.forms import ACCEPT_HELD, AUDIENCE, BATCH, NEWSLETTER, WINDOW, publisher_choice
from pipeline.plan import plan
from pipeline.pools import pull_pool, write_pool
from pipeline.recommendations import recommendations
from pipeline.schedules import START, TASK_DEFAULTS

DOC = """
### One newsletter campaign

Uploads the campaign's audience, waits for the batch that was made from it, delivers it. The newsletters of Klaviyo and
SmartEmailing start it by themselves (`campaign_watcher__…`). Else trigger it from the form, or:

```
curl -X POST "$AIRFLOW/api/v2/dags/campaign/dagRuns" -H "Authorization: Bearer $TOKEN" \\
     -H "Content-Type: application/json" \\
     -d '{"dag_run_id": "spring-sale", "logical_date": null,
          "conf": {"publisher": "demo", "send_at": "2026-11-27T06:00:00+01:00"}}'
```

* `plan` warned that the run will hardly be ready: the warning, and the event `recommendations_late_…`, say what then.
* `plan` failed because the deadline is past: nothing was uploaded, and no event was sent. Send the newsletter later, or
  give a later deadline.

A run id of your own makes a second trigger of the same campaign fail with 409 instead of running twice.
The list it uploads **replaces** the publisher's live list until the next audience run. With an audience of its own (SQL
or a list in a file) it is a segment, whose size the guard does not compare.
"""


@dag(
    dag_id="campaign",
    schedule=None,
    start_date=START,
    catchup=False,
    default_args=TASK_DEFAULTS,
    params={**publisher_choice(), **NEWSLETTER, **AUDIENCE, **BATCH, **ACCEPT_HELD, **WINDOW},
    tags=["luigisbox", "campaign"],
    doc_md=DOC,
)
def campaign() -> None:
    """Wire the campaign DAG."""
    the_plan = plan.override(outlets=[RECOMMENDATIONS_LATE])("{{ params.publisher }}")
    uploaded = audience(the_plan, outlets=[], pool=pull_pool(sound_publishers()))
    recommendations(the_plan, user_set=uploaded["user_set"], pool=write_pool(sound_publishers()))


campaign()
