"""Any order of claims, outcomes, recoveries, parts and forgetting: the ledger agrees with a model of a few lines."""

import tempfile
from datetime import date, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from include.errors import PipelineError
from include.ledger import CHANGED, NEW, SENT, UNKNOWN, AlreadyClaimed, sqlite_ledger
from tests.include.ledger.workers import BOOK, index_of, note_of, sha256

UNITS = range(8)
NAMES = st.sampled_from("abcd")
HOLDING = ("sending", "confirmed", "unknown")


class Machine(RuleBasedStateMachine):
    """``held`` says for each unit which file has it, with which content and day."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = sqlite_ledger(Path(self.folder.name) / "ledger.sqlite")
        self.held: dict[int, tuple[str, int, int]] = {}
        self.states: dict[str, str] = {}
        self.changes = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(name=NAMES, units=st.sets(st.sampled_from(UNITS)), content=st.integers(1, 2), day=st.integers(0, 2))
    def claim(self, name: str, units: set[int], content: int, day: int) -> None:
        index = index_of(list(units), content=content, day=day)
        free = self.states.get(name) not in HOLDING and not units & self.held.keys()
        try:
            self.ledger.claim(BOOK, note_of(index, name), index, "me")
        except AlreadyClaimed:
            assert not free
            return
        assert free
        self.states[name] = "sending"
        self.changes += 1
        self.held |= dict.fromkeys(units, (name, content, day))

    @rule(name=NAMES, state=st.sampled_from(["confirmed", "refused", "prepared", "unknown"]))
    def settle(self, name: str, state: str) -> None:
        now = self.states.get(name)
        try:
            self.ledger.settle(BOOK, sha256(name), state, "me", "")  # type: ignore[arg-type]
        except PipelineError:
            assert now not in ("sending", "unknown", state)
            return
        assert now in ("sending", "unknown", state)
        if now != state:
            self._end(name, state)

    @rule(name=NAMES, chosen=st.sets(st.sampled_from(UNITS)), state=st.sampled_from(["refused", "prepared", "unknown"]))
    def split(self, name: str, chosen: set[int], state: str) -> None:
        units = {unit for unit in chosen if self.held.get(unit, ("",))[0] == name}
        part = f"part of {name}"
        if not units or self.states.get(name) != "sending" or self.states.get(part) in HOLDING:
            return
        _, content, day = self.held[min(units)]
        index = index_of(list(units), content=content, day=day)
        self.ledger.split(BOOK, sha256(name), note_of(index, part), index, state, "me", "")  # type: ignore[arg-type]
        self.held |= dict.fromkeys(units, (part, content, day))
        self.changes += 1
        self._end(part, state)

    @rule()
    def recover(self) -> None:
        with self.ledger.one_sender(BOOK):
            unknown = self.ledger.recover(BOOK, "me")
        for name in [name for name, state in self.states.items() if state == "sending"]:
            self._end(name, "unknown")
        expected = {sha256(name) for name, state in self.states.items() if state == "unknown"}
        assert {entry.sha256 for entry in unknown} == expected

    @rule(day=st.integers(0, 3))
    def forget(self, day: int) -> None:
        old = {u for u, (name, _, bought) in self.held.items() if self.states[name] == "confirmed" and bought < day}
        assert self.ledger.forget(BOOK, date(1970, 1, 1) + timedelta(days=day)) == len(old)
        self.held = {unit: has for unit, has in self.held.items() if unit not in old}

    @invariant()
    def agrees(self) -> None:
        assert self.ledger.compare(BOOK, index_of(UNITS)).codes.to_pylist() == [self._code(unit) for unit in UNITS]
        entries = self.ledger.entries(BOOK)
        assert {entry.sha256: entry.state for entry in entries} == {sha256(n): s for n, s in self.states.items()}
        assert sum(month.units for month in self.ledger.months(BOOK)) == sum(entry.units for entry in entries)
        assert sum(len(self.ledger.history(BOOK, entry.sha256)) for entry in entries) == self.changes

    def _code(self, unit: int) -> int:
        if unit not in self.held:
            return NEW
        name, content, _ = self.held[unit]
        if self.states[name] != "confirmed":
            return UNKNOWN
        return SENT if content == 1 else CHANGED

    def _end(self, name: str, state: str) -> None:
        self.states[name] = state
        self.changes += 1
        if state not in HOLDING:
            self.held = {unit: has for unit, has in self.held.items() if has[0] != name}


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
