"""From a raw batch to parts: ``parse_batch`` and the manifest it writes.

The raw file is read by ``stretches``, written by ``spill``; here the layout is told apart, errors get their
sentence, and the books are balanced. A manifest that exists means the parts are whole.
"""

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
from include.staging import MANIFEST, find_json, local_copy, scratch, sha256_file, utc_text, write_json


def parse_batch(
    batch: Path, settings: Batch, *, processes: int | None = None, raw: Path | None = None
) -> dict[str, Any]:
    """Cut a raw batch into parts of whole users; returns the manifest.

    A batch that was parsed before is parsed again only if the settings that shape the parts have changed.

    The work folder takes about as much local disk as the raw batch while it runs; of a batch in a store, which is
    copied, twice as much.

    Args:
        batch: the folder of the batch.
        settings: of the publisher.
        processes: 1 or 2; by default 2 for a batch of more than 64 MiB. The parts are the same either way.
        raw: a local copy of the raw batch, where one is at hand.

    Raises:
        NotReady: the batch is empty or ends before it is whole.
        BadInput: it is foreign, hostile or malformed; byte and reason are said.
    """
    raw = raw or _raw_file(batch, settings.format)
    shape = {"format": raw.suffix[1:], "updated_at_time_zone": settings.updated_at_time_zone}
    if manifest := find_json(batch / MANIFEST):
        if len(manifest["parts"]) == settings.parts and shape.items() <= manifest.items():
            return manifest
        (batch / MANIFEST).unlink(missing_ok=True)
    with local_copy(raw) as copy, scratch(batch.parent) as work:
        manifest = _parse(batch, copy, work, settings, processes) | shape
    write_json(batch / MANIFEST, manifest)
    return manifest


def _parse(batch: Path, raw: Path, work: Path, settings: Batch, processes: int | None) -> dict[str, Any]:
    """Write the parts; gives the manifest. ``raw`` is local, errors name it by its place in the batch."""
    place, fetch = batch / raw.name, find_json(batch / FETCH) or {}
    _check_length(fetch, raw)
    job = Job(str(raw), str(work), _layout(raw, place), settings.parts, settings.updated_at_time_zone)
    try:
        ignored = read(job, processes)
    except Unfinished as end:
        raise incomplete(place, end.offset, end.reason) from None
    except Refusal as refusal:
        raise refused(place, refusal.offset, refusal.reason) from None
    parts, default, sha256 = _finish(batch, raw, work, settings.parts)
    if fetch.get("sha256") not in (None, sha256):
        raise incomplete(place, raw.stat().st_size, f"it is not the file of {FETCH}, whose sha256 is {fetch['sha256']}")
    manifest = _manifest(place, parts, default) | {"sha256": sha256, "bytes": raw.stat().st_size}
    manifest["problems"]["ignored_fields"] = ignored
    return manifest


def _raw_file(batch: Path, form: str) -> Path:
    """The raw batch; if the same bytes were fetched in both formats, that of the settings."""
    for name in (f"raw.{form}", "raw.xml", "raw.json"):
        if (batch / name).exists():
            return batch / name
    raise BadInput(f"{batch}: neither raw.xml nor raw.json is there; the fetch did not finish. Clear the wait task.")


def _check_length(fetch: dict[str, Any], raw: Path) -> None:
    """The raw file is as long as the fetch noted and the server announced."""
    size = raw.stat().st_size
    if size == 0:
        raise incomplete(raw, 0, "the file is empty")
    for key in ("bytes", "content_length"):
        if fetch.get(key) not in (None, size):
            raise incomplete(raw, size, f"{key} of {FETCH} says {fetch[key]} bytes")


def _layout(raw: Path, place: Path) -> str:
    if raw.suffix == ".xml":
        return "xml"
    with raw.open("rb") as handle:
        head = handle.read(4096)
    first = head.strip()[:1]
    if not first:
        raise incomplete(raw, len(head), "nothing but blanks")
    if first not in (b"{", b"["):
        raise refused(place, len(head) - len(head.lstrip()), "JSON begins with { or [, this does not (an error page?)")
    return "array" if first == b"[" else "lines"


def _finish(batch: Path, raw: Path, work: Path, parts: int) -> tuple[list[Figures], Figures, str]:
    """Write all parts and the default set, and hash the raw batch, two at a time."""
    paths = [batch / PARTS / part_name(part) for part in range(parts)] + [batch / DEFAULT_SET]
    with ThreadPoolExecutor(2) as pool:
        sha256 = pool.submit(sha256_file, raw)
        figures = list(pool.map(partial(finish_part, work), range(parts + 1), paths))
    if not figures[-1].rows:
        paths[-1].unlink(missing_ok=True)
    for path in set((batch / PARTS).glob("part-*.parquet")) - set(paths):  # of other settings
        path.unlink(missing_ok=True)
    return figures[:-1], figures[-1], sha256.result()


def _manifest(raw: Path, parts: list[Figures], default: Figures) -> dict[str, Any]:
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
        "rows": sum(part.rows for part in parts),
        "users": books["personalised"],
        "parts": [_part_entry(number, part) for number, part in enumerate(parts)],
        "default": _default_entry(default),
        "types": _sum_types(parts),
        "updated_at": _times(parts),
        "books": books,
        "problems": {name: sum(part.problems[name] for part in parts) for name in default.problems},
    }


def _part_entry(number: int, figures: Figures) -> dict[str, Any]:
    return {
        "name": f"{PARTS}/{part_name(number)}",
        "rows": figures.rows,
        "users": figures.users,
        "bytes": figures.bytes,
        "sha256": figures.sha256,
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
