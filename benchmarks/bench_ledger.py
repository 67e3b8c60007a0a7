"""The ledger with a year of a large shop: lookups and claims in bulk, against an insert that knows and keeps nothing.

The year is claimed in files of the largest size; then come a usual day and one more large file. The peer appends the
same units, sorted too, to a SQLite table without a key, without durability and without any state.
"""

from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Row, measure, memory, workplace

HERE = "benchmarks.bench_ledger"
BOOK = "shop/transactions"
IMPORTS = ["include.ledger", "pandas"]


def run(quick: bool) -> list[Row]:
    year, large, day = (200_000, 40_000, 2_000) if quick else (50_000_000, 4_000_000, 140_000)
    with workplace("ledger") as folder:
        at = {"folder": str(folder)}
        sizes = {"large": large, "day": day}
        made = {name: Case(f"{HERE}:make", {**at, "name": name, "units": n}) for name, n in sizes.items()}
        measure({**made, "year": Case(f"{HERE}:make_year", {**at, "units": year, "of": large})}, 1)
        fill = measure({"fill": Case(f"{HERE}:fill", at, imports=IMPORTS)}, 1)["fill"]
        found: dict[str, Any] = {}
        for name in ("day", "large"):
            of = {**at, "name": name}
            cases = {
                "compare": Case(f"{HERE}:compare", of, imports=IMPORTS),
                "claim": Case(f"{HERE}:claim", of, imports=IMPORTS),
                "bare": Case(f"{HERE}:bare", of, [str(folder / "bare.sqlite")], IMPORTS),
                "release": Case(f"{HERE}:settle", {**of, "state": "refused"}, imports=IMPORTS),
            }
            found[name] = measure(cases, 1 if quick else 3)
        last = measure(
            {
                "months": Case(f"{HERE}:months", at, imports=IMPORTS),
                "forget": Case(f"{HERE}:forget", at, imports=IMPORTS),
            },
            1,
        )
    rows = [
        Row(
            f"{year:,} units claimed in files of {large:,}", fill.seconds, "", None, None, "", True, fill.memory_mb,
            f"{fill.result['bytes'] / 1e9:.2f} GB, {fill.result['bytes'] / year:.0f} bytes a unit",
        )
    ]  # fmt: skip
    for name in ("day", "large"):
        compared, claimed, bare = (found[name][each] for each in ("compare", "claim", "bare"))
        for what, ours, most in (("compared", compared, 10), ("claimed", claimed, 30)):
            ratio = ours.seconds / bare.seconds
            label = f"{sizes[name]:,} units {what}, {year:,} known"
            peer = "append to a bare table"
            met = quick or ratio <= most
            rows.append(Row(label, ours.seconds, peer, bare.seconds, ratio, f"≤ {most}x the time", met, ours.memory_mb))
        rows.append(Row(f"{sizes[name]:,} units given back", found[name]["release"].seconds, "", None, None, "", True))
    rows.append(memory(f"{large:,} units claimed: memory", found["large"]["claim"], 700))
    months, forgotten = last["months"], last["forget"]
    rows.append(
        Row("months()", months.seconds, "", None, None, "≤ 0.2 s", months.seconds <= 0.2, note="no unit is read")
    )
    note = f"{forgotten.result:,} units"
    rows.append(Row("a month forgotten", forgotten.seconds, "", None, None, "", True, forgotten.memory_mb, note))
    return rows


def make(folder: str, name: str, units: int) -> None:
    """An index of random keys, three rows each, of 365 days."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(Path(folder) / f"{name}.parquet", _schema()) as out:
        for start in range(0, units, 1_000_000):
            out.write_table(_units(name, start, min(1_000_000, units - start), units))


def make_year(folder: str, units: int, of: int) -> None:
    """As :func:`make`, in indexes of so many units."""
    import pyarrow.parquet as pq

    for start in range(0, units, of):
        table = _units("year", start, min(of, units - start), units)
        pq.write_table(table, Path(folder) / f"year-{start:010}.parquet")


def _units(name: str, start: int, number: int, of: int) -> Any:
    import numpy as np
    import pyarrow as pa

    chance = np.random.default_rng([len(name), start])
    keys = pa.py_buffer(chance.bytes(16 * number))
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), number, [None, keys]),
        pa.array(chance.integers(-(2**63), 2**63 - 1, number)),
        pa.array(np.full(number, 3, np.int32)),
        pa.array(np.full(number, 300)),
        pa.array((20_000 + np.arange(start, start + number) * 365 // of).astype(np.int32)),
    ]
    return pa.table(columns, schema=_schema())


def _schema() -> Any:
    import pyarrow as pa

    integers = [("content", pa.int64()), ("rows", pa.int32()), ("bytes", pa.int64()), ("day", pa.int32())]
    return pa.schema([("key", pa.binary(16)), *integers])


def fill(folder: str) -> dict[str, int]:
    """Claim the year file by file, and confirm it."""
    import pyarrow.parquet as pq

    place, ledger = Path(folder), _ledger(folder)
    for number, index in enumerate(sorted(place.glob("year-*.parquet"))):
        note = _note(f"{number:064x}", pq.read_metadata(index).num_rows)
        ledger.claim(BOOK, note, index, "bench")
        ledger.settle(BOOK, note.sha256, "confirmed", "bench", "200")
    return {"bytes": sum(path.stat().st_size for path in place.glob("ledger.sqlite*"))}


def compare(folder: str, name: str) -> dict[int, int]:
    found = _ledger(folder).compare(BOOK, Path(folder) / f"{name}.parquet")
    return {code: each.units for code, each in found.counts.items()}


def claim(folder: str, name: str) -> None:
    index = Path(folder) / f"{name}.parquet"
    import pyarrow.parquet as pq

    _ledger(folder).claim(BOOK, _note(_sha256(name), pq.read_metadata(index).num_rows), index, "bench")


def settle(folder: str, name: str, state: Any) -> None:
    ledger = _ledger(folder)
    with ledger.one_sender(BOOK):  # who claimed it is another process, and gone
        ledger.settle(BOOK, _sha256(name), state, "bench", "200")


def months(folder: str) -> int:
    return len(_ledger(folder).months(BOOK))


def forget(folder: str) -> int:
    from datetime import date, timedelta

    return int(_ledger(folder).forget(BOOK, date(1970, 1, 1) + timedelta(days=20_030)))


def bare(folder: str, name: str) -> None:
    """The peer: the same units, in the same order, appended to a table without a key."""
    import sqlite3
    from contextlib import closing

    from include.ledger.index import pieces

    with closing(sqlite3.connect(Path(folder) / "bare.sqlite")) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE units (key BLOB, content INTEGER, file INTEGER, day INTEGER)")
        for piece in pieces(Path(folder) / f"{name}.parquet"):
            columns = [piece[column].to_pylist() for column in ("key", "content", "day")]
            database.executemany("INSERT INTO units VALUES (?, ?, 1, ?)", zip(*columns, strict=True))
        database.commit()


def _ledger(folder: str) -> Any:
    from include.ledger import sqlite_ledger

    return sqlite_ledger(Path(folder) / "ledger.sqlite")


def _note(sha256: str, units: int) -> Any:
    from include.ledger import FileNote

    return FileNote(sha256, "file:///bench", units, 3 * units, 300 * units, "bench")


def _sha256(name: str) -> str:
    return name.encode().hex().ljust(64, "0")
