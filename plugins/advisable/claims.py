"""Groups of units on their way: claimed before the first byte, settled unit by unit after it.

While a group is on its way its lines lie in ``claims/`` of the run, and the ledger names that file. So what a killed
process leaves can be told apart, unit by unit: each becomes a file of its own in the ledger, of unknown fate, that
somebody can look for at the vendor and settle for itself. Files of what is settled are removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import ConfigError
from include.interactions.units import Group
from include.ledger import Entry, FileNote, State
from include.staging import atomic_write, to_path
from ledgers.policy import SEEN

if TYPE_CHECKING:
    from advisable.calls import Fate
    from include.ledger import Ledger

CLAIMS = "claims"
_TOGETHER = b"together"


@dataclass(frozen=True)
class Claims:
    """The claims of one run in one book."""

    ledger: "Ledger"
    book: str
    run: Path
    name: str
    """How the ledger calls the run."""
    by: str

    def claim(self, group: Group, *, together: bool) -> None:
        """Take a group; it is on disk when this returns, and nobody else has any of it."""
        self._keep(group, together=together)
        self.ledger.claim(self.book, self._note(group), group.index, self.by)

    def settle(self, group: Group, fates: Sequence["Fate"], *, together: bool) -> list[Entry]:
        """Say how a group ended; gives the entries of unknown fate. A crash on the way leaves the rest unknown."""
        places: dict[str, list[int]] = {}
        for place, fate in enumerate(fates):
            places.setdefault(fate.outcome, []).append(place)
        if together or len(group) == 1:
            (outcome,) = places
            entry = self.ledger.settle(self.book, group.sha256, fates[0].outcome, self.by, _note(fates[0]))
            if outcome != "unknown":
                self._path(group).unlink(missing_ok=True)
            return [entry] if outcome == "unknown" else []
        unknown = [self._alone(group, place, _note(fates[place])) for place in places.get("unknown", [])]
        states: tuple[Literal["prepared", "refused"], ...] = ("prepared", "refused")
        for state in states:
            if state in places and len(places[state]) < len(group):
                part, note = group.take(places[state]), _reasons(fates, places[state])
                self.ledger.split(self.book, group.sha256, self._note(part), part.index, state, self.by, note)
        rest: Literal["confirmed", "prepared", "refused"] = "confirmed"
        if "confirmed" not in places:
            rest = "refused" if set(places) == {"refused"} else "prepared"
        self.ledger.settle(self.book, group.sha256, rest, self.by, "" if rest == "confirmed" else fates[0].reason)
        self._path(group).unlink(missing_ok=True)
        return unknown

    def recover(self) -> None:
        """Inside ``one_sender``: what a dead sender left becomes unknown, units with a request each one by one."""
        left: tuple[State, ...] = ("sending",)
        for entry in self.ledger.entries(self.book, left):
            found = _read(entry)
            if found is None or len(found) == 1:
                continue
            mine = Claims(self.ledger, self.book, to_path(entry.uri).parent.parent, entry.run, self.by)
            for place in range(len(found)):
                if self._holds(entry, found.take([place])):  # or it was settled before the process died
                    mine._alone(found, place, f"its sender ended without saying how ({entry.claimed_by})")
            self.ledger.settle(self.book, entry.sha256, "prepared", self.by, "its units are files of their own now")
            to_path(entry.uri).unlink(missing_ok=True)
        self.ledger.recover(self.book, self.by)

    def tidy(self) -> None:
        """Remove the files of what has been settled since; nothing else goes by what a folder lists."""
        unsettled: tuple[State, ...] = ("sending", "unknown")
        kept = {entry.sha256 for entry in self.ledger.entries(self.book, unsettled)}
        for path in (self.run / CLAIMS).glob("*.parquet"):
            if path.stem not in kept:
                path.unlink()

    def _holds(self, entry: Entry, unit: Group) -> bool:
        return any(each.sha256 == entry.sha256 for each in self.ledger.compare(self.book, unit.index).unknown)

    def _alone(self, group: Group, place: int, why: str) -> Entry:
        unit = group.take([place])
        self._keep(unit, together=False)
        return self.ledger.split(self.book, group.sha256, self._note(unit), unit.index, "unknown", self.by, why)

    def _note(self, group: Group) -> FileNote:
        units = len(group)
        return FileNote(group.sha256, self._path(group).as_uri(), units, units, group.bytes, self.name)

    def _path(self, group: Group) -> Path:
        return self.run / CLAIMS / f"{group.sha256}.parquet"

    def _keep(self, group: Group, *, together: bool) -> None:
        table = group.index.append_column("line", pa.array(group.lines, pa.large_binary()))
        with atomic_write(self._path(group)) as temporary:
            pq.write_table(table.replace_schema_metadata({_TOGETHER: b"1" if together else b""}), temporary)


def _read(entry: Entry) -> Group | None:
    """The group of a claim whose units have a request each; None if it is one request, or its file is not there."""
    try:
        table = pq.read_table(pa.BufferReader(to_path(entry.uri).read_bytes()))
    except (FileNotFoundError, pa.ArrowInvalid, ConfigError):
        return None
    if (table.schema.metadata or {}).get(_TOGETHER):
        return None
    lines = table["line"].to_pylist()
    return Group(lines, table.drop_columns(["line"]).replace_schema_metadata(None), entry.uri)


def _note(fate: "Fate") -> str:
    """Why a unit ended so; of one of unknown fate it says that its sender is through."""
    return f"{SEEN}{fate.reason}" if fate.outcome == "unknown" else fate.reason


def _reasons(fates: Sequence["Fate"], places: list[int]) -> str:
    return "; ".join(sorted({fates[place].reason for place in places})[:3])
