"""What an attempt to send came to: counts, the units that were refused, progress in the log, a table at the end."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from include.errors import BadInput, BooksDoNotBalance
from include.staging import MANIFEST, read_json, utc_text, write_json

if TYPE_CHECKING:
    from advisable.calls import Fate

log = logging.getLogger(__name__)
REFUSED = "refused.parquet"
CHANGED = "changed.parquet"
SENT = "sent.json"
"""The figures of the last attempt, in the run's folder; ``complete`` if it came to its end."""
PROGRESS_SECONDS = 5.0
HOPELESS = 20
"""When so many units are refused it is looked whether going on makes sense."""
_TOGETHER = 1_000
_BEFORE = ("already_sent", "changed")
_DONE = ("confirmed", "refused", "absent")
_LEDGERS = ("sent before", "changed since they were sent")
_OF_TRANSFERS = ("users not known to the vendor",)


class Tally:
    """Counts the units of one attempt; in a ``with`` block, as it writes ``refused.parquet`` and ``changed.parquet``.

    Args:
        run: the folder of the run.
        manifest: what was built.
        percent: of the units that are new, how many may be refused.
        by: who sends, for the figures.

    Raises:
        BadInput: at the end of an attempt that came to its end: too many were refused.
        BooksDoNotBalance: then, too: a row is not accounted for.
    """

    def __init__(self, run: Path, manifest: dict[str, Any], percent: float, by: str) -> None:
        from include.files import RowsFile

        self.new = 0
        """Units that were never sent when the attempt began."""
        self.counts: Counter[str] = Counter()
        """Units by what became of them; ``already_sent``, ``changed`` and ``unsettled`` were so before.

        ``changed`` were sent with another content, which stays. ``absent`` are guests whom the vendor does not know:
        nothing is wrong with them, and nothing to transfer.
        """
        self.requests = 0
        self._manifest = manifest
        self._transfers = manifest["kind"] == "transfers"
        self._percent = percent
        self._by = by
        self._run = run
        self._path = run / REFUSED
        self._file = RowsFile(self._path, ("line", "reason"))
        self._changed = RowsFile(run / CHANGED, ("line",))
        self._rows: list[tuple[str, str]] = []
        self._reason = ""
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        (self._run / SENT).unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flush()
        for file in (self._file, self._changed):
            file.__exit__(None, None, None)  # what is in them has happened, however the attempt ended
        log.info("%s", self.table())
        if kind is None:
            self._check_books()
            self._write(complete=True)
            self.check(at_the_end=True)
            return
        try:
            self._write(complete=False)
        except Exception:
            log.exception("the figures of this attempt could not be written")

    def _write(self, *, complete: bool) -> None:
        left = {} if complete else {"not_sent": self._not_sent()}
        record = {**self.figures(), **left, "complete": complete}
        write_json(self._run / SENT, {**record, "by": self._by, "at": utc_text(datetime.now(UTC))})

    def _not_sent(self) -> int:
        return self.new - sum(self.counts[name] for name in (*_DONE, "unknown"))

    def add_changed(self, lines: Sequence[bytes]) -> None:
        """Keep what was sent before with another content."""
        import pyarrow as pa

        self.counts["changed"] += len(lines)
        self._changed.write(pa.array([line.decode() for line in lines], pa.large_string()))

    def add(self, lines: Sequence[bytes], fates: Sequence["Fate"]) -> None:
        """Count what was sent; every few seconds say how far it is."""
        for line, fate in zip(lines, fates, strict=True):
            self.counts[fate.outcome] += 1
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
        refused = self.counts["refused"]
        taken = sum(self.counts[name] for name in ("confirmed", "absent", *_BEFORE))
        units = self.new + sum(self.counts[name] for name in (*_BEFORE, "unsettled"))
        all_refused = refused >= HOPELESS and not taken
        too_many = (at_the_end or refused >= HOPELESS) and 100 * refused > self._percent * units
        if all_refused or too_many:
            raise BadInput(
                f"of {units:,} units {refused:,} were refused by the vendor, {taken:,} taken; allowed are "
                f"interactions.refuse_reject_percent = {self._percent:g}. The last one: {self._reason} "
                f"What was taken stays sent, once; see {self._path}, mend the source or the connection, and run again."
            )

    def _check_books(self) -> None:
        """Whether each row that was extracted is accounted for."""
        books = self._manifest["books"]
        before = {name: books[name] for name in ("rejected", "duplicates")}
        after = {name: self.counts[name] for name in (*_BEFORE, "unsettled", *_DONE)}
        if sum(before.values()) + sum(after.values()) != books["extracted"]:
            raise BooksDoNotBalance(
                f"{books['extracted']} rows were extracted, but {before | after} are another number. What was sent is "
                "in the ledger and stays sent. Clear the build; if it happens again, keep the folder of the run and "
                "report it."
            )

    def figures(self) -> dict[str, Any]:
        """What the task returns; transfers are not in the ledger, so nothing is known of what was before."""
        before = {"absent": self.counts["absent"]}
        if not self._transfers:
            before = {name: self.counts[name] for name in _BEFORE}
        return {
            "sent": self.counts["confirmed"],
            **before,
            "refused": self.counts["refused"],
            "unknown": self.counts["unsettled"] + self.counts["unknown"],
            "requests": self.requests,
            "seconds": round(time.monotonic() - self._started, 3),
        }

    def table(self) -> str:
        """What became of all rows, as text."""
        books = self._manifest["books"]
        lines = {
            "extracted rows": books["extracted"],
            "rejected": books["rejected"],
            "duplicates": books["duplicates"],
            "sent before": self.counts["already_sent"],
            "changed since they were sent": self.counts["changed"],
            "sent now": self.counts["confirmed"],
            "refused by the vendor": self.counts["refused"],
            "users not known to the vendor": self.counts["absent"],
            "of unknown fate": self.counts["unsettled"] + self.counts["unknown"],
            "not sent": self._not_sent(),
        }
        for name in _LEDGERS if self._transfers else _OF_TRANSFERS:
            del lines[name]
        width = max(map(len, lines))
        title = self._manifest.get("source") or self._manifest["kind"]
        return "\n".join((f"{title}:", *(f"  {name:{width}}  {count:>13,}" for name, count in lines.items())))

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._file.write(*(pa.array(column, pa.large_string()) for column in zip(*self._rows, strict=True)))
            self._rows = []


def manifest_of(run: Path, kind: str) -> dict[str, Any]:
    """What was built.

    Raises:
        BadInput: for another sender.
    """
    manifest = read_json(run / MANIFEST)
    if manifest.get("kind") != kind:
        raise BadInput(f"{run / MANIFEST}: kind is {manifest.get('kind')!r}, must be {kind}; it is for another sender")
    return manifest
