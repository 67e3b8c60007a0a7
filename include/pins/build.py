"""Staged lines or rows become validated scopes in parts of one call each, with the line that each came from.

Two passes. The first reads what was staged, one line or row at a time, and notes of each which scope it is and whether
it is right. The second, in DuckDB's order by scope, puts rows of one scope together, finds what is there twice, and
writes. The same input gives the same files, in the order in which the scopes first came.

A scope that lost a row must not go out as if it were whole: it would replace the whole one. So a row that is wrong
takes the others of its scope with it, and one whose target cannot be read takes all scopes it may belong to: those of
its model and target type.

A line or row is refused for its first mistake (``include.pins.scopes``), or because it is the same scope as another
line with other content (``scope_twice``: none of them is sent), or because another row of its scope is refused
(``with_another_row``) or says something else of the scope (``rows_disagree``). What merely repeats is a duplicate.
"""

import json
import logging
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb

from include.books import DUPLICATE, REJECTS
from include.engine import open_engine
from include.errors import BadInput
from include.pins.drafts import Draft, drafts_of, with_texts, write_drafts
from include.pins.parts import PinParts, PinRejects
from include.pins.scopes import Refused, check, write
from include.publishers.senders import Pins
from include.staging import MANIFEST, remove_folder, scratch, write_json

log = logging.getLogger(__name__)
_IN_ORDER = """
    SELECT * EXCLUDE (first, lost), CASE WHEN key IS NOT NULL THEN lost END AS lost
    FROM (SELECT *, min(number) OVER (PARTITION BY coalesce(key, encode('line ' || number))) AS first,
                 min(number) FILTER (key IS NULL AND family IS NOT NULL) OVER (PARTITION BY family) AS lost
          FROM read_parquet(?))
    ORDER BY first, number
"""


def build_pins(run: Path, settings: Pins) -> dict[str, Any]:
    """Build the parts, ``lines.parquet``, ``rejects.parquet`` and, last, ``manifest.json`` from ``run/raw``.

    Args:
        run: the folder of the run.
        settings: how many scopes go into a call, and how many rejects are too many.

    Returns:
        The manifest: the same for the same input.

    Raises:
        BadInput: what was staged is missing or damaged, or more was refused than the publisher allows.
        BooksDoNotBalance: a line is neither sent nor refused.
    """
    (run / MANIFEST).unlink(missing_ok=True)
    remove_folder(run / "chunks")
    with (
        scratch(run) as work,
        open_engine(work / "engine") as engine,
        PinParts(run, settings.scopes_per_call) as parts,
        PinRejects(run) as rejects,
    ):
        extracted = write_drafts(drafts_of(run / "raw"), work / "drafts.parquet")
        for group in _groups(engine, work / "drafts.parquet"):
            _take(group, parts, rejects)
        rejects.flush()
        books = rejects.balance(extracted, parts.lines)
    if rejects.first:
        told = "\n  ".join(rejects.first)
        log.warning(
            "%d lines were rejected, all of them in %s; the first:\n  %s", books["rejected"], run / REJECTS, told
        )
    manifest = {
        "kind": "pins",
        **parts.figures(),
        "books": books,
        "reasons": dict(sorted(rejects.counts.items())),
    }
    _refuse_too_many(manifest, run, settings)
    write_json(run / MANIFEST, manifest)
    return manifest


def _groups(engine: duckdb.DuckDBPyConnection, drafts: Path) -> Iterator[list[Draft]]:
    """The drafts of each scope together, in the order in which the scopes first came; one that is wrong is alone."""
    reader = engine.sql(_IN_ORDER, params=[str(drafts)]).to_arrow_reader(2_000)
    rows = (row for batch in reader for row in batch.to_pylist())
    for _, group in groupby(with_texts(rows, drafts), key=lambda draft: draft.key or draft.number):
        yield list(group)


def _take(group: list[Draft], parts: PinParts, rejects: PinRejects) -> None:
    """Write the scope of a group, or refuse all of it; repetitions go to the rejects either way."""
    kept = group if len(group) == 1 else _without_repetitions(group, rejects)
    try:
        line = _line(kept)
    except Refused as error:
        for draft in kept:
            rejects.add_draft(draft, draft.reason or error.reason, draft.detail or str(error))
        return
    parts.add(line, kept)


def _without_repetitions(group: list[Draft], rejects: PinRejects) -> list[Draft]:
    seen: dict[tuple[str, str], Draft] = {}
    kept = []
    for draft in group:
        same = None if draft.reason else (_canonical(draft.scope), _canonical(draft.pin))
        if same is None:
            kept.append(draft)
        elif same in seen:
            rejects.add_draft(draft, DUPLICATE, f"repeats {seen[same].place}")
        else:
            seen[same] = draft
            kept.append(draft)
    return kept


def _canonical(text: str | None) -> str:
    """The same text for the same content: the order of keys says nothing."""
    return json.dumps(json.loads(text), sort_keys=True) if text and text.startswith("{") else ""


def _line(drafts: list[Draft]) -> str:
    first = drafts[0]
    bad = next((draft for draft in drafts if draft.reason), None)
    if bad:
        raise Refused("with_another_row", f"{bad.place}, of the same scope, is refused")
    if first.lost:
        raise Refused("with_another_row", f"row {first.lost}, whose target cannot be read, may be of this scope")
    if first.pin is None:
        if len(drafts) > 1:
            places = ", ".join(draft.place for draft in drafts[:5])
            raise Refused("scope_twice", f"one scope with different content in {places}; none of them is sent")
        return str(first.scope)
    other = next((draft for draft in drafts if _canonical(draft.scope) != _canonical(first.scope)), None)
    if other:
        raise Refused("rows_disagree", f"{first.place} and {other.place} differ in tags or target_metadata")
    pins = [json.loads(draft.pin or "{}") for draft in drafts]
    return write(check({**json.loads(first.scope or "{}"), "pin_definitions": pins}))


def _refuse_too_many(manifest: dict[str, Any], run: Path, settings: Pins) -> None:
    books = manifest["books"]
    if 100 * books["rejected"] > settings.refuse_reject_percent * books["extracted"]:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in manifest["reasons"].items())
        raise BadInput(
            f"{books['rejected']:,} of {books['extracted']:,} lines were rejected ({reasons}), more than "
            f"pins.refuse_reject_percent = {settings.refuse_reject_percent:g}. Nothing is sent. See "
            f"{run / 'rejects.parquet'}, which has each with its line and reason; mend the source, or raise the limit."
        )
