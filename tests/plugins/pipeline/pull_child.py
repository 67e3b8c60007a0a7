"""Pulls sources in processes that may be killed: for each line of standard input it forks one, and prints its number.

A line is JSON: ``platform``, ``url`` of the sandbox, ``run`` (a folder), ``item``, ``audience``. When the process ends
its exit code is printed, negative if a signal ended it. Pages are small and each is kept at once, so that few profiles
make many checkpoints.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import klaviyo.client
import klaviyo.connections
import klaviyo.pull
import smartemailing.client
import smartemailing.connections
import smartemailing.pull
from include.audience import segments
from include.publishers.audiences import KlaviyoAudience, SmartEmailingAudience
from vendor_http.retry import Retry

segments.SEGMENT_SECONDS = 0.0
klaviyo.client.PAGE_SIZE = 20
smartemailing.client.LIMIT = 40


def pull(job: dict[str, Any]) -> None:
    run, patient = Path(job["run"]), Retry(sleep=lambda _: None)
    if job["platform"] == "klaviyo":
        settings = klaviyo.connections.Settings(job["url"], "pk_sandbox")
        with klaviyo.client.Client(settings, patient, sleep=lambda _: None) as profiles:
            klaviyo.pull.pull(profiles, KlaviyoAudience(**job["audience"]), job["item"], run)
    else:
        account = smartemailing.connections.Settings(job["url"], "sandbox", "sandbox_key", pause_seconds=0.0001)
        with smartemailing.client.Client(account, patient) as contacts:
            smartemailing.pull.pull(contacts, SmartEmailingAudience(**job["audience"]), job["item"], run)


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                pull(json.loads(line))
                os._exit(0)
            except Exception:  # noqa: BLE001 - the forked process must end here
                traceback.print_exc()
                os._exit(1)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
