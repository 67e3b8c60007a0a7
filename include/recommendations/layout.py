"""The names of what lies in the folder of a batch; everything that writes or reads there takes them from here."""

from pathlib import Path

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


def acceptances(batch: Path) -> list[Path]:
    """The records of all lists that the batch was accepted for."""
    return sorted(batch.glob(f"for-*/{ACCEPTED}"))
