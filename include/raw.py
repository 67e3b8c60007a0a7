"""What an extraction left in ``raw``: its parts, whether they are whole, and how many rows they hold."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import BadInput
from include.objects import arrow
from include.staging import find_json


@dataclass(frozen=True)
class Raw:
    """The staged rows of one run."""

    parts: list[str]
    refused: list[str]
    rows: int
    complete: bool


def read_raw(folder: Path, expected: int) -> Raw:
    """Look at the parts that :func:`include.extract.write_rows` wrote.

    A set is complete if all parts are there and the record of each says so and agrees with its files. Parts of higher
    numbers are of an earlier try, which was cut into more, and are left alone.

    Args:
        folder: ``raw`` of a run.
        expected: how many parts were to be pulled.

    Raises:
        BadInput: there is no part at all, or a Parquet file is damaged.
    """
    parts: dict[str, int] = {}
    refused: dict[str, int] = {}
    complete = True
    for number in range(expected):
        rows = [_rows(folder / f"{kind}-{number:05d}.parquet") for kind in ("part", "refused")]
        for found, kind, count in zip((parts, refused), ("part", "refused"), rows, strict=True):
            if count is not None:
                found[str(folder / f"{kind}-{number:05d}.parquet")] = count
        complete = complete and _whole(folder / f"part-{number:05d}.json", rows)
    if not parts:
        raise BadInput(f"{folder}: no part-*.parquet; the extraction did not finish. Clear the pull tasks of this run.")
    return Raw([*parts], [*refused], sum(parts.values()) + sum(refused.values()), complete)


def _whole(record_path: Path, rows: list[int | None]) -> bool:
    record = find_json(record_path)
    return record is not None and bool(record["complete"]) and [record["rows"], record["refused"]] == rows


def _rows(path: Path) -> int | None:
    """How many rows a file holds; None if there is no such file."""
    try:
        return int(pq.read_metadata(str(path), filesystem=arrow(path)).num_rows)
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path}: not a whole Parquet file ({error}). Clear the pull task of this part.") from error
