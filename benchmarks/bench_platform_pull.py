"""Pages of a platform become staged rows and a user set: against fetching the same pages and keeping nothing.

The pages come from memory, made as they are asked for, in the shape of Klaviyo's: the network and the quota of an
account are not measured, only what the pull adds to them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Row, at_most, measure, memory, workplace

HERE = "benchmarks.bench_platform_pull"
ALLOWED_SECONDS_A_PAGE = 60 / 700  # Klaviyo's steady limit of an account
PAGE = 100
_IMPORTS = ["klaviyo.pull", "include.audience.gather", "include.audience.build", "pyarrow.parquet", "duckdb"]


def run(quick: bool) -> list[Row]:
    profiles = 20_000 if quick else 1_000_000
    with workplace("platform_pull") as folder:
        whole, tenth = folder / "whole", folder / "tenth"
        cases = {
            "read": Case(f"{HERE}:read", {"profiles": profiles}, imports=_IMPORTS),
            "stage": Case(f"{HERE}:stage", {"run": str(whole), "profiles": profiles}, [str(whole)], _IMPORTS),
        }
        found = measure(cases, 1 if quick else 3)
        smaller = {"run": str(tenth), "profiles": profiles // 10}
        small = measure({"a tenth": Case(f"{HERE}:stage", smaller, [str(tenth)], _IMPORTS)}, 1)["a tenth"]
        built = Case(f"{HERE}:build", {"run": str(whole)}, imports=_IMPORTS)
        gathered = measure({"gather and build": built}, 1)["gather and build"]
    pulled = found["stage"]
    assert pulled.result == profiles + profiles // PAGE // 10, "a row was lost or doubled"
    assert gathered.result == profiles, "a profile was lost or doubled"
    share = pulled.seconds / (profiles / PAGE * ALLOWED_SECONDS_A_PAGE)
    what = f"{profiles:,} profiles staged page by page"
    return [
        at_most(what, pulled, "decoding the same pages, keeping nothing", found["read"], 6),
        Row(what, pulled.seconds, "the account's quota", pulled.seconds / share, share, "≤ 0.05x", share <= 0.05),
        Row(
            f"{what}: memory",
            None,
            "a tenth of them",
            None,
            pulled.memory_mb / small.memory_mb,
            "≤ 1.5x",
            pulled.memory_mb <= 1.5 * small.memory_mb,
            pulled.memory_mb,
        ),
        memory(f"{profiles:,} staged profiles to a user set", gathered, 1200),
    ]


def documents(profiles: int) -> Iterator[bytes]:
    """Klaviyo's answers; every tenth page repeats the last row of the one before."""
    for first in range(0, profiles, PAGE):
        repeated = first - 1 if first // PAGE % 10 == 9 else None
        numbers = [*([repeated] if repeated is not None else []), *range(first, min(first + PAGE, profiles))]
        last = first + PAGE >= profiles
        link = "null" if last else f'"https://a.klaviyo.com/api/profiles?page%5Bcursor%5D={first + PAGE}"'
        rows = ",".join(_profile(number) for number in numbers)
        yield f'{{"data":[{rows}],"links":{{"self":"x","next":{link},"prev":null}}}}'.encode()


def _profile(number: int) -> str:
    return (
        f'{{"type":"profile","id":"01K{number:023d}","attributes":{{"external_id":"c{number:08d}","subscriptions":'
        '{"email":{"marketing":{"can_receive_email_marketing":true,"consent":"SUBSCRIBED","suppression":[]}}}},'
        '"links":{"self":"https://a.klaviyo.com/api/profiles/x"}}'
    )


class FromMemory:
    """Stands where the client does; ``settings`` says what the client's would."""

    def __init__(self, profiles: int) -> None:
        self._profiles = profiles

    @property
    def settings(self) -> Any:
        """Of no account."""
        from klaviyo.connections import Settings

        return Settings("https://a.klaviyo.com", "key")

    def profiles(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Pages, decoded as the client decodes them."""
        from klaviyo.documents import decode, page_of

        for document in documents(self._profiles):
            yield page_of(decode(document, "GET"), "GET")

    def profile_count(self, _: str) -> int:
        """The source's own count."""
        return self._profiles


def read(profiles: int) -> int:
    return sum(len(page.rows) for page in FromMemory(profiles).profiles())


def stage(run: str, profiles: int) -> int:
    from include.publishers.audiences import KlaviyoAudience
    from klaviyo.pull import pull

    audience = KlaviyoAudience(kind="klaviyo", lists=["BENCH1"])
    client: Any = FromMemory(profiles)
    record = pull(client, audience, {"index": 0, "of": 1, "source": "list:BENCH1", "role": "take"}, Path(run))
    assert record["complete"]
    return record["rows"]


def build(run: str) -> int:
    from datetime import UTC, datetime

    from include.audience.build import build_audience
    from include.audience.gather import gather
    from include.audience.sources import sources_of
    from include.publishers.audiences import KlaviyoAudience

    audience = KlaviyoAudience(kind="klaviyo", lists=["BENCH1"])
    gather(Path(run), sources_of(audience), audience)
    return int(build_audience(Path(run), audience, datetime(2026, 1, 1, tzinfo=UTC), 1)["rows"])
