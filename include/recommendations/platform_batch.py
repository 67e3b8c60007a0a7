"""Profiles of a newsletter platform become a raw batch in the JSON shape, and are judged by what changed in them.

Profiles come page by page in any order, some twice; what they carry is staged as it comes (``include.audience.pages``),
held against the accepted list, and written in an order of the customers' ids: the same recommendations always give the
same bytes, and so the same batch.
Profiles that are not in the list are counted, not used: recommendations were not asked for them.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from include.engine import open_engine
from include.errors import BooksDoNotBalance
from include.recommendations import index
from include.recommendations.batches import batch_folder
from include.recommendations.freshness import Freshness
from include.recommendations.layout import DIGESTS, FETCH, FRESHNESS, PROBLEMS
from include.recommendations.platform import Carried, carried
from include.recommendations.rows import DEFAULT_USER
from include.staging import MANIFEST, move_file, read_json, scratch, sha256_file, to_path, write_json

if TYPE_CHECKING:
    from include.audience.user_sets import UserSet

_BATCH_ROWS = 2_000
_STAGED = pa.schema([("key", pa.string()), ("digest", pa.string()), ("data", pa.binary()), ("problems", pa.string())])
_DIGESTS = pa.schema([("key", pa.string()), ("digest", pa.string())])
_BUCKET_USERS = 25_000
"""Users that are sorted at once, with all that they carry; of the same list always the same ones."""
_WANTED = """
    CREATE TABLE wanted AS
    WITH kept AS (
        SELECT key, max(file_index * 1_000_000_000 + file_row_number) AS number FROM read_parquet($staged) GROUP BY key
    )
    SELECT listed.auth_user_id, kept.number, md5_number_upper(listed.auth_user_id) % $buckets AS bucket
    FROM kept JOIN read_parquet($ids) AS listed ON listed.recipient = kept.key
"""
_BUCKET = """
    SELECT own.auth_user_id, staged.key, staged.digest, staged.data
    FROM read_parquet($staged) AS staged
    JOIN (SELECT auth_user_id, number FROM wanted WHERE bucket = $bucket) AS own
    ON own.number = file_index * 1_000_000_000 + file_row_number
    ORDER BY own.auth_user_id
"""
log = logging.getLogger(__name__)


class Profile(NamedTuple):
    """A profile as the platform sent it: its key there, and its properties of any JSON type."""

    key: str
    properties: Any


@dataclass(frozen=True)
class Sample:
    """Some profiles of a list, and the digest of what each carried before; None: nothing."""

    before: dict[str, str | None]


def table_of(profiles: list[Profile], types: Iterable[str]) -> pa.Table:
    """What profiles carry, as it is staged: key, digest, data, and what was odd, counted by reason, as JSON."""
    kinds = tuple(types)
    found = [carried(profile.properties, kinds) for profile in profiles]
    problems = [json.dumps(each.problems, sort_keys=True) if each.problems else None for each in found]
    columns = (
        [profile.key for profile in profiles],
        [each.digest for each in found],
        [each.data for each in found],
        problems,
    )
    return pa.table([pa.array(*pair) for pair in zip(columns, _STAGED.types, strict=True)], schema=_STAGED)


def write_batch(
    place: tuple[Path, str],
    work: Path,
    staged: list[str],
    user_set: "UserSet",
    default: Carried | None,
    record: dict[str, Any],
) -> tuple[Path, Path]:
    """Make the raw batch of what was staged.

    Args:
        place: the staging store and the publisher's name.
        work: a local folder of this task alone; of a batch in a store, the raw file stays there.
        staged: Parquet files of :func:`table_of`, in the order they were read: of a profile the last row counts.
        user_set: the accepted list; its recipients are the platform's keys.
        default: of the profile that carries the default set.
        record: for ``fetch.json``; what was counted is added.

    Returns:
        The batch's folder, and where its raw file is local.

    Raises:
        BooksDoNotBalance: profiles do not add up.
    """
    raw = work / "raw.json"
    buckets = user_set.record["rows"] // _BUCKET_USERS + 1
    with open_engine(work / "engine", data=place[0]) as engine:
        files: dict[str, Any] = {"staged": staged, "ids": str(user_set.ids)}
        listed, carrying = _write_lines(engine, files, buckets, raw, work / DIGESTS)
        books = _books(engine, staged) | {"not_in_list": 0, "carrying": carrying, "without": listed - carrying}
        problems = _write_problems(engine, staged, work / PROBLEMS)
    books["not_in_list"] = books["read"] - books["repeated"] - listed
    if books["not_in_list"] < 0:
        raise BooksDoNotBalance(f"profiles do not add up: {books}. Report this; nothing of it is used.")
    books["missing"] = user_set.record["rows"] - listed
    if default and default.data:
        with raw.open("ab") as handle:
            handle.write(_line(DEFAULT_USER, default.data))
    size, sha256 = raw.stat().st_size, sha256_file(raw)
    folder = batch_folder(*place, sha256)
    index.register(folder)
    for path in (work / DIGESTS, work / PROBLEMS):
        move_file(path, folder / path.name)
    raw = move_file(raw, folder / raw.name)
    default_set = bool(default and default.data)
    problems.update({f"default_{reason}": count for reason, count in (default.problems if default else {}).items()})
    found = {"profiles": books, "problems": dict(problems), "default": default_set}
    write_json(folder / FETCH, {**record, "bytes": size, "sha256": sha256, **found})
    log.info("profiles read: %s", books)
    if problems:
        log.warning("odd recommendations in profiles, by reason: %s", dict(problems))
    return folder, raw


def _write_lines(
    engine: duckdb.DuckDBPyConnection, files: dict[str, Any], buckets: int, raw: Path, digests: Path
) -> tuple[int, int]:
    """Users in the list, and how many of them carry recommendations."""
    listed = carrying = 0
    with raw.open("wb") as lines, pq.ParquetWriter(digests, _DIGESTS) as writer:
        for batch in _in_order(engine, files, buckets):
            writer.write_batch(batch.select(["key", "digest"]).cast(_DIGESTS))
            listed += batch.num_rows
            for user, data in zip(batch["auth_user_id"].to_pylist(), batch["data"].to_pylist(), strict=True):
                if data is not None:
                    lines.write(_line(user, data))
                    carrying += 1
    return listed, carrying


def _in_order(engine: duckdb.DuckDBPyConnection, files: dict[str, Any], buckets: int) -> Iterator[pa.RecordBatch]:
    """Bucket by bucket: all that the profiles carry would not fit into the engine's memory at once."""
    engine.execute(_WANTED, {**files, "buckets": buckets}).fetchall()
    for bucket in range(buckets):
        of_bucket = {"staged": files["staged"], "bucket": bucket}
        yield from engine.sql(_BUCKET, params=of_bucket).to_arrow_reader(_BATCH_ROWS)


def _line(user: str, data: bytes) -> bytes:
    return b'{"id":' + msgspec.json.encode(user) + b',"data":' + data + b"}\n"


def _books(engine: duckdb.DuckDBPyConnection, staged: list[str]) -> dict[str, int]:
    query = "SELECT count(*), count(*) - count(DISTINCT key) FROM read_parquet($staged)"
    ((read, repeated),) = engine.execute(query, {"staged": staged}).fetchall()
    return {"read": read, "repeated": repeated}


def _write_problems(engine: duckdb.DuckDBPyConnection, staged: list[str], path: Path) -> Counter[str]:
    """What was odd about which profile; gives how often, by reason."""
    found: Any = engine.sql(
        "SELECT key, problems FROM read_parquet($staged) WHERE problems IS NOT NULL "
        "ORDER BY file_index, file_row_number",
        params={"staged": staged},
    ).to_arrow_reader(_BATCH_ROWS)
    schema = pa.schema([("key", pa.string()), ("problems", pa.string())])
    counted: Counter[str] = Counter()
    with pq.ParquetWriter(path, schema) as writer:
        for batch in found:
            writer.write_batch(batch.cast(schema))
            for problems in batch["problems"].to_pylist():
                counted.update(json.loads(problems))
    return counted


def known_digests(latest: dict[str, Any] | None) -> Path | None:
    """What profiles carried in the batch accepted last; None if that was not read from a platform, or there is none."""
    path = to_path(latest["uri"]) / DIGESTS if latest else None
    return path if path and path.exists() else None


def choose_sample(user_set: "UserSet", known: Path | None, size: int, work: Path) -> dict[str, tuple[bool, str | None]]:
    """Keys of profiles to look at, always the same ones for the same list and batch; with what is known of each.

    Those that carried recommendations in the batch accepted last come first: in them a change shows.
    """
    before = "(SELECT key, digest FROM read_parquet($known))" if known else "(SELECT '' AS key, '' AS digest LIMIT 0)"
    query = f"""
        SELECT listed.recipient, before.key IS NOT NULL, before.digest
        FROM read_parquet($ids) AS listed LEFT JOIN {before} AS before ON before.key = listed.recipient
        WHERE listed.recipient IS NOT NULL
        ORDER BY before.digest IS NULL, md5(listed.recipient) LIMIT {int(size)}
    """
    files = {"ids": str(user_set.ids), **({"known": str(known)} if known else {})}
    with open_engine(work, data=user_set.ids) as engine:
        return {key: (seen, digest) for key, seen, digest in engine.execute(query, files).fetchall()}


def judge(
    batch: Path, user_set: "UserSet", latest: dict[str, Any] | None, sample: Sample, fresh_percent: float
) -> Freshness:
    """Fresh if enough of the profiles with recommendations carry other ones than before.

    Before is the batch accepted last; of profiles that are not in it, the first look at the sample. Profiles of which
    neither is known prove nothing and are not counted.

    Args:
        batch: a parsed batch, with its digests.
        user_set: the list that is waited for.
        latest: the batch accepted last, as ``batches.latest`` gives it.
        sample: as it was at the first look.
        fresh_percent: how many are enough.

    Returns:
        The verdict, also written to ``freshness.json`` in the batch's folder.
    """
    known = known_digests(latest)
    carrying, compared, changed = _compare(batch, known, sample)
    manifest = read_json(batch / MANIFEST)
    evidence = {
        "sha256": manifest["sha256"],
        "user_set": user_set.name,
        "sent_at": user_set.record["sent_at"],
        "latest_sha256": latest["sha256"] if latest and known else None,
        "taken_before": False,
        "last_modified": None,
        "updated_at": manifest["updated_at"],
        "carrying": carrying,
        "compared": compared,
        "changed": changed,
        "fresh_percent": fresh_percent,
    }
    before = "in the batch accepted last" if known else "at the first look"
    sentence = f"{changed} of {compared} profiles with recommendations carry other ones than {before}"
    if compared and 100 * changed >= fresh_percent * compared:
        verdict = Freshness("fresh", f"Fresh: {sentence}.", evidence)
    elif not compared:
        verdict = Freshness("stale", "Stale: no profile with recommendations can be compared with before.", evidence)
    else:
        verdict = Freshness("stale", f"Stale: only {sentence}; {fresh_percent:g} % are wanted.", evidence)
    write_json(batch / FRESHNESS, verdict.as_dict())
    return verdict


def _compare(batch: Path, known: Path | None, sample: Sample) -> tuple[int, int, int]:
    """Profiles with recommendations; those of them of which is known what they carried before; those with others."""
    seen = pa.table([list(sample.before), pa.array(sample.before.values(), pa.string())], schema=_DIGESTS)
    last = "SELECT key, digest FROM read_parquet($known)" if known else "SELECT key, digest FROM seen LIMIT 0"
    query = f"""
        WITH now AS (SELECT key, digest FROM read_parquet($now) WHERE digest IS NOT NULL),
             last AS ({last}),
             before AS (SELECT * FROM last UNION ALL SELECT * FROM seen ANTI JOIN last USING (key))
        SELECT count(*), count(before.key),
               count(*) FILTER (before.key IS NOT NULL AND before.digest IS DISTINCT FROM now.digest)
        FROM now LEFT JOIN before ON before.key = now.key
    """
    files = {"now": str(batch / DIGESTS), **({"known": str(known)} if known else {})}
    with scratch(batch.parent) as work, open_engine(work / "engine", data=batch) as engine:
        engine.register("seen", seen)
        ((carrying, compared, changed),) = engine.execute(query, files).fetchall()
    return carrying, compared, changed
