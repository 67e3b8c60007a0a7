"""The rows that are refused, each with one reason, and the sum that must come out even."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.errors import BooksDoNotBalance
from include.files import RowsFile, steady

REJECTS = "rejects.parquet"
DUPLICATE = "duplicate"


class Rejects:
    """``rejects.parquet`` while it is written: the columns of a room and ``reason``; ``counts`` has rows by reason."""

    def __init__(self, run: Path, columns: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self._columns = columns
        self._file = RowsFile(run / REJECTS, (*columns, "reason"))

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.__exit__(kind, error, at)

    def sift(self, rows: list[pa.Array], reasons: pa.Array | None) -> list[pa.Array]:
        """Keep the rows that have a reason, and give back the others."""
        if reasons is None:
            return rows
        refused = pc.is_valid(reasons)
        self.add([column.filter(refused) for column in rows], reasons.filter(refused))
        kept = pc.invert(refused)
        return [column.filter(kept) for column in rows]

    def add(self, rows: list[pa.Array], reasons: pa.Array) -> None:
        """Keep rows, all of which are refused."""
        self.counts.update({pair["values"]: pair["counts"] for pair in pc.value_counts(reasons).to_pylist()})
        self._file.write(*rows, reasons.cast(pa.large_string()))

    def add_files(self, engine: duckdb.DuckDBPyConnection, files: list[str]) -> None:
        """Keep what the extraction had refused already, sorted."""
        if files:
            names = ", ".join((*self._columns, "reason"))
            rows = engine.sql(f"SELECT {names} FROM read_parquet(?) ORDER BY ALL", params=[files])
            for batch in steady(rows.to_arrow_reader()):
                self.add(batch.columns[:-1], batch.columns[-1])

    def balance(self, extracted: int, uploaded: int, **besides: int) -> dict[str, int]:
        """The books of a manifest.

        Args:
            extracted: all rows that came.
            uploaded: rows in files.
            besides: other terms of the sum, by name.

        Raises:
            BooksDoNotBalance: a row is neither uploaded nor refused, or both.
        """
        duplicates = self.counts[DUPLICATE]
        rejected = self.counts.total() - duplicates
        told = "".join(f" + {rows} {name}" for name, rows in besides.items())
        found = rejected + duplicates + sum(besides.values()) + uploaded
        if extracted != found:
            raise BooksDoNotBalance(
                f"{extracted} rows were extracted, but {rejected} rejected + {duplicates} duplicates{told} + "
                f"{uploaded} for upload are {found}. Nothing is uploaded. Clear the build; if it happens again, keep "
                "the folder of the run and report it."
            )
        return {"extracted": extracted, "rejected": rejected, "duplicates": duplicates, **besides, "uploaded": uploaded}


def table(manifest: Mapping[str, Any]) -> str:
    """What became of the rows that came, and what they were rejected for, as lines for the log."""
    lines: dict[str, int] = {}
    for name, rows in manifest["books"].items():
        lines[name] = rows
        if name == "rejected":
            lines |= {f"  {reason}": n for reason, n in manifest["reasons"].items() if reason != DUPLICATE}
    width = max(map(len, lines))
    return "\n".join(("books of this build:", *(f"  {name:{width}}  {rows:>13,}" for name, rows in lines.items())))
