"""Tables in files become the staged text columns of a run: CSV, Parquet and JSON Lines, each also gzipped.

What a line of a CSV or JSON file holds must be readable by itself: one that is not (another number of values, broken
quotes, no JSON object, longer than a mebibyte; not UTF-8, of CSV files in the columns that are wanted) is refused as
``unreadable_line``, and reading goes on with the next line. So nothing is lost: each line is in the staged rows, or
among the refused ones, or blank. What makes the *file* doubtful ends the run instead: a gzip stream that ends too
early, a missing header, a missing column.

Memory is that of one block of a file, whatever its size.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from include.errors import BadInput, PipelineError
from include.extract import Record
from include.tabular.part import Part, Wanted

log = logging.getLogger(__name__)

CSV = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)


@dataclass(frozen=True)
class CsvShape:
    """How CSV files are written; ``order`` are the names of the columns where there is no header."""

    delimiter: str = ","
    header: bool = True
    order: Sequence[str] = ()


def stage_files(
    files: Iterable[tuple[str, Path]],
    required: Sequence[str],
    optional: Sequence[str],
    raw: Path,
    *,
    names: Mapping[str, str],
    delimiter: str = ",",
    header: bool = True,
    order: Sequence[str] = (),
) -> Record:
    """Stage all rows of the files as part 0 of ``raw``, as :func:`include.extract.write_rows` does.

    Columns that nobody asked for are not kept. Values of CSV files are the text that stands there; others get the one
    spelling of ``include.spelling``.

    Args:
        files: the name to show and the local path of each file, in the order in which they are read.
        required: columns that must be there in every file.
        optional: columns that are written as null where they are missing.
        raw: the folder ``raw`` of a run.
        names: how columns are called in the files, where it differs.
        delimiter: between the values of CSV files.
        header: CSV files begin with the names of their columns.
        order: the columns of CSV files without a header, in order, of which some may be missing at the end; empty:
            the required ones, then the optional ones.

    Raises:
        BadInput: a file is not whole, lacks its header or a column, or a value has a type that is no scalar. The
            sentence names the file. Nothing is staged then.
    """
    wanted = Wanted(tuple(required), tuple(optional), dict(names))
    shape = CsvShape(delimiter, header, tuple(order) or (*required, *optional))
    with Part(raw, 0, wanted) as part:
        for name, path in files:
            _stage_one(name, path, part, shape)
        return part.commit()


def _stage_one(name: str, path: Path, part: Part, shape: CsvShape) -> None:
    before = part.rows, part.refused
    try:
        for _ in _reader(name, path, part, shape):
            pass
    except PipelineError as error:
        told = str(error)
        raise type(error)(f"{name}: {told}{'' if 'Nothing was staged' in told else ' Nothing was staged.'}") from error
    rows, refused = part.rows - before[0], part.refused - before[1]
    level = logging.WARNING if part.not_utf8 else logging.INFO
    log.log(level, "%s: %s rows, %s refused%s", name, f"{rows:,}", f"{refused:,}", part.first_unreadable())


def _reader(name: str, path: Path, part: Part, shape: CsvShape) -> Iterator[None]:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:] or [""]
    part.begin(name)
    if kind[0] in CSV:
        from include.tabular.delimited import read_csv

        return read_csv(path, zipped, part, shape.delimiter, None if shape.header else shape.order)
    if kind[0] in JSON_LINES:
        from include.tabular.json_lines import read_json

        return read_json(path, zipped, part)
    if kind[0] in PARQUET:
        from include.tabular.columnar import read_parquet

        return read_parquet(path, zipped, part)
    raise BadInput(
        f"files are read by their extension: {', '.join((*CSV, *JSON_LINES, *PARQUET))}, each also with .gz; came "
        f"{''.join(suffixes[-2:]) or 'none'}."
    )
