"""Does the batch cover the list? ``reconcile`` holds one against the other and writes who gets what, part by part.

uploaded = personalised + absent is checked; users of the batch that were not uploaded are ``unexpected``: they are
counted and never become recipients. Absent users are put into parts by the same hash as those in the batch.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.engine import open_engine
from include.errors import BooksDoNotBalance, PipelineError
from include.publishers.batches import Batch, Coverage
from include.recommendations.layout import COVERAGE, RECIPIENTS, list_folder, part_name, parts_of
from include.staging import MANIFEST, atomic_write, read_json, scratch, write_json

if TYPE_CHECKING:
    import duckdb

    from include.audience.user_sets import UserSet


def reconcile(
    batch: Path,
    user_set: "UserSet",
    settings: Batch,
    thresholds: Coverage,
    *,
    default_only: bool = False,
    previous: bool = False,
) -> dict[str, Any]:
    """Write ``for-{user set}/recipients/part-NNN.parquet`` and ``coverage.json``; returns the latter's content.

    A recipients part holds ``auth_user_id``, ``recipient`` (the id itself where the list has none, or the reserved
    one) and ``personalised``, sorted by id. Out of core; doing it again gives the same files.

    Args:
        batch: a parsed batch.
        user_set: the uploaded list.
        settings: how many products each recommendation type should hold.
        thresholds: what to warn of, and what makes ``check`` fail.
        default_only: nobody gets recommendations of their own; only the default set is demanded of the batch.
        previous: the batch is an earlier one, of another list: users who left since are in it, and fail nothing.

    Raises:
        BooksDoNotBalance: users went missing between the list and the parts.
    """
    if previous:
        thresholds = thresholds.model_copy(update={"fail_unexpected_percent": math.inf})
    manifest = read_json(batch / MANIFEST)
    out = list_folder(batch, user_set.name)
    parts = parts_of(batch, manifest)
    with scratch(batch.parent) as work, open_engine(work / "engine", data=batch) as database:
        _load(database, parts, user_set.ids, default_only)
        _write_recipients(database, out / RECIPIENTS, len(parts))
        figures = _users(database) | _problems(manifest, default_only)
        figures["types"] = {}
        if not default_only:
            figures["types"] = _types(database, parts, figures["personalised"], settings.recommendation_types)
    if figures["uploaded"] != figures["personalised"] + figures["absent"]:
        raise BooksDoNotBalance(f"{out}: users do not add up: {figures}. Nothing is delivered; report this.")
    figures["warnings"] = [] if default_only else _warnings(figures, thresholds, settings.recommendation_types)
    figures["failures"] = _default_set(figures, thresholds, default_only)
    figures["failures"] += [] if default_only else _failures(figures, thresholds)
    write_json(out / COVERAGE, figures)
    return figures


def _load(database: "duckdb.DuckDBPyConnection", parts: list[str], ids: Path, default_only: bool) -> None:
    """Tables ``present`` (users of the batch) and ``recipients`` (users of the list, with their part)."""
    database.execute(
        "CREATE TABLE present AS SELECT DISTINCT auth_user_id FROM read_parquet($files) WHERE NOT $nobody",
        {"files": parts, "nobody": default_only},
    )
    database.execute(
        """
        CREATE TABLE recipients AS
        SELECT list.auth_user_id,
               coalesce(nullif(nullif(list.recipient, ''), 'default'), list.auth_user_id) AS recipient,
               present.auth_user_id IS NOT NULL AS personalised,
               (md5_number_upper(list.auth_user_id) % $parts)::UTINYINT AS part
        FROM read_parquet($ids) AS list LEFT JOIN present USING (auth_user_id)
        """,
        {"ids": str(ids), "parts": len(parts)},
    )


def _write_recipients(database: "duckdb.DuckDBPyConnection", folder: Path, parts: int) -> None:
    for part in range(parts):
        with atomic_write(folder / part_name(part)) as temporary:
            database.execute(
                """
                COPY (SELECT auth_user_id, recipient, personalised FROM recipients WHERE part = $part
                      ORDER BY auth_user_id) TO $path (FORMAT parquet, COMPRESSION zstd)
                """,
                {"part": part, "path": str(temporary)},
            )


def _users(database: "duckdb.DuckDBPyConnection") -> dict[str, Any]:
    row = database.execute(
        """
        SELECT count(*), count(*) FILTER (personalised), count(*) FILTER (NOT personalised),
               (SELECT count(*) FROM present ANTI JOIN recipients USING (auth_user_id))
        FROM recipients
        """
    ).fetchone()
    assert row
    return dict(zip(("uploaded", "personalised", "absent", "unexpected"), row, strict=True))


def _types(
    database: "duckdb.DuckDBPyConnection", parts: list[str], personalised: int, expected: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Slots of each type: what it should hold (else the most it holds for anybody), for each personalised recipient."""
    counted = database.execute(
        """
        WITH expected AS (SELECT unnest($kinds::VARCHAR[]) AS kind, unnest($sizes::BIGINT[]) AS size),
             blocks AS (
                SELECT auth_user_id, recommendation_type AS kind, count(*) AS products FROM read_parquet($files)
                GROUP BY ALL),
             own AS (SELECT * FROM blocks SEMI JOIN recipients USING (auth_user_id))
        SELECT kind, count(*), max(products), sum(least(products, size))::BIGINT
        FROM own LEFT JOIN expected USING (kind) GROUP BY kind
        """,
        {
            "files": parts,
            "kinds": list(expected),
            "sizes": list(expected.values()),
        },
    ).fetchall()
    found = {kind: (users, expected.get(kind, most), filled) for kind, users, most, filled in counted}
    missing = {kind: (0, size, 0) for kind, size in expected.items() if kind not in found}
    return {
        kind: {
            "users": users,
            "slots": personalised * size,
            "filled": filled,
            "filled_percent": _percent(filled, personalised * size),
        }
        for kind, (users, size, filled) in sorted((found | missing).items())
    }


def _problems(manifest: dict[str, Any], default_only: bool) -> dict[str, Any]:
    problems = dict.fromkeys(manifest["problems"], 0) if default_only else manifest["problems"]
    return {
        "products": 0 if default_only else manifest["rows"],
        "repeated_products": problems["repeated_products"],
        "missing_recommendation_id": problems["no_recommendation_id"],
        "missing_image": problems["no_image"],
        "missing_url": problems["no_url"],
        "default_types": manifest["default"]["types"] if manifest["default"] else [],
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _warnings(figures: dict[str, Any], thresholds: Coverage, expected: dict[str, int]) -> list[str]:
    found = _findings(figures, thresholds, "warn")
    for kind in sorted(figures["types"].keys() - expected.keys()) if expected else ():
        found.append(f"type {kind} is in the batch but not among recommendation_types")
    return found


def _failures(figures: dict[str, Any], thresholds: Coverage) -> list[str]:
    found = _findings(figures, thresholds, "fail")
    missing = _percent(figures["missing_recommendation_id"], figures["products"])
    limit = thresholds.fail_missing_recommendation_id_percent
    if missing > limit:
        found.append(
            f"{missing} % of the products have no recommendation_id in their url; "
            f"fail_missing_recommendation_id_percent is {limit}"
        )
    return found


def _findings(figures: dict[str, Any], thresholds: Coverage, level: str) -> list[str]:
    """What is beyond the ``warn_`` or ``fail_`` thresholds, in sentences that name the key."""
    limits = thresholds.model_dump()
    found = []
    personalised = _percent(figures["personalised"], figures["uploaded"])
    if personalised < limits[f"{level}_personalised_percent"]:
        found.append(
            f"{personalised} % of the uploaded users are personalised; "
            f"{level}_personalised_percent is {limits[f'{level}_personalised_percent']}"
        )
    unexpected = _percent(figures["unexpected"], figures["uploaded"])
    if unexpected > limits[f"{level}_unexpected_percent"]:
        found.append(
            f"{figures['unexpected']} users of the batch were not uploaded ({unexpected} % of the list); "
            f"{level}_unexpected_percent is {limits[f'{level}_unexpected_percent']}"
        )
    for kind, slots in figures["types"].items():
        if slots["filled_percent"] < limits[f"{level}_slots_filled_percent"]:
            found.append(
                f"type {kind}: {slots['filled']} of {slots['slots']} slots are filled ({slots['filled_percent']} %); "
                f"{level}_slots_filled_percent is {limits[f'{level}_slots_filled_percent']}"
            )
    return found


def _default_set(figures: dict[str, Any], thresholds: Coverage, default_only: bool) -> list[str]:
    if figures["default_types"] or not (default_only or thresholds.require_default_set):
        return []
    why = "everybody is to get it (on_deadline: default_only)" if default_only else "require_default_set is on"
    return [f"the batch has no default set, and {why}"]


def table(coverage: dict[str, Any]) -> str:
    """The coverage as a table for the log."""
    uploaded = coverage["uploaded"]
    lines = [f"{'users':<32}{'count':>12}{'% of list':>11}"]
    lines += [
        f"{name:<32}{coverage[name]:>12,}{_percent(coverage[name], uploaded):>11.2f}"
        for name in ("uploaded", "personalised", "absent", "unexpected")
    ]
    lines.append(f"{'recommendation type':<32}{'users':>12}{'slots':>12}{'filled':>12}{'% filled':>10}")
    for kind, slots in coverage["types"].items():
        lines.append(
            f"{kind:<32}{slots['users']:>12,}{slots['slots']:>12,}{slots['filled']:>12,}{slots['filled_percent']:>10.2f}"
        )
    lines.append(f"{'products':<32}{'count':>12}")
    lines += [
        f"{name.replace('_', ' '):<32}{coverage[name]:>12,}"
        for name in ("products", "repeated_products", "missing_recommendation_id", "missing_image", "missing_url")
    ]
    lines.append(f"default set: {', '.join(coverage['default_types']) or 'none'}")
    lines += [f"warning: {sentence}" for sentence in coverage["warnings"]]
    lines += [f"FAILURE: {sentence}" for sentence in coverage["failures"]]
    return "\n".join(lines)


def check(coverage: dict[str, Any]) -> None:
    """Stop a run whose batch does not cover the list.

    Raises:
        PipelineError: a threshold that fails was crossed; the sentence lists all of them.
    """
    if coverage["failures"]:
        raise PipelineError(
            "the batch does not cover the list; nothing is delivered:\n"
            + "\n".join(f"  {sentence}" for sentence in coverage["failures"])
            + "\nIf that is acceptable, change the thresholds under coverage: in the publisher file and clear this "
            "task; else ask Luigi's Box about the batch."
        )
