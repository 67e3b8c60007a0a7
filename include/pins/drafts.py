"""What was staged, line by line or row by row: which scope each is of, and what is wrong with it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import BadInput
from include.pins.reading import is_ndjson, read_lines
from include.pins.rows import OPTIONAL, REQUIRED, pin_of, scope_of
from include.pins.scopes import MAX_LINE_BYTES, Refused, check, key, parse, write
from include.raw import read_raw
from include.staging import read_json

FILES = "files.json"
"""In ``raw``: the names that staged NDJSON files had where they came from."""
SHOWN_CHARACTERS = 1_000
_BATCH = 5_000
_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("key", pa.binary()),
        ("scope", pa.large_string()),
        ("pin", pa.large_string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Draft:
    """A line with a whole scope, or (with ``pin``) a row with one pin of it.

    ``number`` counts over all files; ``line`` within one. ``key`` is None if nobody knows which scope it is; with a
    reason, ``scope`` is what can be shown of the line.
    """

    number: int
    file: str
    line: int | None
    key: bytes | None = None
    scope: str | None = None
    pin: str | None = None
    reason: str | None = None
    detail: str | None = None

    @property
    def place(self) -> str:
        """Where it came from, for sentences."""
        return f"{self.file} line {self.line}" if self.file else f"row {self.line}"


def drafts_of(raw: Path) -> Iterator[Draft]:
    """Every line, or every row, that was staged.

    Raises:
        BadInput: nothing was staged, or it is damaged.
    """
    if (raw / FILES).exists():
        return _of_files(raw)
    return _of_rows(raw)


def write_drafts(drafts: Iterable[Draft], path: Path) -> int:
    """Write them as Parquet; gives how many there are."""
    count, source = 0, iter(drafts)
    with pq.ParquetWriter(path, _SCHEMA) as file:
        while batch := list(islice(source, _BATCH)):
            file.write_table(pa.Table.from_pylist([asdict(draft) for draft in batch], _SCHEMA))
            count += len(batch)
    return count


def _of_files(raw: Path) -> Iterator[Draft]:
    number = 0
    for entry in read_json(raw / FILES)["files"]:
        path = raw / entry["staged"]
        if not path.is_file() or not is_ndjson(path.name):
            raise BadInput(f"{path}: not there any more. Nothing is sent. Clear the pull of this run.")
        for line, content in read_lines(path):
            number += 1
            yield _of_line(number, entry["name"], line, content)


def _of_line(number: int, file: str, line: int, content: bytes | None) -> Draft:
    if content is None:
        return Draft(number, file, line, reason="too_large", detail=f"is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        scope = check(parse(content))
        return Draft(number, file, line, key(scope), write(scope))
    except Refused as error:
        shown = content.decode("utf-8", "backslashreplace").strip()[:SHOWN_CHARACTERS]
        return Draft(number, file, line, None, shown, reason=error.reason, detail=str(error))


def _of_rows(raw: Path) -> Iterator[Draft]:
    staged = read_raw(raw)
    if not staged.complete:
        raise BadInput(
            f"{raw}: a part is missing or was not read to its end. Nothing is sent: half of the pins would pass for "
            "all of them. Clear the pull of this run."
        )
    number = 0
    for path in staged.parts:
        for row in _rows(path):
            number += 1
            yield _of_row(number, row)
    for path in staged.refused:
        for row in _rows(path):
            number += 1
            reason = str(row.pop("reason") or "unreadable_line")
            yield Draft(number, "", None, None, _shown(row), reason=reason, detail="cannot be read as text")


def _rows(path: str) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()


def _of_row(number: int, row: dict[str, str | None]) -> Draft:
    found = None
    try:
        scope = scope_of(row)
        found = key(scope)
        pin = pin_of(row)
        check({**scope, "pin_definitions": [pin]})
        return Draft(number, "", number, found, write(scope), write(pin))
    except Refused as error:
        return Draft(number, "", number, found, _shown(row), reason=error.reason, detail=str(error))


def _shown(row: dict[str, Any]) -> str:
    given = {name: row.get(name) for name in (*REQUIRED, *OPTIONAL) if row.get(name)}
    return json.dumps(given, ensure_ascii=False)[:SHOWN_CHARACTERS]
