"""The ``feed`` delivery: files that a newsletter platform can load, one JSON line a recipient and a compact CSV.

Every recipient of the part has a line; who has no recommendations gets the default set if the delivery wants so,
else an empty object, and is counted under ``nothing``. Memory stays flat: recipients stream through, into a store
without a copy on a disk, and a file is there whole or not at all.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa

from include.deliveries.rows import PartRows, open_part
from include.publishers.deliveries import FeedDelivery
from include.staging import MANIFEST, Ref, open_whole, write_json

CSV_HEADER = ("recipient", "recommendation_type", "rank", "item_id", "url")
_COLUMNS = ("recommendation_type", "rank", "item_id", "url", "title", "image_link")
_COUNTED = ("recipients", "personalised", "default", "nothing", "rows")
_BUFFER_BYTES = 1 << 20
_encode = msgspec.json.Encoder().encode

Row = tuple[str, int, str | None, str | None, str | None, str | None]
"""Type, rank, item id, url, title, image link."""


class _Hashed(io.RawIOBase):
    """Hashes and counts the bytes that go into a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash, self._bytes = sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)
        return len(data)

    def ref(self, path: Path, rows: int) -> Ref:
        return {"uri": path.as_uri(), "rows": rows, "bytes": self._bytes, "sha256": self._hash.hexdigest()}


@contextmanager
def _published(path: Path) -> Iterator[tuple[_Hashed, IO[bytes]]]:
    """A file that is hashed while it is written; the hash is complete after the block."""
    with open_whole(path) as file, _Hashed(file) as hashed, io.BufferedWriter(hashed, _BUFFER_BYTES) as buffered:
        yield hashed, buffered


@dataclass
class _Feed:
    """The two open files of a part, and what went into them."""

    lines: IO[bytes]
    table: Any
    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))

    def write(self, recipient: str, auth_user_id: str, kind: str, rows: list[Row], blocks: msgspec.Raw) -> None:
        """One recipient; ``kind`` is where the rows come from: personalised, default or nothing."""
        line = {
            "recipient": recipient,
            "auth_user_id": auth_user_id,
            "personalised": kind == "personalised",
            "recommendations": blocks,
        }
        self.lines.write(_encode(line) + b"\n")
        self.table.writerows((recipient, *row[:4]) for row in rows)
        self.figures["recipients"] += 1
        self.figures[kind] += 1
        self.figures["rows"] += len(rows)


def write_feed_part(batch: Path, recon: Path, part: int, out: Path, settings: FeedDelivery) -> dict[str, Any]:
    """Write ``part-NNN.jsonl`` and ``part-NNN.csv``; doing it again gives the same bytes.

    Args:
        batch: a parsed batch.
        recon: its ``for-{user set}`` folder.
        part: number of the part.
        out: the delivery's folder.
        settings: which types, and whether to use the default set.

    Returns:
        ``recipients`` = ``personalised`` + ``default`` + ``nothing``, ``rows`` (products), and the ``files``.

    Raises:
        BadInput: the part is not there.
    """
    json_lines, table = out / f"part-{part:03d}.jsonl", out / f"part-{part:03d}.csv"
    with (
        open_part(batch, recon, part, settings.recommendation_types) as rows,
        _published(json_lines) as (json_file, lines),
        _published(table) as (csv_file, sheet_bytes),
        io.TextIOWrapper(sheet_bytes, encoding="utf-8", newline="") as sheet,
    ):
        writer = csv.writer(sheet, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        feed = _Feed(lines, writer)
        _write_recipients(feed, rows, settings.use_default_set)
    files = [json_file.ref(json_lines, feed.figures["recipients"]), csv_file.ref(table, feed.figures["rows"])]
    return {**feed.figures, "files": files}


def _write_recipients(feed: _Feed, rows: PartRows, use_default_set: bool) -> None:
    for (recipient, auth_user_id), own in _by_recipient(rows.own()):
        feed.write(recipient, auth_user_id, "personalised", own, _blocks(own))
    instead = list(_rows(rows.default_set)) if use_default_set else []
    kind, blocks = "default" if instead else "nothing", _blocks(instead)
    for others in rows.others():
        names = zip(others["recipient"].to_pylist(), others["auth_user_id"].to_pylist(), strict=True)
        for recipient, auth_user_id in names:
            feed.write(recipient, auth_user_id, kind, instead, blocks)


def _by_recipient(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    named = (
        named
        for batch in batches
        for named in zip(
            zip(batch["recipient"].to_pylist(), batch["auth_user_id"].to_pylist(), strict=True),
            _rows(batch),
            strict=True,
        )
    )
    for names, group in groupby(named, itemgetter(0)):
        yield names, [row for _, row in group]


def _rows(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    return zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)


def _blocks(rows: list[Row]) -> msgspec.Raw:
    """The recommendations of one recipient, encoded: the default set's are written again and again."""
    blocks: dict[str, list[dict[str, str | None]]] = {}
    for kind, _, item_id, url, title, image_link in rows:
        product = {"id": item_id, "url": url, "title": title, "image_link": image_link}
        blocks.setdefault(kind, []).append(product)
    return msgspec.Raw(_encode(blocks))


def finish(out: Path, figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Write ``manifest.json``, which commits the parts: their files and the sums of their figures."""
    manifest: dict[str, Any] = {"kind": "feed", "files": [file for part in figures for file in part["files"]]}
    manifest |= {name: sum(part[name] for part in figures) for name in _COUNTED}
    write_json(out / MANIFEST, manifest)
    return manifest
