"""What changed since the last confirmed delivery: for platforms that keep what they are given.

What a platform confirmed is remembered field by field (recipient, field, hash of the value), in a bucket for each part:
``{publisher}/deliveries/confirmed/{delivery}/of-{parts}/part-NNN.parquet``, always replaced as a whole. Before anything
is sent, its fields become doubtful there (no hash), so that whatever dies in between, nothing passes for unchanged that
may not be. Sending a value again does no harm; leaving one out would.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.engine import open_engine
from include.errors import BooksDoNotBalance, NotReady
from include.recommendations import layout
from include.staging import atomic_write, read_json, write_json

OWN, DEFAULT, CLEARED, DEFAULT_SET = "own", "default", "cleared", "default_set"
"""States: products of one's own, the default set instead, nothing left; and the default set's own profile."""
REPEATED = "recipient_repeated"
"""Reason: another customer of the list has the same recipient, and counts."""
SUMS = ("recipients", "sent", "unchanged", "kept", "set_aside", "left", "left_set_aside", "cleared", "defaulted")
CHANGES, COMPARED, DONE, REJECTS = "changes.parquet", "compared.json", "done.json", "rejects.parquet"
CONFIRMED = "confirmed"
_ROWS = 20_000
_WANTED = pa.schema([(name, pa.string()) for name in ("auth_user_id", "recipient", "state", "field", "value")])
_REFUSED = pa.schema([("row", pa.int64()), ("reason", pa.string())])


class Wanted(NamedTuple):
    """What a recipient should have: field and value as text. Without fields it keeps what it has."""

    auth_user_id: str
    recipient: str
    state: str
    fields: dict[str, str]


class Change(NamedTuple):
    """A recipient to be written; ``row`` numbers the changes of the part."""

    row: int
    recipient: str
    state: str
    fields: dict[str, str]


@dataclass(frozen=True)
class Part:
    """One part of a delivery.

    Attributes:
        folder: of this part in the delivery's folder.
        confirmed: of the delivery: what was confirmed, whatever the batch.
        recon: the batch's ``for-{user set}`` folder.
        number: of the part; ``parts`` is how many there are.
        batch: name of the batch; two of them never write the same part at once.
    """

    folder: Path
    confirmed: Path
    recon: Path
    number: int
    parts: int
    batch: str

    @property
    def bucket(self) -> Path:
        """Where the confirmed fields of the part are kept."""
        return self.confirmed / f"of-{self.parts}" / layout.part_name(self.number)


def compare(part: Part, wanted: Iterable[Wanted], instead: Wanted | None = None) -> dict[str, int]:
    """Find what is to be sent, once; a retry gets what the first try found.

    Args:
        part: whose changes.
        wanted: what every recipient of the part should have.
        instead: what those get who were delivered earlier and are not in the list any more; None: left alone.

    Returns:
        ``changes`` (rows of ``changes``), ``recipients`` = ``changed`` + ``unchanged`` + ``kept`` + ``repeated``, and
        ``left``.
    """
    if (part.folder / COMPARED).exists():
        return dict(read_json(part.folder / COMPARED))
    with _engine(part) as database, TemporaryDirectory(prefix=".work-", dir=part.folder) as work:
        _load(database, part, _written(Path(work) / "wanted.parquet", wanted))
        _find(database, instead)
        with atomic_write(part.folder / CHANGES) as temporary:
            _copy(database, "SELECT * FROM changes ORDER BY row", temporary)
        with atomic_write(part.folder / "repeated.parquet") as temporary:
            _copy(database, f"SELECT recipient, '{REPEATED}' AS reason FROM repeated ORDER BY ALL", temporary)
        figures = _figures(database)
    write_json(part.folder / COMPARED, figures)
    return figures


def changes(part: Part, start: int = 0, end: int | None = None) -> Iterator[Change]:
    """The changes from row ``start`` to before row ``end``, in order; memory holds some thousands of them."""
    file = pq.ParquetFile(part.folder / CHANGES)
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first + rows > start and (end is None or first < end):
            for batch in file.iter_batches(batch_size=1_000, row_groups=[group]):
                for row in batch.to_pylist():
                    if row["row"] >= start and (end is None or row["row"] < end):
                        yield Change(row["row"], row["recipient"], row["state"], _fields(row))
        first += rows


def doubt(part: Part) -> None:
    """Note, before anything leaves, that nobody knows any more what the recipients of the changes have."""
    _rewrite(part, "''")


def confirm(part: Part, refused: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Remember what was sent, keep who was refused with the reason, and close the part's own books.

    Args:
        part: all of whose changes are settled.
        refused: rows of the changes that the platform did not take, each with a reason.

    Returns:
        the figures in ``SUMS``; ``default_set``: 1 if that was sent; and ``rows``, the changes that were taken.

    Raises:
        BooksDoNotBalance: recipients went missing.
    """
    table = pa.Table.from_pylist([{"row": row, "reason": reason} for row, reason in refused], _REFUSED)
    path = part.folder / "refused.parquet"
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
    _rewrite(part, f"CASE WHEN row IN (SELECT row FROM read_parquet('{_quoted(path)}')) THEN '' ELSE md5(value) END")
    with _engine(part) as database:
        figures = _settled(database, part, path)
    write_json(part.folder / DONE, figures)
    return figures


def begin(part: Part, seconds: float) -> None:
    """Take the part for this batch, for so long; a try that finds it finished starts anew.

    Raises:
        NotReady: another batch is being delivered to it.
    """
    claim = part.bucket.with_suffix(".json")
    if claim.exists():
        other = read_json(claim)
        if other["batch"] != part.batch and other["until"] > time.time():
            raise NotReady(
                f"{part.folder}: batch {other['batch']} is being delivered to the same recipients; this one waits for "
                f"the next try. If that run is dead, remove {claim}."
            )
    write_json(claim, {"batch": part.batch, "until": time.time() + seconds})
    if (part.folder / DONE).exists():
        shutil.rmtree(part.folder)
    part.folder.mkdir(parents=True, exist_ok=True)


def release(part: Part) -> None:
    """Give the part free for other batches."""
    claim = part.bucket.with_suffix(".json")
    if claim.exists() and read_json(claim)["batch"] == part.batch:
        claim.unlink()


def forget_other_cuts(confirmed: Path, parts: int) -> None:
    """All parts are confirmed: buckets of a batch that was cut otherwise say nothing new."""
    for folder in confirmed.glob("of-*"):
        if folder.name != f"of-{parts}":
            shutil.rmtree(folder, ignore_errors=True)


def total(parts: list[dict[str, Any]]) -> dict[str, int]:
    """The sums of the parts' figures.

    Raises:
        BooksDoNotBalance: a recipient is in none of the sums, or in two.
    """
    sums = {name: sum(figures[name] for figures in parts) for name in SUMS}
    _check(sums, "the delivery")
    return sums


def _check(sums: dict[str, int], what: str) -> None:
    if sums["recipients"] != sums["sent"] + sums["unchanged"] + sums["kept"] + sums["set_aside"]:
        raise BooksDoNotBalance(f"{what}: recipients do not add up: {sums}. Nothing is announced; report this.")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _fields(row: dict[str, Any]) -> dict[str, str]:
    return dict(zip(row["fields"], row["contents"], strict=True))


@contextmanager
def _engine(part: Part) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        TemporaryDirectory(prefix=".engine-", dir=part.folder) as work,
        open_engine(Path(work) / "engine") as database,
    ):
        yield database


def _written(path: Path, wanted: Iterable[Wanted]) -> Path:
    """A row for each field of each recipient; who has none gets one row without a field."""
    with pq.ParquetWriter(path, _WANTED) as writer:
        rows: list[tuple[str | None, ...]] = []
        for one in wanted:
            names = (one.auth_user_id, one.recipient, one.state)
            rows += [(*names, *pair) for pair in one.fields.items()] or [(*names, None, None)]
            if len(rows) >= _ROWS:
                _write(writer, rows)
                rows = []
        _write(writer, rows)
    return path


def _write(writer: pq.ParquetWriter, rows: list[tuple[str | None, ...]]) -> None:
    if rows:
        columns = zip(*rows, strict=True)
        writer.write_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=_WANTED))


def _load(database: duckdb.DuckDBPyConnection, part: Part, wanted: Path) -> None:
    """Views ``wanted`` and ``listed`` (each recipient of the whole list, with the customer who counts), ``known``."""
    database.read_parquet(str(wanted)).create_view("wanted")
    database.execute(
        f"""
        CREATE TABLE listed AS SELECT recipient, min(auth_user_id) AS owner
        FROM read_parquet('{_quoted(part.recon / layout.RECIPIENTS)}/*.parquet') GROUP BY recipient
        """
    )
    _load_known(database, part)


def _load_known(database: duckdb.DuckDBPyConnection, part: Part) -> None:
    """Table ``known``: the newest that was noted of each field, whatever number of parts it was noted with."""
    files = [str(path) for path in sorted(part.confirmed.glob("of-*/*.parquet"))]
    files = [str(part.bucket)] if part.bucket.exists() and not _other_cuts(part) else files
    if not files:
        database.execute(
            "CREATE TABLE known (auth_user_id VARCHAR, recipient VARCHAR, state VARCHAR, field VARCHAR, hash VARCHAR, "
            "noted_at DOUBLE)"
        )
        return
    database.execute(
        """
        CREATE TABLE known AS
        SELECT auth_user_id, recipient, state, field, hash, noted_at FROM read_parquet($files)
        WHERE md5_number_upper(auth_user_id) % $parts = $part OR (state = 'default_set' AND $part = 0)
        QUALIFY row_number() OVER (PARTITION BY recipient, field ORDER BY noted_at DESC) = 1
        """,
        {"files": files, "parts": part.parts, "part": part.number},
    )


def _other_cuts(part: Part) -> bool:
    return any(folder.name != f"of-{part.parts}" for folder in part.confirmed.glob("of-*"))


def _find(database: duckdb.DuckDBPyConnection, instead: Wanted | None) -> None:
    """Tables ``repeated``, ``counted`` and ``changes``."""
    database.execute(
        """
        CREATE TABLE repeated AS SELECT DISTINCT auth_user_id, recipient FROM wanted JOIN listed USING (recipient)
        WHERE auth_user_id <> owner AND state <> 'default_set'
        """
    )
    database.execute(
        """
        CREATE TABLE pending AS
        SELECT wanted.* FROM wanted ANTI JOIN repeated USING (auth_user_id, recipient) WHERE field IS NOT NULL
        """
    )
    database.execute(
        """
        CREATE TABLE changed AS SELECT DISTINCT pending.recipient FROM pending
        LEFT JOIN known ON pending.recipient = known.recipient AND pending.field = known.field
        WHERE known.hash IS DISTINCT FROM md5(pending.value)
        """
    )
    database.execute("CREATE TABLE gone AS SELECT * FROM pending WHERE false")
    if instead:
        _find_left(database, instead)
    database.execute(
        """
        CREATE TABLE changes AS
        SELECT row_number() OVER (ORDER BY list_position, recipient) - 1 AS row, * EXCLUDE (list_position) FROM (
            SELECT auth_user_id, recipient, any_value(state) AS state, list(field ORDER BY field) AS fields,
                   list(value ORDER BY field) AS contents, any_value(list_position) AS list_position
            FROM (SELECT *, 0 AS list_position FROM pending SEMI JOIN changed USING (recipient)
                  UNION ALL SELECT *, 1 FROM gone)
            GROUP BY auth_user_id, recipient)
        """
    )


def _find_left(database: duckdb.DuckDBPyConnection, instead: Wanted) -> None:
    """Table ``gone``: only fields that were delivered, and only if one of them holds something else by now."""
    database.execute(
        """
        CREATE OR REPLACE TABLE gone AS
        SELECT known.auth_user_id, recipient, $state AS state, field, new.value FROM known
        JOIN (SELECT unnest($fields::VARCHAR[]) AS field, unnest($contents::VARCHAR[]) AS value) AS new USING (field)
        ANTI JOIN listed USING (recipient)
        WHERE known.state <> 'default_set'
        QUALIFY bool_or(known.hash IS DISTINCT FROM md5(new.value)) OVER (PARTITION BY recipient)
        """,
        {"state": instead.state, "fields": list(instead.fields), "contents": list(instead.fields.values())},
    )


def _figures(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = database.execute(
        """
        SELECT (SELECT count(*) FROM changes),
               (SELECT count(DISTINCT auth_user_id) FROM wanted WHERE state <> 'default_set'),
               (SELECT count(DISTINCT recipient) FROM pending SEMI JOIN changed USING (recipient)
                WHERE state <> 'default_set'),
               (SELECT count(DISTINCT recipient) FROM pending ANTI JOIN changed USING (recipient)
                WHERE state <> 'default_set'),
               (SELECT count(*) FROM wanted ANTI JOIN repeated USING (auth_user_id)
                WHERE field IS NULL AND state <> 'default_set'),
               (SELECT count(*) FROM repeated), (SELECT count(DISTINCT recipient) FROM gone)
        """
    ).fetchone()
    assert row
    names = ("changes", "recipients", "changed", "unchanged", "kept", "repeated", "left")
    return dict(zip(names, row, strict=True))


def _rewrite(part: Part, hash_sql: str) -> None:
    """Replace the bucket: the fields of the changes get a hash, what else was known stays."""
    with _engine(part) as database:
        _load_known(database, part)
        database.read_parquet(str(part.folder / CHANGES)).create_view("changes")
        database.execute(
            f"""
            CREATE TABLE noted AS SELECT auth_user_id, recipient, state, field, {hash_sql} AS hash,
                   {time.time()!r}::DOUBLE AS noted_at
            FROM (SELECT *, unnest(fields) AS field, unnest(contents) AS value FROM changes)
            """
        )
        with atomic_write(part.bucket) as temporary:
            _copy(
                database,
                """
                SELECT * FROM noted UNION ALL SELECT known.* FROM known ANTI JOIN noted USING (recipient, field)
                ORDER BY recipient, field
                """,
                temporary,
            )


def _settled(database: duckdb.DuckDBPyConnection, part: Part, refused: Path) -> dict[str, int]:
    compared = read_json(part.folder / COMPARED)
    database.read_parquet(str(part.folder / CHANGES)).create_view("changes")
    database.read_parquet(str(refused)).create_view("refused")
    with atomic_write(part.folder / REJECTS) as temporary:
        _copy(
            database,
            f"""
            SELECT recipient, reason FROM refused JOIN changes USING (row)
            UNION ALL SELECT * FROM read_parquet('{_quoted(part.folder / "repeated.parquet")}') ORDER BY ALL
            """,
            temporary,
        )
    # Those who left come last in the order of the changes.
    row = database.execute(
        """
        SELECT count(*) FILTER (ok), count(*) FILTER (ok AND row < $here AND state <> 'default_set'),
               count(*) FILTER (NOT ok AND row < $here AND state <> 'default_set'),
               count(*) FILTER (NOT ok AND row >= $here), count(*) FILTER (ok AND state = 'cleared'),
               count(*) FILTER (ok AND state = 'default'), count(*) FILTER (ok AND state = 'default_set')
        FROM (SELECT row, state, row NOT IN (SELECT row FROM refused) AS ok FROM changes)
        """,
        {"here": compared["changes"] - compared["left"]},
    ).fetchone()
    assert row
    names = ("rows", "sent", "set_aside", "left_set_aside", "cleared", "defaulted", "default_set")
    figures = dict(zip(names, row, strict=True))
    figures["set_aside"] += compared["repeated"]
    figures |= {name: compared[name] for name in ("recipients", "unchanged", "kept", "left")}
    _check(figures, str(part.folder))
    return figures


def _copy(database: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    database.execute(f"COPY ({query}) TO '{_quoted(path)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)")
