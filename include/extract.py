"""The entrance: rows of any cursor or list file become Parquet columns of text, batch by batch.

Values get their one spelling (``include.spelling``), and rows that cannot be text at all are set aside with their
reason. Whether an id is *acceptable* is decided later, in ``include.audience.build`` and
``include.transactions.build``. Memory is that of one batch, whatever the number of rows.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypedDict, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import BadInput
from include.objects import arrow
from include.spelling import shown, text_column
from include.staging import open_whole, write_json

FILE_BATCH_ROWS = 50_000
_HEADER_WORDS = {
    "id",
    "user",
    "user_id",
    "customer",
    "customer_id",
    "client_id",
    "email",
    "e-mail",
    "mail",
    "recipient",
}
Rows = Iterator[Sequence[Any]]


@runtime_checkable
class ByColumns(Protocol):
    """A batch of rows that is taken column by column, each as text in the one spelling or as values."""

    def __len__(self) -> int: ...

    def column(self, place: int) -> pa.Array | Sequence[Any]:
        """The values of one column."""


Batches = Iterable[Sequence[Sequence[Any]] | ByColumns]


class Record(TypedDict):
    """What one part holds; it is written last, so its existence is the commit."""

    rows: int
    refused: int
    complete: bool
    columns: list[str]


def write_rows(
    batches: Batches,
    columns: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    raw: Path,
    part: int,
    ignore: Sequence[str] = (),
) -> Record:
    """Write rows as ``part-NNNNN.parquet`` with its ``refused-`` sister and its record; a rerun replaces all three.

    Args:
        batches: rows as a cursor gives them, or columns, some at a time.
        columns: names of the rows' values, in order; upper and lower case are the same.
        required: columns that must be there.
        optional: columns that are written as null where they are missing.
        raw: the folder ``raw`` of a run.
        part: number of this part, from 0.
        ignore: columns that may come and are not kept, such as a partition key.

    Raises:
        BadInput: columns are missing, unknown or doubled, or a value has a type that is no scalar.
    """
    return write_places(batches, _match(columns, required, optional, ignore), columns, raw, part)


def write_places(
    batches: Batches, places: Mapping[str, int | None], columns: Sequence[str], raw: Path, part: int
) -> Record:
    """As :func:`write_rows`, where it is settled already which of the rows' values is which column.

    Args:
        batches: rows as a cursor gives them, some at a time.
        places: for each column its place in the rows; None: it is written as null.
        columns: names of the rows' values, for the record.
        raw: the folder ``raw`` of a run.
        part: number of this part, from 0.

    Raises:
        BadInput: a value has a type that is no scalar.
    """
    record_path = raw / f"part-{part:05d}.json"
    record_path.unlink(missing_ok=True)
    rows = refused = 0
    with (
        open_whole(raw / f"part-{part:05d}.parquet") as part_sink,
        open_whole(raw / f"refused-{part:05d}.parquet") as refused_sink,
        pq.ParquetWriter(part_sink, _schema(places), use_dictionary=False) as part_file,  # ids hardly repeat
        pq.ParquetWriter(refused_sink, _schema([*places, "reason"])) as refused_file,
    ):
        for batch in batches:
            good, bad = _as_text(batch, places)
            part_file.write_table(good)
            if bad.num_rows:
                refused_file.write_table(bad)
            rows += good.num_rows
            refused += bad.num_rows
    record: Record = {"rows": rows, "refused": refused, "complete": True, "columns": list(columns)}
    write_json(record_path, dict(record))
    return record


def _schema(names: Iterable[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _match(
    columns: Sequence[str], required: Sequence[str], optional: Sequence[str], ignore: Sequence[str]
) -> dict[str, int | None]:
    """For each wanted column its place among those that came, or None."""
    came = [name.casefold() for name in columns]
    known = {name.casefold() for name in (*required, *optional, *ignore)}
    missing = [name for name in required if name.casefold() not in came]
    unknown = [name for name in columns if name.casefold() not in known]
    doubled = sorted({name for name in came if came.count(name) > 1})
    if missing or unknown or doubled:
        wanted = ", ".join(required) + (f" and, if there, {', '.join(optional)}" if optional else "")
        found = ", ".join(columns) or "none"
        raise BadInput(
            f"columns: found {found}; wanted {wanted}"
            + "".join(
                f"; {what}: {', '.join(names)}"
                for what, names in (("missing", missing), ("unknown", unknown), ("twice", doubled))
                if names
            )
            + ". Nothing was staged. Name the columns in the query (SELECT … AS …)."
        )
    return {name: came.index(name.casefold()) if name.casefold() in came else None for name in (*required, *optional)}


def choose(
    columns: Sequence[str], required: Sequence[str], optional: Sequence[str], names: Mapping[str, str]
) -> dict[str, int | None]:
    """For each wanted column its place in a source that has columns of its own besides; those are not kept.

    Args:
        columns: names of the source's columns, in order; upper and lower case are the same.
        required: columns that must be there.
        optional: columns that may be missing.
        names: how columns are called in the source, where it differs.

    Raises:
        BadInput: a required column is missing, one that ``names`` gives is missing, or a wanted one came twice.
    """
    came = [name.casefold() for name in columns]
    called = {name: names.get(name, name) for name in (*required, *optional)}
    must = [name for name in called if name in required or name in names]
    missing = [called[name] for name in must if called[name].casefold() not in came]
    doubled = sorted({name for name in called.values() if came.count(name.casefold()) > 1})
    if missing or doubled:
        faults = (("missing", missing), ("twice", doubled))
        raise BadInput(
            f"columns: found {', '.join(columns) or 'none'}"
            + "".join(f"; {what}: {', '.join(found)}" for what, found in faults if found)
            + f". Wanted are {', '.join(called[name] for name in must)}, and perhaps "
            f"{', '.join(called[name] for name in called if name not in must) or 'nothing else'}. Nothing was staged. "
            "Name the columns in the query (SELECT … AS …), or in `columns` of the publisher file."
        )
    return {
        name: came.index(theirs.casefold()) if theirs.casefold() in came else None for name, theirs in called.items()
    }


def _columns(batch: Sequence[Sequence[Any]] | ByColumns) -> Callable[[int], Any]:
    if isinstance(batch, ByColumns):
        return batch.column
    try:
        return list(zip(*batch, strict=True)).__getitem__
    except ValueError:
        raise BadInput("rows of one batch differ in their number of values; the source is not a table") from None


def _as_text(batch: Sequence[Sequence[Any]] | ByColumns, places: Mapping[str, int | None]) -> tuple[pa.Table, pa.Table]:
    """One batch as a table of text, and the rows that cannot be text."""
    column = _columns(batch)
    arrays: dict[str, pa.Array] = {}
    bad: dict[int, str] = {}
    for name, place in places.items():
        if place is None or not batch:
            arrays[name] = pa.nulls(len(batch), pa.string())
        else:
            arrays[name], faults = text_column(name, column(place))
            bad |= faults
    refused = [
        {name: None if place is None else shown(column(place)[row]) for name, place in places.items()}
        | {"reason": bad[row]}
        for row in sorted(bad)
    ]
    table = pa.table(arrays)
    if bad:
        table = table.filter(pa.array([row not in bad for row in range(len(batch))]))
    return table, pa.Table.from_pylist(refused, _schema([*places, "reason"]))


def read_ids(path: Path) -> tuple[Batches, list[str]]:
    """Read an audience list from a file: its batches of rows, and its columns, as :func:`write_rows` takes them.

    - ``.txt``: one id a line, taken as it stands; a first line ``auth_user_id`` is a header.
    - ``.csv``: with a header that names ``auth_user_id``; or without one, the id and perhaps the recipient.
    - ``.jsonl``, ``.ndjson``: objects with ``auth_user_id`` and perhaps ``recipient``.
    - ``.parquet``: any columns; :func:`write_rows` checks their names.

    Bytes that are not UTF-8 come as lone surrogates, so they end among the refused rows.

    Raises:
        BadInput: no such file, another extension, or (while reading) a line that is not as it should be.
    """
    readers = {
        ".txt": _read_text,
        ".csv": _read_csv,
        ".jsonl": _read_json,
        ".ndjson": _read_json,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path}: an audience list is a {', '.join(readers)} file; came {path.suffix or 'no extension'}")
    if not path.is_file():
        raise BadInput(f"{path}: no such file; the audience list must be readable where the task runs")
    columns, rows = reader(path)
    return _batches(rows), columns


def _batches(rows: Rows) -> Iterator[list[Sequence[Any]]]:
    while batch := list(islice(rows, FILE_BATCH_ROWS)):
        yield batch


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as handle:
        yield from handle


def _read_text(path: Path) -> tuple[list[str], Rows]:
    lines = (line.removesuffix("\n").removesuffix("\r") for line in _lines(path))
    first = next(lines, "auth_user_id")
    _refuse_other_headers(path, [first])
    rows = lines if first.strip().casefold() == "auth_user_id" else chain([first], lines)
    return ["auth_user_id"], ([line] for line in rows)


def _refuse_other_headers(path: Path, first: list[str]) -> None:
    """A list whose first row is a header of other names, or of another separator, must not become customers."""
    if any(cell.strip().casefold() in _HEADER_WORDS for cell in first):
        raise BadInput(
            f"{path}: the first row is a header without auth_user_id; name that column so. Nothing was staged."
        )
    if len(first) == 1 and any(mark in first[0] for mark in ";\t"):
        raise BadInput(f"{path}: the first row has a semicolon or tab; columns go with commas. Nothing was staged.")


def _read_csv(path: Path) -> tuple[list[str], Rows]:
    rows = _csv_rows(path)
    first = next(rows, ["auth_user_id"])
    names = [cell.strip().casefold() for cell in first]
    if "auth_user_id" in names:
        return names, _of_width(path, rows, names, 2)
    _refuse_other_headers(path, first)
    columns = ["auth_user_id", "recipient"][: max(1, len(first))]
    return columns, _of_width(path, chain([first], rows), columns, 1)


def _csv_rows(path: Path) -> Iterator[list[str]]:
    reader = csv.reader(_lines(path), strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: not readable as CSV ({error}). Nothing was staged.") from error


def _of_width(path: Path, rows: Iterable[list[str]], columns: list[str], first_row: int) -> Rows:
    for number, row in enumerate(rows, first_row):
        if not row:
            yield [""] * len(columns)  # a blank line is an id without a character, and counted as such
            continue
        if len(row) != len(columns):
            raise BadInput(
                f"{path}, row {number}: {len(row)} values; wanted {len(columns)} ({', '.join(columns)}), separated by "
                "commas. Nothing was staged."
            )
        yield row


def _read_json(path: Path) -> tuple[list[str], Rows]:
    columns = ["auth_user_id", "recipient"]

    def rows() -> Rows:
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                yield ["", None]
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path}, line {number}: not readable as JSON ({error}). Nothing was staged.") from error
            if not isinstance(found, dict) or "auth_user_id" not in found or not found.keys() <= set(columns):
                keys = f"an object with {len(found)} keys" if isinstance(found, dict) else type(found).__name__
                raise BadInput(
                    f"{path}, line {number}: wanted an object with auth_user_id and perhaps recipient; came {keys}. "
                    "Nothing was staged."
                )
            yield [found.get(name) for name in columns]

    return columns, rows()


def _read_parquet(path: Path) -> tuple[list[str], Rows]:
    try:
        file = pq.ParquetFile(str(path), filesystem=arrow(path))
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path}: not a whole Parquet file ({error}). Nothing was staged.") from error

    def rows() -> Rows:
        for batch in file.iter_batches(FILE_BATCH_ROWS):
            # Text as bytes: a column that lies about being UTF-8 must not end in an error.
            columns = [
                column.cast(pa.binary()) if pa.types.is_string(column.type) else column for column in batch.columns
            ]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)

    return file.schema_arrow.names, rows()
