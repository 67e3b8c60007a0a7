"""What became of each scope: kept while a run sends, written as ``results.parquet`` whatever happens."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from include.objects import arrow
from include.pins.parts import LINES
from include.staging import atomic_write

RESULTS = "results.parquet"
Outcome = Literal["applied", "unchanged", "conflict", "invalid", "unknown", "not_sent"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
REFUSED: tuple[Outcome, ...] = ("conflict", "invalid", "unknown")
Action = Literal["create", "replace", "delete"]
_ACTIONS: tuple[Action, ...] = get_args(Action)
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),
        ("rows", pa.int64()),
        ("action", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("scope_id", pa.string()),
    ]
)
_NOT_SENT = OUTCOMES.index("not_sent")


class Results:
    """The outcome of each scope by its number, and of each deletion; a few bytes each."""

    def __init__(self, scopes: int) -> None:
        self._outcomes = bytearray([_NOT_SENT]) * scopes
        self._actions = bytearray(scopes)
        self._reasons: dict[int, str] = {}
        self._ids: dict[int, str] = {}
        self._deletions: dict[str, tuple[Outcome, str]] = {}

    def set(self, numbers: Iterable[int], outcome: Outcome, reason: str = "") -> None:
        """Note what became of these scopes."""
        code = OUTCOMES.index(outcome)
        for number in numbers:
            self._outcomes[number] = code
            if reason:
                self._reasons[number] = reason
            else:
                self._reasons.pop(number, None)

    def replaces(self, number: int, scope_id: str) -> None:
        """Note that this scope takes the place of another one."""
        self._actions[number] = _ACTIONS.index("replace")
        self._ids[number] = scope_id

    def deletion(self, scope_id: str, outcome: Outcome, reason: str = "") -> None:
        """Note what became of a scope that is not wanted."""
        self._deletions[scope_id] = (outcome, reason)

    def outcome(self, number: int) -> Outcome:
        """What became of a scope so far."""
        return OUTCOMES[self._outcomes[number]]

    def counts(self) -> dict[str, int]:
        """Scopes by outcome, without the deletions."""
        return {outcome: self._outcomes.count(code) for code, outcome in enumerate(OUTCOMES)}

    def deleted(self) -> int:
        """How many scopes were deleted."""
        return Counter(outcome for outcome, _ in self._deletions.values())["applied"]

    def refused(self) -> bool:
        """Whether any scope is refused, or its fate unknown."""
        counts = self.counts()
        return any(counts[outcome] for outcome in REFUSED)

    def first_refusal(self, run: Path) -> str:
        """A sentence on the first scope that was refused, before any that is unknown: its line, and why."""
        refused = (number for number in range(len(self._outcomes)) if self.outcome(number) in REFUSED)
        number = min(refused, key=lambda each: self.outcome(each) == "unknown", default=None)
        if number is None:
            return ""
        line = (
            pq.read_table(str(run / LINES), filesystem=arrow(run), columns=["file", "line"])
            .slice(number, 1)
            .to_pylist()[0]
        )
        place = f"{line['file']} line {line['line']}" if line["file"] else f"row {line['line']}"
        return f"The first: {place}: {self._reasons.get(number, self.outcome(number))}"

    def write(self, run: Path) -> None:
        """Write ``results.parquet``: a row a scope with its line, then a row a deletion."""
        with atomic_write(run / RESULTS) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as file:
            number = 0
            with pq.ParquetFile(str(run / LINES), filesystem=arrow(run)) as lines:
                for batch in lines.iter_batches(columns=["file", "line", "rows"]):
                    rows = [row | self._row(number + place) for place, row in enumerate(batch.to_pylist())]
                    number += len(rows)
                    file.write_table(pa.Table.from_pylist(rows, _SCHEMA))
            deletions = [
                {"action": "delete", "outcome": outcome, "reason": reason, "scope_id": scope_id}
                for scope_id, (outcome, reason) in self._deletions.items()
            ]
            file.write_table(pa.Table.from_pylist(deletions, _SCHEMA))

    def _row(self, number: int) -> dict[str, Any]:
        return {
            "action": _ACTIONS[self._actions[number]],
            "outcome": self.outcome(number),
            "reason": self._reasons.get(number, ""),
            "scope_id": self._ids.get(number),
        }


def table(figures: dict[str, Any]) -> str:
    """The figures of a run as a table for the log; what is nought is left out."""
    names = ("scopes", *OUTCOMES, "deleted", "deletions_held", "rejected", "duplicates", "calls", "looks")
    rows = [f"  {name.replace('_', ' '):<20}{figures[name]:>12,}" for name in names if figures.get(name)]
    return "\n".join(["what became of the pins", *rows])
