"""Klaviyo's quota: how much of what an account is allowed does the paced client use, and how often is it refused?

The sandbox counts as Klaviyo documents it: fixed windows of a second and of a minute, for the account. Pages of
profiles are read for five whole windows, by one process and by two that share the key. Besides: how long it takes to
decode a page, with ``msgspec`` and with ``json``.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

from benchmarks.harness import Case, Row, faster, measure, workplace

HERE = "benchmarks.bench_klaviyo"
PER_SECOND, PER_MINUTE = 75, 700
WINDOW_SECONDS = 60
PAGES = 2000


def run(quick: bool) -> list[Row]:
    return [decoding(quick), *quota(quick)]


def decoding(quick: bool) -> Row:
    pages = PAGES // 20 if quick else PAGES
    cases = {
        name: Case(f"{HERE}:{name}_pages", {"pages": pages}, imports=["klaviyo.documents"]) for name in ("our", "json")
    }
    ours, peer = measure(cases, 1 if quick else 5).values()
    return faster(f"{pages:,} pages of 100 profiles decoded", ours, "json", peer, 1.3)


def quota(quick: bool) -> list[Row]:
    from include.sandbox.fill import fill_klaviyo
    from include.sandbox.server import running

    windows = 1 if quick else 5
    steady = 100 if quick else PER_MINUTE
    rows = []
    for workers in (1, 2):
        with workplace("klaviyo") as folder:
            fill_klaviyo(folder, 2_000, 7)
            with running(folder, klaviyo_burst=PER_SECOND, klaviyo_steady=steady) as sandbox:
                arguments = {"url": sandbox.url, "windows": windows, "workers": workers, "whole": not quick}
                found = measure({f"{workers} workers": Case(f"{HERE}:use_quota", arguments)}, 1)
        (measured,) = found.values()
        got, refused, allowed = measured.result["200"], measured.result["429"], windows * steady
        share = got / allowed * 100
        rows.append(
            Row(
                f"Klaviyo's quota over {windows} min, {workers} process{'es' if workers > 1 else ''}",
                measured.seconds,
                "",
                None,
                None,
                "≥ 95 % used, at most one 429",
                share >= 95 and refused <= 1,
                measured.memory_mb,
                f"{got:,} of {allowed:,} allowed requests ({share:.1f} %), {refused} answers 429",
            )
        )
    return rows


def use_quota(url: str, windows: int, workers: int, whole: bool) -> dict[str, int]:
    """Let so many processes read for so many windows, from the beginning of one; gives the answers by status."""
    begin = time.time() + window_left(url) + 0.2 if whole else time.time()
    end = begin + windows * WINDOW_SECONDS - 0.5 if whole else begin + 5
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        counted = sum(pool.map(read_until, [url] * workers, [begin] * workers, [end] * workers), Counter())
    return {"200": counted[200], "429": counted[429]}


def window_left(url: str) -> float:
    """Seconds until the next window begins."""
    with client(url) as asking:
        reset: list[str] = []
        asking._session.hooks["response"].append(lambda answer, **_: reset.append(answer.headers["RateLimit-Reset"]))
        next(iter(asking.profiles("all", fields=["external_id"])))
    return float(reset[0])


def read_until(url: str, begin: float, end: float) -> "Counter[int]":
    """Read pages of profiles, over and over, from ``begin`` to ``end`` (epoch seconds)."""
    counted: Counter[int] = Counter()

    def count(answer: Any, **_: Any) -> None:
        if time.time() < end:
            counted[answer.status_code] += 1

    def sleep(seconds: float) -> None:
        if time.time() + seconds >= end:
            raise Enough
        time.sleep(seconds)

    with client(url, sleep) as reading, suppress(Enough):
        reading._session.hooks["response"].append(count)
        time.sleep(max(0.0, begin - time.time()))
        for _ in endless(reading):
            if time.time() >= end:
                break
    return counted


class Enough(Exception):
    """The time is over before the next request may leave."""


def endless(reading: Any) -> Iterator[Any]:
    while True:
        yield from reading.profiles("all", fields=["external_id", "email"])


def client(url: str, sleep: Callable[[float], None] = time.sleep) -> Any:
    from klaviyo.client import Client
    from klaviyo.connections import Settings

    return Client(Settings(url, "pk_sandbox"), sleep=sleep)


def our_pages(pages: int) -> int:
    from klaviyo.documents import decode, page_of

    body = page()
    return sum(len(page_of(decode(body, "bench"), "bench").rows) for _ in range(pages))


def json_pages(pages: int) -> int:
    body = page()
    return sum(len(json.loads(body)["data"]) for _ in range(pages))


def page() -> bytes:
    """A page as a pull by ``external_id`` gets it."""
    host = "https://a.klaviyo.com/api/profiles"
    rows = [
        {
            "type": "profile",
            "id": f"01H{number:023d}",
            "attributes": {"external_id": f"u{number}", "email": f"user{number}@example.com"},
            "links": {"self": f"{host}/01H{number:023d}/"},
        }
        for number in range(100)
    ]
    return json.dumps({"data": rows, "links": {"self": host, "next": f"{host}?page%5Bcursor%5D=abc"}}).encode()
