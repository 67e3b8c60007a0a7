"""The names of what lies in the folder of a batch; everything that writes or reads there takes them from here."""

from pathlib import Path
from typing import Any

FETCH = "fetch.json"
"""Where the raw batch came from."""
FRESHNESS = "freshness.json"
"""What it was judged last."""
PARTS = "recommendations"
"""Folder of the parts."""
DEFAULT_SET = "default.parquet"
RECIPIENTS = "recipients"
"""Folder of the recipients' parts, in that of a list."""
COVERAGE = "coverage.json"
ACCEPTED = "accepted.json"
"""Which run took the batch for a list, and when it was fetched; in the folder of that list."""

DIGESTS = "digests.parquet"
"""Of a batch read from a platform: a digest of each profile's recommendations, null where it has none."""
PROBLEMS = "problems.parquet"
"""... and what was odd about which profile."""


def part_name(part: int) -> str:
    """The file name of a part."""
    return f"part-{part:03d}.parquet"


def list_folder(batch: Path, user_set_name: str) -> Path:
    """Where lies what is made of the batch for one list."""
    return batch / f"for-{user_set_name}"


def parts_of(batch: Path, manifest: dict[str, Any]) -> list[str]:
    """The parts that the manifest names, for DuckDB."""
    return [str(batch / part["name"]) for part in manifest["parts"]]
