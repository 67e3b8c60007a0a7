"""A signed upload of one big file to the sandbox: our streamed body against requests-toolbelt's encoder.

The file's first line is malformed, so that the sandbox, which takes and stores the whole file first, then cancels it
quickly instead of processing it while the next case runs.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import PROJECT, Case, Measurement, Row, faster, measure, workplace

HERE = "benchmarks.bench_upload"
TRACKER, KEY = "1234-5678", "your_private_api_key"


def run(quick: bool) -> list[Row]:
    size = 50_000_000 if quick else 1_000_000_000
    with workplace("upload") as folder:
        whole = make(folder / "transactions-00000.json", size)
        small = make(folder / "small.json", 10_000)
        with sandbox(folder / "state") as (url, process):
            idle = repeated({"idle client": ours(url, small)}, 1, url)["idle client"]
            before = peak_mb(process)
            cases = {
                "streamed": ours(url, whole),
                "toolbelt": Case(f"{HERE}:toolbelt", {"url": url, "path": whole["path"]}),
            }
            found = repeated(cases, 1 if quick else 5, url)
            grown = peak_mb(process) - before
    streamed = found["streamed"]
    more, speed = streamed.memory_mb - idle.memory_mb, size / streamed.seconds / 1e6
    what = f"upload of {size / 1e9:g} GB to the sandbox"
    return [
        faster(
            what, streamed, "requests-toolbelt, default", found["toolbelt"], 1.5, f"{speed:.0f} MB/s, hashed on the way"
        ),
        Row(f"{what}: more memory than idle", None, "", None, None, "≤ 40 MB", more <= 40, more),
        Row(
            f"{what}: the sandbox",
            streamed.seconds,
            "",
            None,
            None,
            "≥ 150 MB/s",
            speed >= 150,
            grown,
            "growth of its memory",
        ),
    ]


def make(path: Path, size: int) -> dict[str, Any]:
    """A file of about so many bytes of JSON Lines, and what a manifest says about it."""
    line = json.dumps(
        {"session_id": "s" * 16, "identity": "p" * 16, "user_id": "u" * 16, "created_at": "2026-05-01 12:00:00"}
    )
    block = (line + "\n").encode() * 10_000
    digest = hashlib.sha256()
    with path.open("wb") as handle:
        for piece in (b"{malformed\n", *[block] * max(1, size // len(block))):
            handle.write(piece)
            digest.update(piece)
    return {"path": str(path), "chunk": {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}}


def ours(url: str, made: dict[str, Any]) -> Case:
    imports = ["luigisbox.client"]
    return Case(f"{HERE}:streamed", {"url": url, **made}, imports=imports)


def streamed(url: str, path: str, chunk: dict[str, Any]) -> int:
    from luigisbox.client import Client, Settings

    return Client(Settings(url, TRACKER, KEY)).upload_transactions(Path(path), chunk).bytes


def toolbelt(url: str, path: str) -> int:
    import requests
    from requests_toolbelt import MultipartEncoder

    from luigisbox.auth import LuigisBoxAuth

    with Path(path).open("rb") as handle:
        body = MultipartEncoder({"file": ("transactions.json", handle, "application/json")})
        headers = {"Content-Type": body.content_type}
        target = f"{url}/v1/interactions/{TRACKER}/files"
        requests.post(target, data=body, headers=headers, auth=LuigisBoxAuth(TRACKER, KEY)).raise_for_status()
    return Path(path).stat().st_size


def repeated(cases: dict[str, Case], repeats: int, url: str) -> dict[str, Measurement]:
    """Measure in turn, each case only when the sandbox has dealt with the one before."""
    runs: dict[str, list[Measurement]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            runs[name].append(measure({name: case}, 1)[name])
            wait_until_idle(url)
    return {
        name: Measurement(
            statistics.median(each.seconds for each in found), max(each.memory_mb for each in found), found[-1].result
        )
        for name, found in runs.items()
    }


def wait_until_idle(url: str) -> None:
    import requests

    while any(upload["state"] == "processing" for upload in requests.get(f"{url}/_sandbox/uploads").json()):
        time.sleep(0.05)


@contextmanager
def sandbox(state: Path) -> Iterator[tuple[str, int]]:
    """A sandbox in a process of its own; gives its address and process id."""
    command = [sys.executable, "-m", "include.sandbox", "--port", "0", "--state", str(state)]
    with (
        (state.parent / "sandbox.log").open("w") as log,
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        try:
            yield url, process.pid
        finally:
            process.terminate()


def peak_mb(process: int) -> float:
    """Peak resident memory of a running process; 0 where the system does not say."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)
