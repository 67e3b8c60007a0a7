"""What an attempt to send came to: counts, the units that were refused, progress in the log, a table at the end."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from include.errors import BadInput, BooksDoNotBalance
from vendor_http.errors import NotFound

if TYPE_CHECKING:
    from advisable.calls import Fate
    from include.interactions.units import Group

log = logging.getLogger(__name__)
REFUSED = "refused.parquet"
PROGRESS_SECONDS = 5.0
HOPELESS = 20
"""When so many units are refused it is looked whether going on makes sense."""
_TOGETHER = 1_000
_DONE = ("confirmed", "refused", "absent")


class Tally:
    """Counts the units of one attempt; in a ``with`` block, because it writes ``refused.parquet``.

    Args:
        run: the folder of the run.
        manifest: what was built.
        percent: of the units that are new, how many may be refused.
    """

    def __init__(self, run: Path, manifest: dict[str, Any], percent: float) -> None:
        from include.files import RowsFile

        self.new = 0
        """Units that were never sent when the attempt began."""
        self.counts: Counter[str] = Counter()
        """Units by what became of them; ``already_sent`` and ``unsettled`` were so before.

        ``absent`` are guests whom the vendor does not know: nothing is wrong with them, and nothing to transfer.
        """
        self.requests = 0
        self._manifest = manifest
        self._percent = percent
        self._transfers = manifest["kind"] == "transfers"
        self._path = run / REFUSED
        self._file = RowsFile(self._path, ("line", "reason"))
        self._rows: list[tuple[str, str]] = []
        self._reason = ""
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flush()
        self._file.__exit__(kind, error, at)
        log.info("%s", self.table())

    def add(self, group: "Group", fates: Sequence["Fate"]) -> None:
        """Count a group; every few seconds say how far it is."""
        for line, fate in zip(group.lines, fates, strict=True):
            absent = self._transfers and isinstance(fate.error, NotFound)
            self.counts["absent" if absent else fate.outcome] += 1
            if fate.outcome == "refused":
                self._reason = fate.reason
                self._rows.append((line.decode(), fate.reason))
        if len(self._rows) >= _TOGETHER:
            self._flush()
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            done = sum(self.counts[name] for name in _DONE)
            speed = done / (self._told - self._started)
            log.info("%s of %s sent, %s of them refused, %.1f/s", done, self.new, self.counts["refused"], speed)

    def check(self, *, at_the_end: bool = False) -> None:
        """Whether too many were refused; before the end only when that is plain.

        Raises:
            BadInput: so it is.
        """
        refused, confirmed = self.counts["refused"], self.counts["confirmed"]
        before = self.counts["already_sent"]
        units = self.new + before + self.counts["unsettled"]
        all_refused = refused + self.counts["absent"] >= HOPELESS and not confirmed + before
        too_many = (at_the_end or refused >= HOPELESS) and 100 * refused > self._percent * units
        if all_refused or too_many:
            raise BadInput(
                f"of {units:,} units {refused + self.counts['absent']:,} were refused by the vendor, "
                f"{confirmed + before:,} taken; allowed are interactions.refuse_reject_percent = {self._percent:g}. "
                f"The last one: {self._reason} What was taken stays sent, once; see {self._path}, mend the source or "
                "the connection, and run again."
            )

    def check_books(self) -> None:
        """Whether each row that was extracted is accounted for.

        Raises:
            BooksDoNotBalance: one is not.
        """
        books = self._manifest["books"]
        before = {name: books[name] for name in ("rejected", "duplicates")}
        after = {name: self.counts[name] for name in ("already_sent", "unsettled", *_DONE)}
        if sum(before.values()) + sum(after.values()) != books["extracted"]:
            raise BooksDoNotBalance(
                f"{books['extracted']} rows were extracted, but {before | after} are another number. What was sent is "
                "in the ledger and stays sent. Clear the build; if it happens again, keep the folder of the run and "
                "report it."
            )

    def figures(self) -> dict[str, Any]:
        """What the task returns."""
        return {
            "sent": self.counts["confirmed"],
            "already_sent": self.counts["already_sent"],
            "refused": self.counts["refused"],
            "absent": self.counts["absent"],
            "unknown": self.counts["unsettled"],
            "requests": self.requests,
            "seconds": round(time.monotonic() - self._started, 3),
        }

    def table(self) -> str:
        """What became of all rows, as text."""
        books = self._manifest["books"]
        done = sum(self.counts[name] for name in (*_DONE, "unknown"))
        lines = {
            "extracted rows": books["extracted"],
            "rejected": books["rejected"],
            "duplicates": books["duplicates"],
            "sent before": self.counts["already_sent"],
            "sent now": self.counts["confirmed"],
            "refused by the vendor": self.counts["refused"],
            "users not known to the vendor": self.counts["absent"],
            "of unknown fate": self.counts["unsettled"] + self.counts["unknown"],
            "not sent": self.new - done,
        }
        width = max(map(len, lines))
        title = self._manifest.get("source") or self._manifest["type"]
        return "\n".join((f"{title}:", *(f"  {name:{width}}  {count:>13,}" for name, count in lines.items())))

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._file.write(*(pa.array(column, pa.large_string()) for column in zip(*self._rows, strict=True)))
            self._rows = []
