"""Staged purchases become files of whole sessions: against a plain loop that does the same."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Row, at_most, faster, measure, memory, workplace

HERE = "benchmarks.bench_transactions"
FILE_BYTES = 300_000_000
_BAD = re.compile(r"^[\s\u200b\ufeff]|[\s\u200b\ufeff]$|[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def run(quick: bool) -> list[Row]:
    rows = 100_000 if quick else 5_000_000
    with workplace("transactions") as folder:
        sizes = {"some": rows, "many": 4 * rows}
        measure({name: Case(f"{HERE}:make", {"run": str(folder / name), "rows": n}) for name, n in sizes.items()}, 1)
        staged: dict[str, Any] = {"run": str(folder / "some")}
        target, imports = f"{HERE}:build", ["include.transactions.build", "pandas"]
        fresh = [str(folder / "some" / "chunks")]
        cases = {
            "loop": Case(f"{HERE}:loop", staged, [str(folder / "loop")], ["pyarrow.parquet"]),
            "window": Case(target, {**staged, "window": True}, fresh, imports),
            "build": Case(target, staged, fresh, imports),
        }
        found = measure(cases, 1 if quick else 3)
        copies = {
            "rest": Case(f"{HERE}:rest", staged, imports=["include.transactions.rest", "pandas"]),
            "copy": Case(f"{HERE}:copy", staged),
        }
        found |= measure(copies, 1 if quick else 3)
        many = measure({"four times as many": Case(target, {"run": str(folder / "many")}, imports=imports)}, 1)
    build, loop = found["build"], found["loop"]
    assert build.result == loop.result, "the loop does not come to the same rows and sessions"
    assert build.result == found["window"].result, "the window holds all of them"
    what = "transactions to files of whole sessions"
    every_other = "every other session of a file of whole sessions"
    return [
        faster(f"{rows:,} {what}", build, "json.dumps loop, same checks", loop, 4, "ours is out of core, and sorts"),
        at_most(f"{rows:,} {what}, of a window", found["window"], "without a window", build, 1.3),
        memory(f"{4 * rows:,} {what}", many["four times as many"], 1500),
        memory(f"{4 * rows:,} {what}: growth", many["four times as many"], max(1.25 * build.memory_mb, 500)),
        at_most(every_other, found["rest"], "hash the file, copy it", found["copy"], 4),
    ]


def make(run: str, rows: int) -> None:
    """Stage purchases in no order: five a session, a tenth of the sessions without a user, 0.1 % unacceptable."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    raw = Path(run) / "raw"
    raw.mkdir(parents=True)
    columns = ["session_id", "identity", "user_id", "created_at"]
    schema = pa.schema([(name, pa.string()) for name in columns])
    chance = np.random.default_rng(7)
    with pq.ParquetWriter(raw / "part-00000.parquet", schema) as out:
        for start in range(0, rows, 50_000):
            count = min(50_000, rows - start)
            session = chance.integers(0, rows // 5, count)
            second = session * 7919 % 31_000_000 + chance.integers(0, 1000, count)
            times = (np.datetime64("2025-01-01T00:00:00") + second.astype("timedelta64[s]")).astype(str)
            sessions = pc.binary_join_element_wise("session", pa.array(session).cast(pa.string()), "2025", "-")
            products = pa.array(chance.integers(0, 90_000, count)).cast(pa.string())
            products = pc.binary_join_element_wise("/product/", products, "")
            users = pc.binary_join_element_wise("customer", pa.array(session % 400_000).cast(pa.string()), "-")
            users = pc.if_else(pa.array(session % 10 == 0), None, users)
            products = pc.if_else(pa.array(chance.integers(0, 1000, count) == 0), "a\nb", products)
            out.write_table(pa.table([sessions, products, users, pa.array(times)], schema=schema))
    refused = pa.schema([(name, pa.string()) for name in (*columns, "reason")])
    pq.write_table(refused.empty_table(), raw / "refused-00000.parquet")
    record = {"rows": rows, "refused": 0, "complete": True, "columns": columns}
    (raw / "part-00000.json").write_text(json.dumps(record))


def build(run: str, window: bool = False) -> list[int]:
    from include.publishers.senders import Transactions
    from include.transactions.build import build_transactions

    settings = Transactions(connection="bench", sql="SELECT 1", max_file_bytes=FILE_BYTES, max_age_weeks=None)
    all_of_it = {"start": "2024-01-01T00:00:00+00:00", "end": "2027-01-01T00:00:00+00:00"}
    manifest = build_transactions(Path(run), settings, all_of_it if window else None)
    return [manifest["rows"], manifest["sessions"]]


def rest(run: str) -> int:
    import numpy as np
    import pyarrow as pa

    from include.transactions.rest import write_rest

    chunk = json.loads((Path(run) / "manifest.json").read_text())["chunks"][0]
    keep = pa.array(np.arange(chunk["sessions"]) % 2 == 0)
    return int(write_rest(Path(run), chunk, keep, 0)[0]["bytes"])


def copy(run: str) -> int:
    """The same file hashed, and copied whole."""
    source = Path(run) / "chunks" / "transactions-00000.json"
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    shutil.copyfile(source, Path(run) / "copy.json")
    return source.stat().st_size


def loop(run: str) -> list[int]:
    """What one would write first: the same rules, row by row, sessions in a dictionary, then file after file."""
    sessions: dict[str, dict[tuple[str, str, str | None, str | None], None]] = {}
    for row in _rows(Path(run) / "raw" / "part-00000.parquet"):
        created_at = _time(row[3])
        if not any(value is not None and _refused(value) for value in row[:3]) and (created_at or not row[3]):
            sessions.setdefault(row[0], {})[(*row[:3], created_at)] = None
    folder = Path(run).parent / "loop"
    folder.mkdir()
    whole, rows, count, size, number, out = hashlib.sha256(), 0, 0, 0, 0, None
    for found in sessions.values():
        if len({user for _, _, user, _ in found} - {None}) > 1:
            continue
        lines = b"".join(map(_line, found))
        if out is None or size + len(lines) > FILE_BYTES:
            if out:
                out.close()
            out, size, number, one = (folder / f"{number:05d}.json").open("wb"), 0, number + 1, hashlib.sha256()
        out.write(lines)
        one.update(lines)
        whole.update(lines)
        size, rows, count = size + len(lines), rows + len(found), count + 1
    if out:
        out.close()
    return [rows, count]


def _rows(path: Path) -> Iterator[tuple[Any, ...]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _refused(value: str) -> bool:
    return not value or bool(_BAD.search(value)) or len(value.encode()) > 255 or value == "default"


def _time(text: str | None) -> str | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _line(row: tuple[str, str, str | None, str | None]) -> bytes:
    names = ("session_id", "identity", "user_id", "created_at")
    return json.dumps({name: value for name, value in zip(names, row, strict=True) if value}).encode() + b"\n"
