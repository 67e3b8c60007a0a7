"""The wait for import jobs: one event, whatever happens; it goes on in another process as it was."""

import asyncio
import json
import time
from importlib import import_module
from typing import Any

import pytest

from klaviyo.triggers import KlaviyoJobsTrigger


def job(number: int, status: str) -> dict[str, Any]:
    counts = {"total_count": 1, "completed_count": 0, "failed_count": 0}
    return {"data": {"type": "profile-bulk-import-job", "id": str(number), "attributes": {"status": status, **counts}}}


def hang_up(request: Any) -> None:
    request.close_connection = True


@pytest.fixture
def watch(vendor: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Play a trigger as the triggerer does: rebuilt from what was stored of it."""

    def watch(*jobs: str, seconds: float = 30, key: str = "pk_hush") -> Any:
        form = {"conn_type": "klaviyo", "host": vendor.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_TEST", json.dumps(form))
        trigger = KlaviyoJobsTrigger("klaviyo_test", list(jobs), time.time() + seconds, 0.01)
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


def test_done_when_no_job_runs_any_more(vendor: Any, watch: Any) -> None:
    vendor.says(job(1, "queued"), job(1, "processing"), job(1, "complete"), job(2, "cancelled"))
    assert watch("1", "2")["status"] == "done"
    assert [path.rpartition("/")[2] for path, _ in vendor.asked] == ["1", "1", "1", "2"]


def test_nothing_to_wait_for(vendor: Any, watch: Any) -> None:
    assert watch()["status"] == "done"
    assert vendor.asked == []


def test_the_deadline(vendor: Any, watch: Any) -> None:
    vendor.says(job(1, "complete"), job(2, "processing"))
    event = watch("1", "2", "3", seconds=0.2)
    assert event["status"] == "deadline"
    assert "2 import jobs still run" in event["reason"]


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
