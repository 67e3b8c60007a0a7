"""What a run would change, for people: figures, ``diff.parquet`` with a row a change, the first of them in words."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.objects import arrow
from include.pins.compare import Diff, Scope
from include.pins.parts import LINES, Part
from include.staging import atomic_write

DIFF = "diff.parquet"
SHOWN = 10
_EXTRA = {True: "delete", False: "stays"}
_BATCH = 5_000
_NAMES = ("action", "file", "line", "scope_id", "model", "target")
_SCHEMA = pa.schema([(name, pa.int64() if name == "line" else pa.string()) for name in _NAMES])


def table(found: Diff, *, delete: bool) -> str:
    """The difference in figures, for the log."""
    rows = {
        "to create": len(found.create),
        "to replace": len(found.replace),
        "unchanged": len(found.unchanged),
        "there, so refused": len(found.conflict),
        "to delete" if delete else "not wanted, stays": len(found.extra),
    }
    if not found.conflict:
        del rows["there, so refused"]
    return "\n".join(["wanted pins, compared with what is there", *(f"  {n:<20}{c:>12,}" for n, c in rows.items())])


def write_diff(run: Path, found: Diff, parts: Iterable[Part], *, delete: bool) -> None:
    """Write ``diff.parquet``: a row a change, deletions first; what stays because nobody wants it comes last."""
    extra = ({"action": _EXTRA[delete], "scope_id": number, **_what(there)} for number, there in found.extra.items())
    changes = _changes(run, found, parts)
    rows = chain(extra, changes) if delete else chain(changes, extra)
    with atomic_write(run / DIFF) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as file:
        while batch := list(islice(rows, _BATCH)):
            file.write_table(pa.Table.from_pylist(batch, _SCHEMA))


def first_of(run: Path) -> str:
    """The first rows of ``diff.parquet`` in words, for the log."""
    with pq.ParquetFile(str(run / DIFF), filesystem=arrow(run)) as file:
        first = next(file.iter_batches(SHOWN), None)
        more = file.metadata.num_rows - SHOWN
    lines = [_told(row) for row in (first.to_pylist() if first else [])]
    return "\n".join([*lines, *([f"    … and {more:,} more"] if more > 0 else []), f"  all of them: {run / DIFF}"])


def _changes(run: Path, found: Diff, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """What happens to wanted scopes, in the order of their lines."""
    create, conflict, replace = frozenset(found.create), frozenset(found.conflict), dict(found.replace)
    origins = _origins(run)
    for part in parts:
        for number, (line, origin) in enumerate(zip(part.lines, origins, strict=False), part.first):
            action = "create" if number in create else "conflict" if number in conflict else "replace"
            if action != "replace" or number in replace:
                yield {"action": action, "scope_id": replace.get(number), **origin, **_what(json.loads(line))}


def _origins(run: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(str(run / LINES), filesystem=arrow(run)) as file:
        for batch in file.iter_batches(_BATCH, columns=["file", "line"]):
            yield from batch.to_pylist()


def _what(scope: Scope) -> Mapping[str, str]:
    criteria = scope.get("target_criteria")
    target = scope.get("target_identity") or (criteria and json.dumps(criteria, ensure_ascii=False))
    return {"model": str(scope.get("model")), "target": str(target or scope.get("target_type"))}


def _told(row: Mapping[str, Any]) -> str:
    """One change on one line; what a shop pins is no customer's, and a stranger's text is cut."""
    place = f"{row['file']} line {row['line']}" if row["file"] else f"row {row['line']}" if row["line"] else ""
    there = f"id {row['scope_id']}" if row["scope_id"] else ""
    target = " ".join(str(row["target"]).split())[:60]
    return "  ".join(["  ", f"{row['action']:<8}", row["model"][:60], target, *filter(None, (there, place))])
