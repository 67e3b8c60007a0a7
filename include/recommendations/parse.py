"""From a raw batch to parts: ``parse_batch`` and the manifest it writes.

The raw file is read by ``stretches``, written by ``spill``; here the layout is told apart, errors get their
sentence, and the books are balanced. A manifest that exists means the parts are whole.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from include.errors import BadInput, BooksDoNotBalance, NotReady
from include.publishers.batches import Batch
from include.recommendations.layout import DEFAULT_SET, FETCH, PARTS, part_name
from include.recommendations.rows import Refusal, Unfinished, incomplete, refused
from include.recommendations.spill import Figures, finish_part
from include.recommendations.stretches import Job, read
from include.staging import MANIFEST, read_json, ref, sha256_file, utc_text, write_json

LEFT_OVER_AFTER = 6 * 3600
"""Seconds since a work folder was last written to."""


def parse_batch(batch: Path, settings: Batch, *, processes: int | None = None) -> dict[str, Any]:
    """Cut a raw batch into parts of whole users; returns the manifest.

    A batch that was parsed before is parsed again only if the settings that shape the parts have changed.

    ``processes``: 1 or 2; by default 2 for a batch of more than 64 MiB. The parts are the same either way.
    The work folder beside the parts takes about as much disk as the raw batch while it runs.

    Raises:
        NotReady: the batch is empty or ends before it is whole.
        BadInput: it is foreign, hostile or malformed; byte and reason are said.
    """
    raw = _raw_file(batch, settings.format)
    shape = {"format": raw.suffix[1:], "updated_at_time_zone": settings.updated_at_time_zone}
    if (batch / MANIFEST).exists():
        manifest = read_json(batch / MANIFEST)
        if len(manifest["parts"]) == settings.parts and shape.items() <= manifest.items():
            return manifest
        (batch / MANIFEST).unlink()
    _check_length(batch, raw)
    _sweep(batch)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=batch) as work:
        job = Job(str(raw), work, _layout(raw), settings.parts, settings.updated_at_time_zone)
        try:
            ignored = read(job, processes)
        except Unfinished as end:
            raise incomplete(raw, end.offset, end.reason) from None
        except Refusal as refusal:
            raise refused(raw, refusal.offset, refusal.reason) from None
        parts, default, sha256 = _finish(batch, raw, Path(work), settings.parts)
    manifest = _manifest(batch, raw, sha256, parts, default) | shape
    manifest["problems"]["ignored_fields"] = ignored
    write_json(batch / MANIFEST, manifest)
    return manifest


def _raw_file(batch: Path, form: str) -> Path:
    """The raw batch; if the same bytes were fetched in both formats, that of the settings."""
    for name in (f"raw.{form}", "raw.xml", "raw.json"):
        if (batch / name).exists():
            return batch / name
    raise BadInput(f"{batch}: neither raw.xml nor raw.json is there; the fetch did not finish. Clear the wait task.")


def _check_length(batch: Path, raw: Path) -> None:
    """The raw file is as long as the fetch noted and the server announced."""
    size = raw.stat().st_size
    if size == 0:
        raise incomplete(raw, 0, "the file is empty")
    if not (batch / FETCH).exists():
        return
    fetch = read_json(batch / FETCH)
    for key in ("bytes", "content_length"):
        if fetch.get(key) not in (None, size):
            raise incomplete(raw, size, f"{key} of {FETCH} says {fetch[key]} bytes")


def _sweep(batch: Path) -> None:
    """Remove what a killed process left, but not what another one may be at work on."""
    for folder in batch.glob(".work-*"):
        if time.time() - folder.stat().st_mtime > LEFT_OVER_AFTER:
            shutil.rmtree(folder, ignore_errors=True)


def _layout(raw: Path) -> str:
    if raw.suffix == ".xml":
        return "xml"
    with raw.open("rb") as handle:
        head = handle.read(4096)
    first = head.strip()[:1]
    if not first:
        raise incomplete(raw, len(head), "nothing but blanks")
    if first not in (b"{", b"["):
        raise refused(raw, len(head) - len(head.lstrip()), "JSON begins with { or [, this does not (an error page?)")
    return "array" if first == b"[" else "lines"


def _finish(batch: Path, raw: Path, work: Path, parts: int) -> tuple[list[Figures], Figures, str]:
    """Write all parts and the default set, and hash the raw batch, two at a time."""
    paths = [batch / PARTS / part_name(part) for part in range(parts)] + [batch / DEFAULT_SET]
    with ThreadPoolExecutor(2) as pool:
        sha256 = pool.submit(sha256_file, raw)
        figures = list(pool.map(partial(finish_part, work), range(parts + 1), paths))
    if not figures[-1].rows:
        paths[-1].unlink()
    for path in set((batch / PARTS).glob("part-*.parquet")) - set(paths):  # of other settings
        path.unlink(missing_ok=True)
    return figures[:-1], figures[-1], sha256.result()


def _manifest(batch: Path, raw: Path, sha256: str, parts: list[Figures], default: Figures) -> dict[str, Any]:
    both = [*parts, default]
    books = {
        "users_in_file": sum(part.users_in_file for part in both),
        "default": default.users,
        "empty": sum(part.empty for part in both),
        "duplicates": sum(part.duplicates for part in both),
        "personalised": sum(part.users for part in parts),
    }
    if not books["users_in_file"]:
        raise NotReady(f"{raw.name}: holds no user at all. Nothing of it is used; look again later.")
    if books["users_in_file"] != sum(books.values()) - books["users_in_file"]:
        raise BooksDoNotBalance(f"{raw}: users do not add up: {books}. Report this; the raw file is kept.")
    return {
        "kind": "batch",
        "sha256": sha256,
        "bytes": raw.stat().st_size,
        "rows": sum(part.rows for part in parts),
        "users": books["personalised"],
        "parts": [_part_entry(batch, number, part) for number, part in enumerate(parts)],
        "default": _default_entry(default),
        "types": _sum_types(parts),
        "updated_at": _times(parts),
        "books": books,
        "problems": {name: sum(part.problems[name] for part in parts) for name in default.problems},
    }


def _part_entry(batch: Path, number: int, figures: Figures) -> dict[str, Any]:
    reference = ref(batch / PARTS / part_name(number), figures.rows)
    return {
        "name": f"{PARTS}/{part_name(number)}",
        "rows": figures.rows,
        "users": figures.users,
        "bytes": reference["bytes"],
        "sha256": reference["sha256"],
    }


def _default_entry(figures: Figures) -> dict[str, Any] | None:
    return {"name": DEFAULT_SET, "rows": figures.rows, "types": sorted(figures.types)} if figures.rows else None


def _sum_types(parts: list[Figures]) -> dict[str, dict[str, int]]:
    kinds = sorted({kind for part in parts for kind in part.types})
    nothing = {"users": 0, "rows": 0}
    return {
        kind: {key: sum(part.types.get(kind, nothing)[key] for part in parts) for key in ("users", "rows")}
        for kind in kinds
    }


def _times(parts: list[Figures]) -> dict[str, Any]:
    low = min((part.updated_min for part in parts if part.updated_min), default=None)
    high = max((part.updated_max for part in parts if part.updated_max), default=None)
    return {
        "min": low and utc_text(low),
        "max": high and utc_text(high),
        "missing": sum(part.no_updated_at for part in parts),
    }
