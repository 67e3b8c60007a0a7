"""Is every line of an uploaded file as documented? And the file as a Parquet table, if so.

DuckDB reads and checks the whole file at once, with flat memory. Only a file that is not in order is walked a second
time, line by line, to say which line is the first bad one and why; a reason never repeats what the line holds.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec

from include.sandbox.database import Database, literal

Kind = Literal["users", "transactions"]
Format = Literal["json", "csv"]
MAX_LINE = 100_000
BUFFER = 4_000_000
QUOTE = ord('"')
CREATED_AT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?"
CONTROL = r"[\x00-\x1f\x7f]"
FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "users": ("auth_user_id",),
    "transactions": ("session_id", "identity", "user_id", "created_at"),
}
_RULES: Mapping[Kind, str] = {
    "users": f"""
        SELECT auth_user_id,
            misfit OR auth_user_id IS NULL OR auth_user_id IN ('', 'default')
            OR CASE WHEN suspect THEN regexp_matches(auth_user_id, '{CONTROL}') ELSE false END AS bad
        FROM texts""",
    "transactions": f"""
        SELECT session_id, identity, nullif(user_id, '') AS user_id,
            try_strptime(nullif(created_at, ''), ['%Y-%m-%d %H:%M:%S.%f', '%Y-%m-%d %H:%M:%S']) AS bought_at,
            misfit OR session_id IS NULL OR session_id = '' OR identity IS NULL OR identity = ''
            OR CASE WHEN suspect THEN regexp_matches(concat(session_id, identity, user_id), '{CONTROL}') ELSE false END
            OR CASE WHEN created_at <> '' THEN
                bought_at IS NULL OR created_at NOT LIKE '____-__-__ __:__:__%' ELSE false END AS bad
        FROM texts""",
}


class BadLine(Exception):
    """A line is not as documented; ``line`` counts from 1, and is None when the whole file is meant."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.line = line


def load(source: Path, kind: Kind, form: Format, target: Path, database: Database) -> int:
    """Check all lines of ``source`` and write them to the Parquet file ``target``; gives the number of lines.

    ``target`` has the columns of FIELDS, but ``bought_at``, a timestamp in UTC, for ``created_at``; it is not there if
    this raises.

    Raises:
        BadLine: a line is not as documented, or there are none.
    """
    try:
        rows, bad = _copy(source, kind, form, target, database)
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        rows, bad = 0, 0
    if rows > 0 and bad == 0:
        return rows
    target.unlink(missing_ok=True)
    _walk(source, kind, form)
    raise BadLine(None, f"the file cannot be read as {'JSON Lines' if form == 'json' else 'CSV without a header'}")


def _copy(source: Path, kind: Kind, form: Format, target: Path, database: Database) -> tuple[int, int]:
    texts = _json_texts(source, kind) if form == "json" else _csv_texts(source, kind)
    with database.connect() as connection:
        connection.execute(f"COPY (WITH texts AS ({texts}) {_RULES[kind]}) TO {literal(target)} (FORMAT parquet)")
        counted = connection.execute(
            f"SELECT count(*), count(*) FILTER (bad) FROM read_parquet({literal(target)})"
        ).fetchone()
    assert counted is not None
    return counted[0], counted[1]


def _json_texts(source: Path, kind: Kind) -> str:
    """Every field as text, the user's under either name.

    ``misfit``: a field is something else than a string, or too long. ``suspect``: there may be control characters,
    which stand in JSON only behind a backslash.
    """
    columns = ", ".join(f"{name}: 'JSON'" for name in dict.fromkeys((*FIELDS[kind], "auth_user_id", "user_id")))
    raw = ", ".join(
        f"{'coalesce(auth_user_id, user_id)' if name.endswith('user_id') else name}::VARCHAR AS {name}"
        for name in FIELDS[kind]
    )
    texts = ", ".join(
        f"CASE WHEN contains({name}, '\\') THEN {name}::JSON ->> '$' "
        f"ELSE substr({name}, 2, length({name}) - 2) END AS {name}"
        for name in FIELDS[kind]
    )
    misfit = " OR ".join(
        f"coalesce(ord({name}) <> {QUOTE} OR strlen({name}) > {MAX_LINE}, false)" for name in FIELDS[kind]
    )
    suspect = " OR ".join(f"coalesce(contains({name}, '\\'), false)" for name in FIELDS[kind])
    return f"""
        SELECT {texts}, {misfit} AS misfit, {suspect} AS suspect FROM (
            SELECT {raw} FROM read_json({literal(source)}, format = 'newline_delimited',
                columns = {{{columns}}}, maximum_object_size = {MAX_LINE}, compression = 'none'))"""


def _csv_texts(source: Path, kind: Kind) -> str:
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in FIELDS[kind])
    return f"""
        SELECT *, false AS misfit, true AS suspect FROM read_csv({literal(source)}, columns = {{{columns}}},
            header = false, auto_detect = false, delim = ',', quote = '"', escape = '"',
            null_padding = {kind == "transactions"}, max_line_size = {MAX_LINE}, buffer_size = {BUFFER},
            compression = 'none')"""


def _walk(source: Path, kind: Kind, form: Format) -> None:
    """Find the first bad line.

    Raises:
        BadLine: this is the one; or the file holds no lines.
    """
    filled = 0
    for number, line in _numbered_lines(source):
        try:
            fields = _json_fields(line) if form == "json" else _csv_fields(line, kind)
            if fields is not None:
                filled += 1
                _check(fields, kind)
        except ValueError as error:
            raise BadLine(number, str(error)) from None
    if not filled:
        raise BadLine(None, "the file holds no lines")


def _numbered_lines(source: Path) -> Iterator[tuple[int, bytes]]:
    with source.open("rb") as handle:
        number = 0
        while line := handle.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise BadLine(number, f"longer than {MAX_LINE:,} bytes")
            yield number, line


def _json_fields(line: bytes) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object in UTF-8")  # noqa: TRY004  it is the uploaded data that is wrong
    if fields.get("auth_user_id") is None:
        fields["auth_user_id"] = fields.get("user_id")
    fields["user_id"] = fields["auth_user_id"]
    return fields


def _csv_fields(line: bytes, kind: Kind) -> dict[str, Any]:
    try:
        values = next(csv.reader([line.decode()], strict=True), [])
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except csv.Error:
        raise ValueError("not a CSV line: a quote is not closed, or stands inside a value") from None
    if len(values) > len(FIELDS[kind]):
        allowed = "1 field" if kind == "users" else "2, 3 or 4 fields"
        raise ValueError(f"{len(values)} fields; documented are {allowed}")
    return dict(zip(FIELDS[kind], values, strict=False))


def _check(fields: Mapping[str, Any], kind: Kind) -> None:
    for name in FIELDS[kind]:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is not a string")
        if not value and name not in ("user_id", "created_at"):
            raise ValueError(f"{name} is missing or empty")
        if value and re.search(CONTROL, value):
            raise ValueError(f"{name} holds a control character")
    if fields.get("auth_user_id") == "default" and kind == "users":
        raise ValueError("auth_user_id is 'default', which is reserved for the default set")
    if kind == "transactions" and fields.get("created_at"):
        _check_time(fields["created_at"])


def _check_time(value: str) -> None:
    try:
        datetime.fromisoformat(value)
        documented = re.fullmatch(CREATED_AT, value, re.ASCII)
    except ValueError:
        documented = None
    if not documented:
        raise ValueError("created_at is not a time in UTC such as 2023-04-22 15:04:30.12312")
