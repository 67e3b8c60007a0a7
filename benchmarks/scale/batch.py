"""A batch of eight products a user: fetched over a socket, parsed into parts, held against the list."""

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench_recommendations import _watched
from benchmarks.harness import Case, measure, workplace
from benchmarks.scale.curves import Point, point

TITLE = "Batch: fetched, parsed, reconciled (XML, eight products a user)"
UNIT = "users"
SIZES = (100_000, 500_000, 1_000_000, 2_000_000)
QUICK = (500, 1_000)
HERE = "benchmarks.scale.batch"
FETCH, PARSE = ["luigisbox.fetch"], ["include.recommendations.parse"]
RECONCILE = ["include.recommendations.coverage"]


def run(sizes: list[int], quick: bool) -> list[Point]:  # noqa: ARG001
    points = []
    for size in sizes:
        with workplace("scale-batch") as folder:
            made: dict[str, Any] = {"folder": str(folder), "users": size}
            measure({"data": Case(f"{HERE}:make", made)}, 1)
            with served(folder) as url:
                measured = measure(
                    {"fetch": Case(f"{HERE}:fetch", {"url": url, "root": str(folder)}, imports=FETCH)}, 1
                )
            batch = measured["fetch"].result
            (folder / "batch.xml").unlink()
            cases = {
                "parse": Case(f"{HERE}:parse", {"batch": batch}, imports=PARSE),
                "reconcile": Case(f"{HERE}:reconcile", {"batch": batch, "folder": str(folder)}, imports=RECONCILE),
            }
            measured |= measure(cases, 1)
        points += [point(stage, size, each) for stage, each in measured.items()]
        assert measured["reconcile"].result == size, "a user was lost"
    return points


def make(folder: str, users: int) -> None:
    """``batch.xml``, one user a line, and ``ids.parquet``, the list it was made of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    products = [_product(number) for number in range(50_000)]
    head = (
        "</auth_user_id><data><_metadata><updated_at>2026-11-20T10:00:00</updated_at></_metadata><recommendations>"
        "<recommendation><recommendation_type>mail-basket</recommendation_type><results>"
    )
    tail = "</results></recommendation></recommendations></data></user>\n"
    with (Path(folder) / "batch.xml").open("w", encoding="utf-8", buffering=1 << 20) as out:
        out.write('<?xml version="1.0" encoding="UTF-8"?>\n<users>\n')
        for number in range(users + 1):
            name, digits = _name(number - 1) if number else "default", os.urandom(8 * 16).hex()
            own = "".join(
                f"{before}{digits[32 * place : 32 * place + 32]}{after}"
                for place in range(8)
                for before, after in [products[(number * 7 + place) % len(products)]]
            )
            out.write(f"<user><auth_user_id>{name}{head}{own}{tail}")
        out.write("</users>\n")
    ids = pa.array([_name(number) for number in range(users)])
    pq.write_table(pa.table({"auth_user_id": ids, "recipient": pa.nulls(users, pa.string())}), f"{folder}/ids.parquet")


def _product(number: int) -> tuple[str, str]:
    """A result, as text before and after the recommendation id."""
    return (
        f"<result><id>p{100_000 + number}</id><url>https://www.shop.example/products/{100_000 + number}-some-product-"
        f"name-{number}?utm_source=newsletter&amp;recommendation_id="
    ), (
        f"</url><title>Product title number {number} with a few words &amp; more</title><image_link>"
        f"https://cdn.shop.example/images/{number % 997}/{100_000 + number}_large.jpg</image_link></result>"
    )


def _name(number: int) -> str:
    return f"customer-{number:09d}"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's batch over HTTP; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/batch.xml"
        server.shutdown()


def fetch(url: str, root: str) -> str:
    from include.staging import scratch
    from luigisbox.connections import LinkAccess
    from luigisbox.fetch import fetch_batch

    with scratch(Path(root)) as work:
        return str(fetch_batch(url, LinkAccess(), (Path(root), "shop"), work, "xml", 10**12).folder)


def parse(batch: str, parts: int = 8) -> dict[str, float]:
    """Memory is that of all its processes together."""
    from include.publishers.batches import LinkBatch
    from include.recommendations.parse import parse_batch

    with _watched() as peak:
        manifest = parse_batch(Path(batch), LinkBatch(link="https://shop.example/batch", parts=parts))
    return {"memory_mb": peak(), "users": manifest["users"]}


def reconcile(batch: str, folder: str) -> int:
    from include.audience.user_sets import UserSet
    from include.publishers.batches import Coverage, LinkBatch
    from include.recommendations.coverage import reconcile as reconciled

    found = reconciled(
        Path(batch),
        UserSet(Path(folder), "list", {}),
        LinkBatch(link="https://shop.example/batch"),
        Coverage(),
    )
    return int(found["personalised"])
