"""Sorted rows become those that are accepted and belong to the run, once each; all others are counted."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from include.books import DUPLICATE, Rejects
from include.neighbours import same_as_before
from include.publishers.senders import Transactions
from include.transactions.rows import reasons_of, shown
from include.transactions.sessions import Rows
from include.transactions.windows import Belonging, Window, microseconds


class Sieve:
    """What becomes of each row; ``elsewhere`` counts those of other runs."""

    def __init__(self, rejects: Rejects, window: Window | None, settings: Transactions) -> None:
        self.elsewhere = 0
        self._rejects = rejects
        self._window = window
        self._settings = settings

    def accepted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
        """Take what ``sorted_rows`` gives; give back rows of whole sessions in the same order."""
        belonging = Belonging(self._window) if self._window else None
        before: list[pa.Scalar] = [pa.scalar(None)] * 4
        for batch in batches:
            rows = self._acceptable(batch)
            if belonging:
                rows = self._ours(rows, pa.array(belonging.rows(rows[0], rows[3])))
            if len(rows[0]):
                repeated = [same_as_before(column, last) for column, last in zip(rows, before, strict=True)]
                before = [column[-1] for column in rows]
                yield self._once(rows, pc.and_(pc.and_(*repeated[:2]), pc.and_(*repeated[2:])))

    def refuse(self, rows: list[pa.Array], reasons: pa.Array, moments: pa.Array) -> None:
        """Reject rows, but those that another run will reject."""
        if self._window:
            here = pa.array(self._window.holds(microseconds(moments)))
            *rows, reasons = self._ours([*rows, reasons], here)
        self._rejects.add(rows, reasons)

    def _acceptable(self, batch: pa.RecordBatch) -> Rows:
        reasons = reasons_of(batch, self._settings)
        if reasons is None:
            return list(batch.columns[:4])
        refused = pc.is_valid(reasons)
        self.refuse(shown(batch, refused), reasons.filter(refused), batch["moment"].filter(refused))
        return [column.filter(pc.invert(refused)) for column in batch.columns[:4]]

    def _ours(self, rows: Rows, ours: pa.Array) -> Rows:
        self.elsewhere += len(ours) - ours.true_count
        return [column.filter(ours) for column in rows]

    def _once(self, rows: Rows, duplicates: pa.Array) -> Rows:
        if not duplicates.true_count:
            return rows
        self._rejects.add(
            as_rejects([column.filter(duplicates) for column in rows]), pa.repeat(DUPLICATE, duplicates.true_count)
        )
        return [column.filter(pc.invert(duplicates)) for column in rows]


def as_rejects(rows: Rows) -> list[pa.Array]:
    """Accepted rows as the rejects show them: times as they would be written, and no quantity."""
    return [*rows[:3], rows[3].cast(pa.large_string()), pa.nulls(len(rows[0]), pa.large_string())]
