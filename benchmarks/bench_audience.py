"""Staged ids become a user set: against a plain loop that does the same, and against a bare copy by DuckDB."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Row, at_most, faster, measure, memory, workplace

HERE = "benchmarks.bench_audience"
_BLANK = re.compile(r"^[\s\u200b\ufeff]|[\s\u200b\ufeff]$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def run(quick: bool) -> list[Row]:
    users = 100_000 if quick else 5_000_000
    with workplace("audience") as folder:
        data = {
            name: Case(f"{HERE}:make", {"run": str(folder / name), "users": count})
            for name, count in (("ids", users), ("twice", 2 * users))
        }
        measure(data, 1)
        staged = {"run": str(folder / "ids")}
        ours = {"target": f"{HERE}:build", "imports": ["include.audience.build", "pandas"]}
        cases = {
            "build": Case(arguments=staged, fresh=[str(folder / "ids" / "chunks")], **ours),
            "loop": Case(f"{HERE}:loop", staged, [str(folder / "loop.json")], ["pyarrow.parquet"]),
            "copy": Case(f"{HERE}:copy", staged, [str(folder / "copy.json")], ["duckdb"]),
            "checked copy": Case(f"{HERE}:checked_copy", staged, [str(folder / "checked.json")], ["duckdb"]),
        }
        found = measure(cases, 1 if quick else 3)
        large = measure({"twice as many": Case(arguments={"run": str(folder / "twice")}, **ours)}, 1)["twice as many"]
    build, loop = found["build"], found["loop"]
    assert build.result == loop.result, "the loop does not come to the same users"
    what = f"{users:,} ids to a user set"
    return [
        faster(what, build, "json.dumps loop, same checks", loop, 7, "ours also sorts and keeps ids and rejects"),
        at_most(
            what, build, "DuckDB COPY, DISTINCT and checks", found["checked copy"], 1.6, "peer: no order, no books"
        ),
        Row(
            what,
            build.seconds,
            "DuckDB COPY of the finished list",
            found["copy"].seconds,
            build.seconds / found["copy"].seconds,
            "(the floor: writing)",
            True,
        ),
        memory(f"{2 * users:,} ids to a user set", large, 1000),
    ]


def make(run: str, users: int) -> None:
    """Stage ids as an extraction does: 36 characters, 0.5 % duplicates, 0.1 % unacceptable."""
    import random

    from include.extract import write_rows

    chance = random.Random(7)
    unacceptable = [None, "", " x", "a\nb", "default", "x" * 300]

    def ids() -> Any:
        earlier = "first"
        for number in range(users):
            digits = f"{chance.getrandbits(128):032x}"
            fresh = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
            if number % 200 == 0:
                yield (earlier,)
                earlier = fresh
            else:
                yield (unacceptable[number // 1000 % 6] if number % 1000 == 7 else fresh,)

    from itertools import islice

    rows = ids()
    batches = iter(lambda: list(islice(rows, 50_000)), [])
    write_rows(batches, ["auth_user_id"], ["auth_user_id"], ["recipient"], Path(run) / "raw", 0)


def build(run: str) -> int:
    from datetime import UTC, datetime

    from include.audience.build import build_audience
    from include.publishers.audiences import Audience

    settings = Audience()
    return int(build_audience(Path(run), settings, datetime(2026, 1, 1, tzinfo=UTC), 1)["rows"])


def loop(run: str) -> int:
    """What one would write first: the same rules, one id after the other; order of arrival, no file of rejects."""
    import pyarrow.parquet as pq

    seen: set[str] = set()
    reasons: dict[str, int] = {}
    digest = hashlib.sha256()
    with (Path(run).parent / "loop.json").open("wb") as out:
        for batch in pq.ParquetFile(Path(run) / "raw" / "part-00000.parquet").iter_batches(columns=["auth_user_id"]):
            for one in batch["auth_user_id"].to_pylist():
                why = _reason(one, seen)
                if why:
                    reasons[why] = reasons.get(why, 0) + 1
                    continue
                seen.add(one)
                line = json.dumps({"auth_user_id": one}).encode() + b"\n"
                digest.update(line)
                out.write(line)
    return len(seen)


def _reason(one: str | None, seen: set[str]) -> str | None:
    if not one:
        return "null_id" if one is None else "empty"
    if _BLANK.search(one):
        return "surrounding_blanks"
    if _CONTROL.search(one):
        return "control_character"
    if len(one.encode()) > 255:
        return "too_long"
    if one == "default":
        return "reserved"
    return "duplicate" if one in seen else None


def copy(run: str) -> int:
    return _copy(run, "copy.json", f"SELECT auth_user_id FROM read_parquet('{run}/accepted.parquet')")


def checked_copy(run: str) -> int:
    wanted = (
        "regexp_full_match(auth_user_id, '[!-~]([ -~]*[!-~])?') AND strlen(auth_user_id) <= 255 "
        "AND auth_user_id <> 'default'"
    )
    query = f"SELECT DISTINCT auth_user_id FROM read_parquet('{run}/raw/part-00000.parquet') WHERE {wanted}"
    return _copy(run, "checked.json", query)


def _copy(run: str, name: str, query: str) -> int:
    import duckdb

    settings: dict[str, Any] = {"memory_limit": "1GB", "preserve_insertion_order": False}
    with duckdb.connect(config=settings) as connection:
        connection.execute(f"COPY ({query}) TO '{Path(run).parent / name}' (FORMAT json)")
    return 0
