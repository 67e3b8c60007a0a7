"""Tables in files become the staged text columns of a run: CSV, Parquet and JSON Lines, each also gzipped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from include.extract import Record


def stage_files(
    files: Sequence[tuple[str, Path]],
    required: Sequence[str],
    optional: Sequence[str],
    raw: Path,
    *,
    names: Mapping[str, str],
    delimiter: str = ",",
    header: bool = True,
    order: Sequence[str] = (),
) -> Record:
    """Stage all rows of the files as part 0 of ``raw``, as :func:`include.extract.write_rows` does."""
    raise NotImplementedError
