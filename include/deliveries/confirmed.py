"""What a platform confirmed, remembered field by field: recipient, field, hash of the value.

In ``{publisher}/deliveries/confirmed/{delivery}-{account}/`` a batch notes it for each part in a file of its own,
``of-{parts}/part-NNN/{order}~….parquet``, always replaced as a whole, which also holds what was known before. The note
of the newest batch counts; which notes there may be follows from the record of the batches that began. Before anything
is sent, its fields become doubtful (an empty hash), so that whatever dies in between, nothing passes for unchanged that
may not be. Sending a value again does no harm; leaving one out would.
"""

import time
from pathlib import Path

import duckdb

from include.deliveries import claims
from include.deliveries.part import (
    CHANGES,
    DEFAULT_SET,
    Part,
    bucket_of,
    copy,
    engine,
    load_listed,
    notes_name,
    order_of,
    quoted,
)
from include.staging import atomic_write


def load_known(database: duckdb.DuckDBPyConnection, part: Part) -> None:
    """Table ``known``: the newest note of each field, whatever number of parts it was noted with; needs ``listed``.

    What is known of a recipient who now counts as a customer of another part is forgotten here: that part sends, and
    what was noted here would be wrong when the recipient comes back.
    """
    files = [str(path) for path in _files(part)]
    if not files:
        database.execute(
            "CREATE TABLE known (auth_user_id VARCHAR, recipient VARCHAR, state VARCHAR, field VARCHAR, hash VARCHAR, "
            "noted_by VARCHAR, noted_at DOUBLE)"
        )
        return
    database.execute(
        f"""
        CREATE TABLE known AS
        WITH elsewhere AS (SELECT recipient FROM listed WHERE md5_number_upper(owner) % $parts <> $part
                           AND recipient IS NOT NULL)
        SELECT auth_user_id, recipient, state, field, hash, noted_by, noted_at FROM read_parquet($files)
        WHERE (state = '{DEFAULT_SET}' AND $part = 0)
           OR (state <> '{DEFAULT_SET}' AND md5_number_upper(auth_user_id) % $parts = $part
               AND recipient NOT IN (SELECT recipient FROM elsewhere))
        QUALIFY row_number() OVER (PARTITION BY recipient, field ORDER BY noted_by DESC, noted_at DESC) = 1
        """,
        {"files": files, "parts": part.parts, "part": part.number},
    )


def doubt(part: Part) -> None:
    """Note, before anything leaves, that nobody knows any more what the recipients of the changes have."""
    _note(part, "''")


def confirm(part: Part, refused: Path) -> None:
    """Remember what was sent, but for the rows of the changes in the Parquet file ``refused``."""
    _note(part, f"CASE WHEN row IN (SELECT row FROM read_parquet('{quoted(refused)}')) THEN '' ELSE md5(value) END")
    for name in claims.begun(part.confirmed):
        if order_of(name) < part.order:  # read above, and its batch can send no more
            (part.bucket / notes_name(name)).unlink(missing_ok=True)


def _files(part: Part) -> list[Path]:
    """Of all parts, if a batch had another number of them: they had other recipients."""
    batches = claims.begun(part.confirmed)
    same = all(batch["parts"] == part.parts for batch in batches.values())
    paths = (
        bucket_of(part.confirmed, batch["parts"], number) / notes_name(name)
        for name, batch in sorted(batches.items())
        for number in ([part.number] if same else range(batch["parts"]))
    )
    return [path for path in paths if path.is_file()]


def _note(part: Part, hash_sql: str) -> None:
    """Write this batch's file: the fields of the changes get a hash, what else was known stays."""
    with engine(part) as database:
        load_listed(database, part)
        load_known(database, part)
        database.read_parquet(str(part.folder / CHANGES)).create_view("changes")
        database.execute(
            f"""
            CREATE TABLE noted AS SELECT auth_user_id, recipient, state, field, {hash_sql} AS hash,
                   $noted_by AS noted_by, $noted_at::DOUBLE AS noted_at
            FROM (SELECT *, unnest(fields) AS field, unnest(contents) AS value FROM changes)
            """,
            {"noted_by": part.order, "noted_at": time.time()},
        )
        query = """
            SELECT * FROM noted UNION ALL SELECT known.* FROM known ANTI JOIN noted USING (recipient, field)
            ORDER BY recipient, field
            """
        with atomic_write(part.notes) as temporary:
            copy(database, query, temporary)
