"""Requests to an object store by stage, with more and more parts: against an S3 server on a socket.

A thousand users; what is counted hardly depends on how many they are, as long as a file is one upload.
Workers take turns by Postgres, here the one on this machine.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, measure, workplace
from benchmarks.scale import batch as batches
from benchmarks.scale.curves import Point, point

TITLE = "Requests to an object store, with more and more parts"
UNIT = "parts"
SIZES = (1, 4, 16, 64)
QUICK = (1, 2)
HERE = "benchmarks.scale.requests"
USERS = 1_000
IDS = "ids.parquet"
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
IMPORTS = ["include.recommendations.parse", "include.recommendations.coverage", "airflow.sdk.io", "s3fs", "pandas"]


def run(sizes: list[int], quick: bool) -> list[Point]:
    from tests.object_store import BUCKET, CONNECTION, s3_server, use

    users, points = 100 if quick else USERS, []
    with workplace("scale-requests") as folder, s3_server() as address, batches.served(folder) as url:
        use(address)
        os.environ |= {"AIRFLOW_CONN_LEDGER": POSTGRES, "LEDGER_CONNECTION": "ledger"}
        batches.make(str(folder), users)
        for size in sizes:
            place: dict[str, Any] = {"store": f"s3://{CONNECTION}@{BUCKET}/{size}"}
            given = {**place, "url": url, "ids": str(folder / "ids.parquet"), "parts": size}
            first = measure({"fetch and parse": Case(f"{HERE}:fetch_and_parse", given, imports=IMPORTS)}, 1)
            place["batch"] = first["fetch and parse"].result["batch"]
            cases = {
                "reconcile": Case(f"{HERE}:reconcile", place, imports=IMPORTS),
                "deliver": Case(f"{HERE}:deliver", {**place, "parts": size}, imports=IMPORTS),
            }
            for stage, measured in (first | measure(cases, 1)).items():
                points.append(point(stage, size, measured))
    return points


def fetch_and_parse(store: str, url: str, ids: str, parts: int) -> dict[str, Any]:
    """As ``wait`` does it; the list is put beside first, which does not count."""
    import shutil

    from include.publishers.batches import LinkBatch
    from include.recommendations.parse import parse_batch
    from include.staging import scratch, to_path
    from luigisbox.connections import LinkAccess
    from luigisbox.fetch import fetch_batch

    root = to_path(store)
    with Path(ids).open("rb") as source, (root / IDS).open("wb") as target:
        shutil.copyfileobj(source, target)
    counted = count()
    with scratch(root) as work:
        fetched = fetch_batch(url, LinkAccess(), (root, "shop"), work, "xml", 10**12)
        parse_batch(fetched.folder, LinkBatch(link="https://shop.example/batch", parts=parts), raw=fetched.raw)
    return {"requests": counted(), "batch": fetched.folder.as_uri()}


def reconcile(store: str, batch: str) -> dict[str, int]:
    from include.audience.user_sets import UserSet
    from include.publishers.batches import Coverage, LinkBatch
    from include.recommendations.coverage import reconcile as reconciled
    from include.staging import to_path

    counted = count()
    settings = LinkBatch(link="https://shop.example/batch")
    reconciled(to_path(batch), UserSet(to_path(store), "list", {}), settings, Coverage())
    return {"requests": counted()}


def deliver(store: str, batch: str, parts: int) -> dict[str, int]:
    """A feed of all parts."""
    from include.deliveries.feed import write_feed_part
    from include.publishers.deliveries import FeedDelivery
    from include.recommendations.layout import list_folder
    from include.staging import to_path

    counted = count()
    settings, folder = FeedDelivery(name="feed", kind="feed"), to_path(batch)
    for part in range(parts):
        write_feed_part(folder, list_folder(folder, "list"), part, to_path(store) / "feed", settings)
    return {"requests": counted()}


def count() -> Callable[[], int]:
    """Count the requests of this process from now on."""
    from aiobotocore.httpsession import AIOHTTPSession

    counted, send = [0], AIOHTTPSession.send

    async def counting(self: Any, request: Any) -> Any:
        counted[0] += 1
        return await send(self, request)

    AIOHTTPSession.send = counting
    return lambda: counted[0]
