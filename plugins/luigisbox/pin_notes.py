"""What a run keeps of its calls: ``sent/pins-NNNNN.json``, written before a call leaves and after it.

It says which lines are applied, so that another try sends only the others, and which left without an answer, so that no
later try says of them that they were not sent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from include.pins.parts import Part
from include.pins.results import Results
from include.staging import read_json, write_json
from luigisbox.pin_calls import Calls
from luigisbox.pins import Strategy


class Notes:
    """The notes of one run, for a try under one strategy."""

    def __init__(
        self, run: Path, manifest: Mapping[str, Any], strategy: Strategy, results: Results, calls: Calls
    ) -> None:
        self._run = run
        self._manifest = manifest
        self._strategy = strategy
        self._results = results
        self._calls = calls

    def recall(self) -> None:
        """Take over what earlier tries of this run applied, and what they sent without an answer."""
        first = 0
        for chunk in self._manifest["chunks"]:
            path = self._path(chunk["name"])
            noted = read_json(path) if path.exists() else {}
            if noted.get("sha256") == chunk["sha256"]:
                same = noted["conflict_strategy"] == self._strategy
                left = noted["open"] if same else [*noted["open"], *noted["applied"]]
                self._calls.leave((first + place for place in left), "an earlier try of this run sent it")
                if same:
                    self._results.set((first + place for place in noted["applied"]), "applied")
            first += chunk["rows"]

    def remember(self, part: Part, leaving: Sequence[int] = ()) -> None:
        """Note what is applied of a part, and what left, or is about to, without an answer."""
        numbers = range(part.first, part.first + len(part.lines))
        applied = [number - part.first for number in numbers if self._results.outcome(number) == "applied"]
        left = sorted({number - part.first for number in (*self._calls.open_of(numbers), *leaving)})
        content = {"sha256": part.sha256, "conflict_strategy": self._strategy, "applied": applied, "open": left}
        write_json(self._path(part.name), content)

    def _path(self, part: str) -> Path:
        return self._run / "sent" / Path(part).with_suffix(".json").name
