"""Every transaction row that was accepted, in one file, so that what arrived can be held against what was sent."""

from pathlib import Path
from typing import Literal

from include.sandbox.database import Database, literal

Form = Literal["ndjson", "parquet"]
_FORMATS: dict[Form, str] = {"ndjson": "json", "parquet": "parquet"}
_ROWS = """
    SELECT parse_filename(filename, true) AS upload, session_id, identity, user_id,
        strftime(bought_at, '%Y-%m-%d %H:%M:%S.%f') AS bought_at
    FROM read_parquet([{files}], filename = true)"""
_NO_ROWS = """
    SELECT NULL::VARCHAR AS upload, NULL::VARCHAR AS session_id, NULL::VARCHAR AS identity,
        NULL::VARCHAR AS user_id, NULL::VARCHAR AS bought_at WHERE false"""


def write_sessions(files: list[Path], target: Path, form: Form, database: Database) -> None:
    """Write the rows of accepted uploads, in the order in which they were uploaded. Memory is flat.

    Args:
        files: the Parquet files of the uploads, each named after its number.
        target: columns upload, session_id, identity, user_id, bought_at (text, in UTC).
        form: JSON Lines or Parquet.
        database: does the work.

    Raises:
        Stopping: the sandbox stops meanwhile.
    """
    rows = _ROWS.format(files=", ".join(map(literal, files))) if files else _NO_ROWS
    with database.connect() as connection:
        connection.execute(f"COPY ({rows}) TO {literal(target)} (FORMAT {_FORMATS[form]})")
