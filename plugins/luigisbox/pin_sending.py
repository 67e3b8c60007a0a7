"""A run of pins: create all of them, or make what is there what is wanted; and what became of each line.

``results.parquet`` is written whatever happens. A task that is tried again, or cleared, sends only what is not applied
(``luigisbox.pin_notes``).
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from include.errors import BadInput, PipelineError
from include.pins import changes, compare
from include.pins.newest import Newest
from include.pins.parts import Part, read_parts
from include.pins.results import RESULTS, Results, table
from include.pins.scopes import key
from include.publishers.senders import Pins
from include.staging import read_json, write_json
from luigisbox.pin_calls import Calls
from luigisbox.pin_items import Item
from luigisbox.pin_notes import Notes
from luigisbox.pins import PinClient, Strategy
from luigisbox.uploads import manifest_of
from vendor_http.errors import Conflict, Invalid, NotFound

Mode = Literal["create", "sync"]
log = logging.getLogger(__name__)
BEFORE = "before.json"
"""What was there before a run under ``raise``; kept, since a second try must know its own scopes from others'."""


def send_pins(
    client: PinClient,
    run: Path,
    settings: Pins,
    newest: Newest,
    *,
    mode: Mode,
    conflict_strategy: Strategy,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Send the scopes of a run that was built.

    Args:
        client: of the publisher's tracker.
        run: the run's folder.
        settings: of the publisher.
        newest: the newest pins that were sent. What replaces or deletes must not be older; a creation under ``raise``
            or ``ignore`` leaves what is there alone, so it may come late, as in a backfill.
        mode: ``create`` sends all; ``sync`` only what differs, and deletes if the publisher says so.
        conflict_strategy: of bulk calls.
        dry_run: show the difference, change nothing.

    Returns:
        The run's figures.

    Raises:
        BadInput: the run was not built, newer pins were sent, or a sync has nothing that is wanted, or too much to
            delete; nothing was done.
        PipelineError: scopes were refused and the publisher does not skip them, or nobody knows what became of some.
        VendorError: Luigi's Box did not take a call; what became of each line so far is in ``results.parquet``.
    """
    manifest = manifest_of(run, "pins")
    sending = _Sending(client, run, settings, conflict_strategy, manifest)
    if mode == "sync" and not manifest["scopes"]:
        raise BadInput(
            "no pins are wanted. A sync with nothing is never made: it would delete all pins there are, and an empty "
            "source is more often a mistake. Nothing was done. To delete them, do so at Luigi's Box or by the hook."
        )
    if dry_run:
        return sending.show(mode)
    if mode == "sync" or conflict_strategy == "override":
        newest.refuse_if_older()
    try:
        sending.notes.recall()
        if mode == "sync":
            sending.sync(newest.note)
        else:
            sending.create(newest.note)
    finally:
        sending.results.write(run)
        log.info("%s", table(sending.figures()))
    sending.check()
    return {"mode": mode, "conflict_strategy": conflict_strategy, "dry_run": False, **sending.figures()}


class _Sending:
    """One try of a run."""

    def __init__(
        self, client: PinClient, run: Path, settings: Pins, strategy: Strategy, manifest: dict[str, Any]
    ) -> None:
        self.results = Results(manifest["scopes"])
        self._client = client
        self._run = run
        self._settings = settings
        self._strategy = strategy
        self._manifest = manifest
        self._extra = self._held = 0
        self._there: frozenset[bytes] | None = None
        self._calls = Calls(
            client,
            strategy,
            self.results,
            skip_bad=settings.skip_bad,
            max_calls=settings.max_calls,
            before=lambda: self._there or frozenset(),
        )
        self.notes = Notes(run, manifest, strategy, self.results, self._calls)

    def figures(self) -> dict[str, int]:
        """Counts of all there is to count."""
        books = self._manifest["books"]
        return {
            "scopes": self._manifest["scopes"],
            **self.results.counts(),
            "deleted": self.results.deleted(),
            "deletions_held": self._held,
            "not_wanted": self._extra,
            "rejected": books["rejected"],
            "duplicates": books["duplicates"],
            "calls": self._calls.calls,
            "looks": self._calls.looks,
        }

    def show(self, mode: Mode) -> dict[str, Any]:
        """Log what a run would change, and write ``diff.parquet``."""
        deletes = mode == "sync" and self._settings.delete
        found = self._diff() if mode == "sync" else self._diff_of_creation()
        self._tell(found, "\n  (a dry run: nothing was changed)", delete=deletes)
        return {
            "mode": mode,
            "dry_run": True,
            "create": len(found.create),
            "replace": len(found.replace),
            "unchanged": len(found.unchanged),
            "conflict": len(found.conflict),
            "delete": len(found.extra) if deletes else 0,
            "not_wanted": len(found.extra),
        }

    def create(self, begin: Callable[[], None]) -> None:
        """Send all scopes that no earlier try of this run has applied; ``begin`` is called before the first leaves."""
        if self._strategy == "raise" and self._manifest["scopes"]:
            self._there = self._before()
        begin()
        for part in read_parts(self._run, self._manifest):
            items = [item for item in _items(part) if self.results.outcome(item.number) != "applied"]
            if items and not self._send(part, items):
                break

    def sync(self, begin: Callable[[], None]) -> None:
        """Create and replace what differs, then delete what is not wanted; ``begin`` as in :meth:`create`."""
        found = self._diff()
        self._extra = len(found.extra)
        self._tell(found, "", delete=self._settings.delete)
        self._refuse_too_many(found)
        begin()
        self.results.set(found.unchanged, "unchanged")
        self._calls.settle(found.unchanged)
        create, replace = frozenset(found.create), dict(found.replace)
        for part in read_parts(self._run, self._manifest):
            items = _items(part)
            new = [item for item in items if item.number in create]
            others = [item for item in items if item.number in replace]
            if (new or others) and not self._send(part, new, others, replace):
                break
        if self._settings.delete:
            self._delete(list(found.extra))

    def _send(
        self, part: Part, new: list[Item], others: Sequence[Item] = (), replace: Mapping[int, str] | None = None
    ) -> bool:
        """Create scopes of a part, and replace others; tells whether to go on."""
        numbers = [item.number for item in (*new, *others)]
        begun = bool(self._calls.open_of(numbers))
        self.notes.remember(part, numbers)
        try:
            return (not new or self._calls.send(new, begun=begun and replace is None)) and all(
                self._replace(item, (replace or {})[item.number]) for item in others
            )
        finally:
            self.notes.remember(part)

    def _diff(self) -> compare.Diff:
        there = self._client.export()
        compare.refuse_doubled(there)
        self._there = frozenset(map(key, there))
        return compare.diff(there, self._wanted())

    def _diff_of_creation(self) -> compare.Diff:
        return compare.of_creation(compare.diff(self._client.export(), self._wanted()), self._strategy)

    def _tell(self, found: compare.Diff, more: str, *, delete: bool) -> None:
        changes.write_diff(self._run, found, read_parts(self._run, self._manifest), delete=delete)
        log.info("%s\n%s%s", changes.table(found, delete=delete), changes.first_of(self._run), more)

    def _wanted(self) -> Iterator[dict[str, Any]]:
        for part in read_parts(self._run, self._manifest):
            yield from map(json.loads, part.lines)

    def _refuse_too_many(self, found: compare.Diff) -> None:
        most, going = self._settings.max_deletions, len(found.extra)
        if self._settings.delete and going > most:
            there = going + len(found.replace) + len(found.unchanged)
            raise BadInput(
                f"{going:,} of the {there:,} scopes that are there would be deleted, more than pins.max_deletions = "
                f"{most:,}. Nothing was done: nothing created ({len(found.create):,}) or replaced "
                f"({len(found.replace):,}) either. All of it is listed in {self._run / changes.DIFF}. If the source is "
                "right, raise the limit."
            )

    def _replace(self, item: Item, number: str) -> bool:
        """Tells whether to go on."""
        self.results.replaces(item.number, number)
        self._calls.leave([item.number])
        try:
            self._client.replace(number, item.scope)
        except (Conflict, NotFound) as error:
            self.results.set([item.number], "conflict", f"changed at Luigi's Box meanwhile: {error}")
        except Invalid as error:
            self.results.set([item.number], "invalid", str(error))
        else:
            self.results.set([item.number], "applied")
        self._calls.settle([item.number])
        return self._settings.skip_bad or self.results.outcome(item.number) == "applied"

    def _delete(self, ids: Sequence[str]) -> None:
        """Delete what is not wanted, but only if all that is wanted is known and there."""
        why = ""
        if self._manifest["books"]["rejected"]:
            why = "lines of this run were rejected, and one of them may want this scope"
        elif self.results.refused():
            why = "scopes of this run were refused"
        self._held = len(ids) if why else 0
        if self._held:
            log.warning("%d scopes that are not wanted stay: %s.", self._held, why)
        for number in ids:
            self.results.deletion(number, "not_sent", why)
            if not why:
                self._delete_one(number)

    def _delete_one(self, number: str) -> None:
        self.results.deletion(number, "unknown", "no answer came")
        try:
            self._client.delete(number)
        except NotFound:
            self.results.deletion(number, "applied", "was gone already")
        else:
            self.results.deletion(number, "applied")

    def check(self) -> None:
        """Fail the run for what it must not pass over.

        Raises:
            PipelineError: scopes were refused and are not to be skipped, or of some nobody knows what became of them.
        """
        counts = self.results.counts()
        if not self.results.refused() or (self._settings.skip_bad and not counts["unknown"]):
            return
        advice = (
            "Mend the source, or raise pins.max_calls, and run again."
            if self._settings.skip_bad
            else "Mend the source and run again; with pins.skip_bad the others are sent all the same."
        )
        told = ", ".join(f"{outcome.replace('_', ' ')} {rows:,}" for outcome, rows in counts.items() if rows)
        raise PipelineError(
            f"of {self._manifest['scopes']:,} scopes: {told}. {self.results.first_refusal(self._run)} Each with its "
            f"line and reason is in {self._run / RESULTS}. {advice} What was applied is not sent again when this task "
            "is cleared."
        )

    def _before(self) -> frozenset[bytes]:
        """Keys of what was there when this run first looked."""
        path = self._run / BEFORE
        if not path.exists():
            write_json(path, {"keys": sorted({key(scope).hex() for scope in self._client.export()})})
        return frozenset(map(bytes.fromhex, read_json(path)["keys"]))


def _items(part: Part) -> list[Item]:
    pairs = zip(part.keys, part.lines, strict=True)
    return [Item(number, of_scope, line) for number, (of_scope, line) in enumerate(pairs, part.first)]
