"""The wait for an import job: one event, whatever happens; it goes on in another process as it was."""

import asyncio
import json
import subprocess
import sys
import time
from importlib import import_module
from typing import Any

import pytest

from klaviyo.triggers import KlaviyoJobTrigger


def job(number: int, status: str) -> dict[str, Any]:
    counts = {"total_count": 1, "completed_count": 0, "failed_count": 0}
    return {"data": {"type": "profile-bulk-import-job", "id": str(number), "attributes": {"status": status, **counts}}}


def hang_up(request: Any) -> None:
    request.close_connection = True


@pytest.fixture
def watch(vendor: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Play a trigger as the triggerer does: rebuilt from what was stored of it."""

    def watch(job: str, seconds: float = 30, key: str = "pk_hush") -> Any:
        form = {"conn_type": "klaviyo", "host": vendor.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(form))
        trigger = KlaviyoJobTrigger("klaviyo_test", job, time.time() + seconds, 0.01)
        path, arguments = trigger.serialize()
        module, _, name = path.rpartition(".")
        rebuilt = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
        assert rebuilt.serialize() == trigger.serialize()

        async def events() -> list[Any]:
            return [event.payload async for event in rebuilt.run()]

        (event,) = asyncio.run(events())
        assert event["deadline"] == trigger.deadline
        return event

    return watch


@pytest.mark.parametrize("end", ["complete", "cancelled"])
def test_done_when_the_job_runs_no_more(vendor: Any, watch: Any, end: str) -> None:
    vendor.says(job(1, "queued"), job(1, "processing"), job(1, end))
    assert watch("1")["status"] == "done"
    assert [path.rpartition("/")[2] for path, _ in vendor.asked] == ["1", "1", "1"]


def test_a_job_that_klaviyo_forgot_is_for_the_task_to_judge(vendor: Any, watch: Any) -> None:
    vendor.fails(404)
    assert watch("1")["status"] == "done"


def test_the_deadline(vendor: Any, watch: Any) -> None:
    vendor.says(job(1, "processing"))
    event = watch("1", seconds=0.2)
    assert event["status"] == "deadline"
    assert "import job 1 still runs" in event["reason"]


def test_a_look_needs_nothing_heavy() -> None:
    heavy = "import klaviyo.triggers, klaviyo.look, sys; sys.exit(not {'duckdb', 'pyarrow'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0


def test_a_deadline_that_passed_while_nobody_looked(vendor: Any, watch: Any) -> None:
    vendor.says(job(1, "complete"))
    assert watch("1", seconds=-60)["status"] == "done"
    vendor.answers.clear()
    vendor.says(job(1, "processing"))
    assert watch("1", seconds=-60)["status"] == "deadline"


def test_trouble_is_waited_out_and_named_at_the_deadline(vendor: Any, watch: Any) -> None:
    vendor.fails(503).breaks(hang_up).says(job(1, "complete"))
    assert watch("1")["status"] == "done"
    vendor.answers.clear()
    vendor.fails(503)
    event = watch("1", seconds=0.1)
    assert event["status"] == "deadline"
    assert "503" in event["reason"]


def test_what_waiting_does_not_mend_ends_it(vendor: Any, watch: Any) -> None:
    vendor.fails(401)
    event = watch("1")
    assert event["status"] == "error"
    assert "klaviyo_test" in event["reason"]
    assert "pk_hush" not in event["reason"]
    assert watch("1", key="")["status"] == "error"
