"""Between raw batch and parts: stretches written down as they are read, then gathered part by part.

A stretch becomes two Arrow files in the work folder, one record batch a part. ``finish_part`` walks them in the
order of the batch, keeps each user's first appearance, and writes row groups of a fixed size: the same rows give
the same bytes, whoever read them and however they were cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.recommendations.collector import Collector
from include.recommendations.rows import SCHEMA, USERS_SCHEMA
from include.staging import atomic_write, sha256_file

ROW_GROUP = 65_536
_FIELDS = {
    "no_recommendation_id": "recommendation_id",
    "no_item_id": "item_id",
    "no_url": "url",
    "no_title": "title",
    "no_image": "image_link",
}
_DICTIONARIES = ["auth_user_id", "recommendation_type", "updated_at"]


@dataclass
class Figures:
    """What a part holds."""

    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    users: int = 0
    users_in_file: int = 0
    empty: int = 0
    duplicates: int = 0
    no_updated_at: int = 0
    types: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    updated_min: datetime | None = None
    updated_max: datetime | None = None


def write_stretch(work: Path, name: str, sink: Collector) -> None:
    """Write down what the collector holds; ``name`` sorts by the order of the batch.

    Raises:
        Odd: a field is longer than the limit.
    """
    rows, users = sink.by_part()
    for kind, batches in (("rows", rows), ("users", users)):
        with pa.OSFile(str(work / f"{name}.{kind}"), "wb") as out, pa.ipc.new_file(out, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)


def finish_part(work: Path, part: int, path: Path) -> Figures:
    """Write one part from all stretches; a part without rows is an empty file with the schema."""
    figures = Figures(problems=dict.fromkeys((*_FIELDS, "repeated_products"), 0))
    kept = _first_appearances(_gather(work, "users", part), figures)
    with atomic_write(path) as temporary:
        with _writer(temporary) as writer:
            for table in _regroup(_kept_rows(work, part, kept)):
                _count(table, figures)
                writer.write_table(table)
        figures.bytes, figures.sha256 = temporary.stat().st_size, sha256_file(temporary)
    return figures


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=1, use_dictionary=_DICTIONARIES)


def _gather(work: Path, kind: str, part: int) -> Iterator[pa.RecordBatch]:
    for path in sorted(work.glob(f"*.{kind}")):
        with pa.OSFile(str(path)) as source:
            yield pa.ipc.open_file(source).get_batch(part)


def _first_appearances(batches: Iterator[pa.RecordBatch], figures: Figures) -> Any:
    """Count the users of the part; returns which rows are kept, one flag a row in the order of the batch."""
    users = pa.Table.from_batches(list(batches), USERS_SCHEMA)
    keys = users["key"].to_numpy()
    kept = np.ones(len(keys), bool)
    if len(np.unique(keys)) < len(keys):
        kept = _exactly_first(keys, users["auth_user_id"])
    rows = users["rows"].to_numpy()
    used = users.filter(pa.array(kept & (rows > 0)))
    figures.users_in_file = len(kept)
    figures.duplicates = int((~kept).sum())
    figures.users = len(used)
    figures.empty = int((kept & (rows == 0)).sum())
    figures.problems["repeated_products"] = pc.sum(used["repeated"]).as_py() or 0
    figures.no_updated_at = used["updated_at"].null_count
    moments = pc.min_max(used["updated_at"])
    figures.updated_min, figures.updated_max = moments["min"].as_py(), moments["max"].as_py()
    return np.repeat(kept, rows)


def _exactly_first(keys: Any, ids: pa.ChunkedArray) -> Any:
    """Compare ids themselves wherever two hashes are equal."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    kept = np.ones(len(keys), bool)
    suspects = np.flatnonzero(counts[inverse] > 1)
    seen: set[str] = set()
    for position, auth_user_id in zip(suspects, ids.take(pa.array(suspects)).to_pylist(), strict=True):
        kept[position] = auth_user_id not in seen
        seen.add(auth_user_id)
    return kept


def _kept_rows(work: Path, part: int, kept: Any) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in _gather(work, "rows", part):
        flags = kept[start : start + len(batch)]
        start += len(batch)
        yield batch if flags.all() else batch.filter(pa.array(flags))


def _regroup(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in contiguous tables of ``ROW_GROUP`` rows; the last may be shorter."""
    waiting = SCHEMA.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while len(waiting) >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP).combine_chunks()
            waiting = waiting.slice(ROW_GROUP)
    if len(waiting):
        yield waiting.combine_chunks()


def _count(table: pa.Table, figures: Figures) -> None:
    figures.rows += len(table)
    for problem, column in _FIELDS.items():
        figures.problems[problem] += table[column].null_count
    kinds = table["recommendation_type"]
    for counted, name in ((kinds, "rows"), (kinds.filter(pc.equal(table["rank"], 1)), "users")):
        for entry in counted.value_counts().to_pylist():
            counts = figures.types.setdefault(entry["values"], {"users": 0, "rows": 0})
            counts[name] += entry["counts"]
