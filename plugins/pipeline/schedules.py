"""What all DAGs share: how a cron expression becomes a timetable, and the defaults of tasks."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import CronDataIntervalTimetable

from luigisbox.retries import RETRY_POLICY

START = datetime(2015, 1, 1, tzinfo=ZoneInfo("UTC"))
"""Before any history a shop would backfill."""

TASK_DEFAULTS: dict[str, Any] = {"retries": 3, "retry_exponential_backoff": True, "retry_policy": RETRY_POLICY}
"""The pause between tries is Airflow's own setting, ``[core] default_task_retry_delay``."""


def timetable(cron: str | None, time_zone: str) -> CronDataIntervalTimetable | None:
    """A timetable whose runs carry the interval of time they are about; None runs only when triggered."""
    return CronDataIntervalTimetable(cron, timezone=time_zone) if cron else None
