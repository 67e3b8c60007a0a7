"""What an extraction left in ``raw``: its parts, whether they are whole, and how many rows they hold."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import BadInput
from include.staging import read_json


@dataclass(frozen=True)
class Raw:
    """The staged rows of one run."""

    parts: list[str]
    refused: list[str]
    rows: int
    complete: bool


def read_raw(folder: Path, expected: int | None = None) -> Raw:
    """Look at the parts that :func:`include.extract.write_rows` wrote.

    A set is complete if its parts are numbered without a gap (as many as expected, if that is known) and the record
    of each says so and agrees with its files.

    Raises:
        BadInput: there is no part at all, or a Parquet file is damaged.
    """
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise BadInput(f"{folder}: no part-*.parquet; the extraction did not finish. Clear the pull tasks of this run.")
    refused = sorted(folder.glob("refused-*.parquet"))
    rows = sum(_rows(path) for path in (*parts, *refused))
    numbered = [f"part-{number:05d}.parquet" for number in range(expected or len(parts))]
    complete = numbered == [path.name for path in parts] and all(_whole(path) for path in parts)
    return Raw([str(path) for path in parts], [str(path) for path in refused], rows, complete)


def _whole(part: Path) -> bool:
    record_path, refused = part.with_suffix(".json"), part.with_name(part.name.replace("part-", "refused-"))
    if not (record_path.exists() and refused.exists()):
        return False
    record = read_json(record_path)
    return bool(record["complete"]) and (record["rows"], record["refused"]) == (_rows(part), _rows(refused))


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path}: not a whole Parquet file ({error}). Clear the pull task of this part.") from error
