"""A thousand waits in one process, each looking at a link every 30 seconds: what share of a core do they take?

The waits are real triggers against the sandbox, which has a batch that is too old; so the first look of each wait is
an answer with a body, and the others are 304. What is measured begins when each wait has looked once.
"""

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.bench_upload import KEY, TRACKER, sandbox
from benchmarks.harness import Case, Row, measure, workplace

HERE = "benchmarks.bench_triggerer"
POLL_SECONDS = 30.0


def run(quick: bool) -> list[Row]:
    warm_up, seconds = (1.0, 3.0) if quick else (POLL_SECONDS, 2 * POLL_SECONDS)
    with workplace("triggerer") as folder, sandbox(folder / "state") as (url, _):
        publish(url, folder)
        arguments = {"url": url, "warm_up": warm_up, "seconds": seconds}
        imports = ["airflow.sdk", "luigisbox.triggers", "luigisbox.result_link", "httpx"]
        cases = {
            f"{waits} waits": Case(f"{HERE}:wait", {**arguments, "waits": waits}, imports=imports)
            for waits in (1, 1000)
        }
        one, thousand = measure(cases, 1).values()
    share, looks = thousand.result["share"] * 100, thousand.result["looks"]
    note = f"{share:.1f} % of a core in {seconds:.0f} s, {looks:,} looks at the link"
    what = f"1,000 waits, polling every {POLL_SECONDS:.0f} s"
    more = thousand.memory_mb - one.memory_mb
    return [
        Row(what, None, "", None, None, "≤ 10 % of a core", share <= 10, thousand.memory_mb, note),
        Row(f"{what}: more memory than one", None, "", None, None, "≤ 100 MB", more <= 100, more),
    ]


def publish(url: str, folder: Any) -> None:
    """A user set of one, and a batch of it."""
    import hashlib

    import requests

    from luigisbox.client import Client, Settings

    content = b'{"auth_user_id": "u1"}\n'
    (folder / "users.json").write_bytes(content)
    manifest = {"rows": 1, "bytes": len(content), "format": "json", "sha256": hashlib.sha256(content).hexdigest()}
    Client(Settings(url, TRACKER, KEY)).upload_users([folder / "users.json"], manifest)
    requests.post(f"{url}/_sandbox/publish").raise_for_status()


def wait(url: str, warm_up: float, seconds: float, waits: int) -> dict[str, float]:
    """Let so many waits run for so long; gives the share of a core that they took, and how often they looked."""
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "luigisbox_batch", "host": url})
    looks = count_looks()
    return asyncio.run(wait_all(waits, warm_up, seconds, looks))


def count_looks() -> Any:
    """Count the requests from now on."""
    import httpx

    counted, send = [0], httpx.AsyncHTTPTransport.handle_async_request

    async def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        counted[0] += 1
        return await send(self, *arguments, **options)

    httpx.AsyncHTTPTransport.handle_async_request = counting  # type: ignore[method-assign]
    return lambda: counted[0]


async def wait_all(waits: int, warm_up: float, seconds: float, looks: Any) -> dict[str, float]:
    from luigisbox.triggers import BatchTrigger

    now = time.time()
    arguments = {
        "link": f"/batches/{TRACKER}.xml",
        "connection_id": "bench",
        "poll_seconds": POLL_SECONDS,
        "not_before": datetime.fromtimestamp(now + 3600, UTC).isoformat(),
        "deadline": now + 3600,
        "refused": [],
        "reason": "",
        "user_set": "none",
    }

    tasks = [asyncio.create_task(anext(BatchTrigger(**arguments).run())) for _ in range(waits)]
    await asyncio.sleep(warm_up)
    started, cpu, before = time.perf_counter(), time.process_time(), looks()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu) / (time.perf_counter() - started)
    found = {"share": share, "looks": looks() - before}
    ended = [task for task in tasks if task.done()]
    assert not ended, ended[0].result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found
