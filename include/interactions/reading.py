"""What both builds share: the staged rows of a run with their rejects, and the manifest that ends it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from include.books import Rejects
from include.engine import open_engine
from include.errors import BadInput
from include.raw import Raw, read_raw
from include.staging import MANIFEST, write_json


@dataclass(frozen=True)
class Staged:
    """The staged rows of a run, the database that reads them, and the rejects."""

    run: Path
    engine: duckdb.DuckDBPyConnection
    raw: Raw
    rejects: Rejects

    def commit(self, about: dict[str, Any], figures: dict[str, Any], percent: float) -> dict[str, Any]:
        """Write the manifest; after the ``with`` block, when all it lists is whole.

        Args:
            about: what was built.
            figures: of the lines: ``rows``, ``bytes``, ``sha256`` and ``chunks``.
            percent: how many of the rows may be refused.

        Returns:
            The manifest.

        Raises:
            BadInput: more were refused.
            BooksDoNotBalance: a row is neither sent nor refused.
        """
        books = self.rejects.balance(self.raw.rows, figures["rows"])
        reasons = dict(sorted(self.rejects.counts.items()))
        if 100 * books["rejected"] > percent * books["extracted"]:
            named = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items())
            raise BadInput(
                f"{books['rejected']:,} of {books['extracted']:,} extracted rows were rejected ({named}), more than "
                f"interactions.refuse_reject_percent = {percent:g}. Nothing is sent. See "
                f"{self.run / 'rejects.parquet'}; mend the query, or raise the limit, and run again."
            )
        manifest = {**about, "complete": True, **figures, "books": books, "reasons": reasons}
        write_json(self.run / MANIFEST, manifest)
        return manifest


@contextmanager
def staged_rows(run: Path, columns: Sequence[str]) -> Iterator[Staged]:
    """The rows that were pulled into ``run/raw``; what the pull had refused is among the rejects.

    The manifest of an earlier build is removed.

    Raises:
        BadInput: the part is missing or damaged.
    """
    (run / MANIFEST).unlink(missing_ok=True)
    raw = read_raw(run / "raw", 1)
    if not raw.complete:
        raise BadInput(f"{run / 'raw'}: the rows were not read to their end. Clear the pull of this run.")
    with open_engine(run / ".work") as engine, Rejects(run, columns) as rejects:
        rejects.add_files(engine, raw.refused)
        yield Staged(run, engine, raw, rejects)
