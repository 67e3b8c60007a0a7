"""What was staged, line by line or row by row: which scope each is of, and what is wrong with it.

The texts of scopes and pins lie end to end in a file of their own, so that only their places are sorted, however long
they are.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import BadInput
from include.objects import arrow
from include.pins.reading import is_ndjson, read_lines
from include.pins.rows import OPTIONAL, REQUIRED, pin_of, scope_of, target_of
from include.pins.scopes import MAX_LINE_BYTES, Refused, check, family, key, parse, write
from include.raw import read_raw
from include.staging import read_json

FILES = "files.json"
"""In ``raw``: the names that staged NDJSON files had where they came from."""
SHOWN_CHARACTERS = 1_000
_BATCH = 5_000
_ROWS = 500
"""Staged rows that are read at a time; each may be long."""
_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("key", pa.binary()),
        ("family", pa.binary()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("at", pa.int64()),
        ("scope_bytes", pa.int32()),
        ("pin_bytes", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Draft:
    """A line with a whole scope, or (with ``pin``) a row with one pin of it.

    ``number`` counts over all files; ``line`` within one. ``key`` is None if nobody knows which scope it is, and then
    ``family``, if given, is what it must be one of. With a reason, ``scope`` is what can be shown of the line.
    """

    number: int
    file: str
    line: int | None
    key: bytes | None = None
    scope: str | None = None
    pin: str | None = None
    reason: str | None = None
    detail: str | None = None
    family: bytes | None = None
    lost: int | None = None
    """Number of a row that may be of this scope: of the same family, and nobody knows which one it is."""

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
    """Write them as Parquet, with their texts beside it; gives how many there are."""
    count = 0
    with _texts(path).open("wb") as texts, pq.ParquetWriter(path, _SCHEMA) as file:
        rows = (_written(draft, texts) for draft in drafts)
        while batch := list(islice(rows, _BATCH)):
            file.write_table(pa.Table.from_pylist(batch, _SCHEMA))
            count += len(batch)
    return count


def _texts(path: Path) -> Path:
    return path.with_suffix(".texts")


def _written(draft: Draft, texts: IO[bytes]) -> dict[str, Any]:
    scope, pin = (None if text is None else text.encode("utf-8", "replace") for text in (draft.scope, draft.pin))
    row = {name: getattr(draft, name) for name in _SCHEMA.names[:7]}
    row |= {"at": texts.tell(), "scope_bytes": scope and len(scope), "pin_bytes": pin and len(pin)}
    texts.write((scope or b"") + (pin or b""))
    return row


def with_texts(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[Draft]:
    """The drafts of rows that :func:`write_drafts` wrote, in any order."""
    with _texts(path).open("rb") as texts:
        for row in rows:
            texts.seek(row["at"])
            scope, pin = (None if size is None else texts.read(size) for size in (row["scope_bytes"], row["pin_bytes"]))
            known = {name: row[name] for name in (*_SCHEMA.names[:7], "lost")}
            yield Draft(
                **known,
                scope=None if scope is None else scope.decode(),
                pin=None if pin is None else pin.decode(),
            )


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
    staged = read_raw(raw, 1)
    if not staged.complete:
        raise BadInput(
            f"{raw}: a part is missing or was not read to its end. Nothing is sent: half of the pins would pass for "
            "all of them. Clear the pull of this run."
        )
    number = 0
    for path in staged.parts:
        for row in _rows(raw, path):
            number += 1
            yield _of_row(number, row)
    for path in staged.refused:
        for row in _rows(raw, path):
            number += 1
            reason = str(row.pop("reason") or "unreadable_line")
            found, kin = _identity(row)
            yield Draft(number, "", None, found, _shown(row), None, reason, "cannot be read as text", kin)


def _rows(raw: Path, part: str) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(part, filesystem=arrow(raw)) as file:
        for batch in file.iter_batches(_ROWS):
            yield from batch.to_pylist()


def _of_row(number: int, row: dict[str, str | None]) -> Draft:
    found, kin = _identity(row)
    try:
        scope, pin = scope_of(row), pin_of(row)
        check({**scope, "pin_definitions": [pin]})
        return Draft(number, "", number, found, write(scope), write(pin), family=kin)
    except Refused as error:
        return Draft(number, "", number, found, _shown(row), None, error.reason, str(error), kin)


def _identity(row: dict[str, str | None]) -> tuple[bytes | None, bytes | None]:
    """Which scope a row is of, whatever else is wrong with it, and which family of scopes."""
    try:
        return key(target_of(row)), family(row)
    except Refused:
        return None, family(row)


def _shown(row: dict[str, Any]) -> str:
    given = {name: row.get(name) for name in (*REQUIRED, *OPTIONAL) if row.get(name)}
    return json.dumps(given, ensure_ascii=False)[:SHOWN_CHARACTERS]
