"""Staged pages of a newsletter platform become ``raw``, as an extraction leaves it, for ``include.audience.build``.

Every row of a source that is taken ends in ``part-00000.parquet`` or, with one reason, in ``refused-00000.parquet``.
The first reason that applies:

- ``malformed``: the row has no key of the platform
- ``duplicate``: another row of the same profile is kept: pages overlap, or several lists have it
- ``suppressed``, ``no_consent``, ``blacklisted``, ``unsubscribed``; of the id ``wrong_type``,
  ``too_long``, ``not_utf8``
- ``left_out``: a source that is left out has the profile
- ``several_ids``: the custom field has more than one value for the contact
- ``no_email``: the recipient is the e-mail address, and there is none

Of a profile's rows one that is refused for the person counts first, then one that is not refused: who unsubscribed
from one list may be subscribed to another. Ids that are null, reserved or badly formed are refused by the build.

``complete`` is false as long as any source is not proven complete, also one that is left out: without it profiles
would be taken that must not be.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.audience.pages import Record, staged
from include.audience.profiles import MALFORMED
from include.audience.sources import Role, Source
from include.books import DUPLICATE
from include.engine import open_engine
from include.files import ROW_GROUP, steady
from include.publishers.audiences import Audience, KlaviyoAudience
from include.staging import open_whole, write_json

COLUMNS = ("auth_user_id", "recipient")
_OF_THE_PERSON = "'suppressed', 'no_consent', 'blacklisted'"
_NOTHING = "SELECT NULL::VARCHAR, NULL::VARCHAR, NULL::VARCHAR, NULL::VARCHAR, 0 WHERE false"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """A source, its segments and its record, if it was read to its end."""

    item: Source
    paths: list[str]
    record: Record | None


def gather(run: Path, sources: Sequence[Source], settings: Audience) -> dict[str, Any]:
    """Write part 0 of ``run/raw``, its ``refused-`` sister and its record from ``run/pages``.

    Args:
        run: the folder of the run.
        sources: all sources of the audience, as they were split.
        settings: the audience of the publisher.

    Returns:
        The record: ``rows``, ``refused``, ``complete``, ``columns``, and what each source came to.

    Raises:
        BadInput: a segment is damaged.
    """
    found = [_Found(item, *staged(run, item)) for item in sources]
    recipient = "key" if isinstance(settings, KlaviyoAudience) and settings.recipient == "profile_id" else "email"
    raw = run / "raw"
    record_path = raw / "part-00000.json"
    record_path.unlink(missing_ok=True)
    with open_engine(run / ".gather") as engine:
        _judge(engine, found, recipient)
        rows = _write(engine, raw / "part-00000.parquet", COLUMNS, "reason IS NULL")
        refused = _write(engine, raw / "refused-00000.parquet", (*COLUMNS, "reason"), "reason IS NOT NULL")
    record = {
        "rows": rows,
        "refused": refused,
        "complete": all(each.record is not None and each.record["complete"] for each in found),
        "columns": list(COLUMNS),
        "sources": [{**each.item, **(each.record or {"complete": False})} for each in found],
    }
    write_json(record_path, record)
    for each in found:
        if not (each.record and each.record["complete"]):
            log.error(
                "%s (%s) is not proven complete; the guard will refuse the list", each.item["source"], each.item["role"]
            )
    return record


def _judge(engine: duckdb.DuckDBPyConnection, found: list[_Found], recipient: str) -> None:
    """The table ``judged``: every row that came from what is taken, and its reason."""
    roles: tuple[Role, ...] = ("take", "leave_out", "ids")
    for role in roles:
        engine.execute(f"CREATE VIEW {role} AS {_rows_of(found, role)}")
    has_ids = any(each.item["role"] == "ids" for each in found)
    engine.execute(
        f"""
        CREATE TABLE judged AS
        WITH numbered AS (
            SELECT *, row_number() OVER (
                PARTITION BY key
                ORDER BY CASE WHEN reason IN ({_OF_THE_PERSON}) THEN 0 WHEN reason IS NULL THEN 1 ELSE 2 END,
                         source, reason, auth_user_id, email
            ) AS nth
            FROM take
        ), left_out AS (
            SELECT DISTINCT key FROM leave_out
        ), id_of AS (
            SELECT key, min(auth_user_id) AS id, min(reason) AS id_reason, count(DISTINCT auth_user_id) > 1 AS several
            FROM ids GROUP BY key
        )
        SELECT {"id_of.id" if has_ids else "numbered.auth_user_id"} AS auth_user_id,
               {"numbered.key" if recipient == "key" else "nullif(trim(email), '')"} AS recipient,
               CASE WHEN reason = '{MALFORMED}' THEN reason
                    WHEN nth > 1 THEN '{DUPLICATE}'
                    WHEN reason IS NOT NULL THEN reason
                    WHEN left_out.key IS NOT NULL THEN 'left_out'
                    WHEN several THEN 'several_ids'
                    WHEN id_reason IS NOT NULL THEN id_reason
                    WHEN recipient IS NULL THEN 'no_email'
               END AS reason
        FROM numbered LEFT JOIN left_out USING (key) LEFT JOIN id_of USING (key)
        """
    )


def _rows_of(found: list[_Found], role: Role) -> str:
    """All staged rows of the sources of a role, with the number of the source."""
    queries = []
    for each in found:
        if each.item["role"] == role and each.paths:
            names = ", ".join("'" + path.replace("'", "''") + "'" for path in each.paths)
            queries.append(f"SELECT *, {each.item['index']} FROM read_parquet([{names}])")
    union = " UNION ALL ".join([_NOTHING, *queries])
    return f"SELECT * FROM ({union}) AS staged(key, auth_user_id, email, reason, source)"


def _write(engine: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], where: str) -> int:
    """Write rows in an order of their own, so that the same rows give the same bytes; gives how many."""
    names = ", ".join(columns)
    rows = engine.sql(f"SELECT {names} FROM judged WHERE {where} ORDER BY ALL")
    schema = pa.schema([(name, pa.string()) for name in columns])
    written = 0
    with open_whole(path) as sink, pq.ParquetWriter(sink, schema) as file:
        for batch in steady(rows.to_arrow_reader(ROW_GROUP)):
            file.write_table(pa.Table.from_batches([batch]).cast(schema))
            written += len(batch)
    return written
