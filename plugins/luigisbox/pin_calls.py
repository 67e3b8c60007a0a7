"""One bulk call and what follows when it is refused: which lines are at fault, and which were applied all the same.

An answer names fields, hardly ever lines, and whether a refused call applied a part of itself is not documented. So:

- A refused call is sent again in pieces, until each refused piece is one line; only a line that was refused alone is at
  fault. What the answer seems to name (a line, an identity) only decides how it is cut, so a wrong guess costs a call
  and nothing else.
- Under ``ignore`` and ``override`` that does no harm, whatever the calls before left there.
- Under ``raise`` nothing is sent again that may be there. The export, read after each call that was refused or lost,
  says what is: what was not there before the run and is there now was applied by this run; what stands there otherwise
  is a conflict. Only what is *not* there is sent once more: after a refusal, since its answer says that Luigi's Box is
  done with the call; after a lost call, which may still be at work, only after a pause, and not for ever.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from include.pins.compare import same
from include.pins.results import REFUSED, Outcome, Results
from include.pins.scopes import key
from luigisbox.pin_items import Item, named
from luigisbox.pins import PinClient, Strategy
from vendor_http.errors import (
    Conflict,
    FateUnknown,
    Invalid,
    PermanentError,
    RateLimited,
    ServerError,
    Unreachable,
    VendorError,
)

Scopes = Mapping[bytes, Mapping[str, Any]]
log = logging.getLogger(__name__)


class Calls:
    """Sends calls and notes what became of their lines.

    Args:
        client: of the tracker.
        strategy: what happens to scopes that are there already.
        results: where it is noted.
        skip_bad: whether the others are sent when some are refused.
        max_calls: most calls and looks that only serve to find out.
        before: keys of the scopes that were there before the run; used under ``raise`` only.
    """

    def __init__(
        self,
        client: PinClient,
        strategy: Strategy,
        results: Results,
        *,
        skip_bad: bool,
        max_calls: int,
        before: Callable[[], frozenset[bytes]],
    ) -> None:
        self.calls = self.looks = 0
        self._client = client
        self._strategy = strategy
        self._results = results
        self._skip_bad = skip_bad
        self._left = max_calls
        self._open: set[int] = set()
        self._before = before

    def send(self, items: Sequence[Item], *, begun: bool = False) -> bool:
        """Send one call; tells whether the next one may be sent.

        Args:
            items: its lines.
            begun: an earlier try sent some of them, and nobody knows what became of those.

        Raises:
            VendorError: what is not about these lines: the key, the tracker, the size, the line to Luigi's Box.
        """
        sent = self._look(items)[0] if begun and self._strategy == "raise" else list(items)
        left, error = self._answer(sent)
        if error is None:
            return True
        if isinstance(error, Conflict) and not self._skip_bad and self._conflicts(sent):
            self._note(left, "not_sent", f"{_WITH_OTHERS} {error}")
            return False
        log.warning("%s Looking for the lines at fault.", error)
        self._note(left, "unknown", f"{_WITH_OTHERS} The search for them did not come to its end. {error}")
        self._search(sent, left, error, hints=True)
        return self._skip_bad or not self._refused(sent)

    def leave(self, numbers: Iterable[int], reason: str = "no answer came") -> None:
        """Note that these scopes leave, or left in an earlier try: until an answer comes they may be there."""
        leaving = list(numbers)
        self._open.update(leaving)
        self._results.set(leaving, "unknown", reason)

    def settle(self, numbers: Iterable[int]) -> None:
        """Note that it is known what became of these scopes."""
        self._open.difference_update(numbers)

    def open_of(self, numbers: Iterable[int]) -> list[int]:
        """Those of these scopes that may be there."""
        return [number for number in numbers if number in self._open]

    def _answer(self, items: list[Item]) -> tuple[list[Item], VendorError | None]:
        """Send until an answer comes; gives what is neither applied nor known to conflict, and the error about it."""
        lost = 0
        while items:
            try:
                error = self._try(items)
            except FateUnknown as unknown:  # under raise only
                lost += 1
                items, _ = self._look(items)
                self._after_loss(items, unknown, lost)
                continue
            if error is None or self._strategy != "raise":
                return ([] if error is None else items), error
            return self._after_refusal(items, error), error
        return [], None

    def _try(self, items: Sequence[Item]) -> VendorError | None:
        """Send these lines; gives the error if it is about them. Whatever else happens leaves them noted."""
        self.calls += 1
        numbers = [item.number for item in items]
        before = set(self.open_of(numbers))
        self.leave(numbers)
        try:
            self._client.bulk(b"".join(item.line + b"\n" for item in items), self._strategy)
        except (Invalid, Conflict) as error:
            return error
        except (PermanentError, RateLimited, Unreachable) as error:
            if isinstance(error, Unreachable) and self._strategy != "raise":  # under raise it is one that never left
                raise
            fresh = set() if isinstance(error.__cause__, VendorError) else set(numbers) - before
            self._open -= fresh
            self._results.set(fresh, "not_sent", str(error))
            self._results.set(self.open_of(numbers), "unknown", f"{_SENT_BEFORE} {error}")
            raise
        self._note(items, "applied")
        self.settle(numbers)
        return None

    def _note(self, items: Sequence[Item], outcome: Outcome, reason: str = "") -> None:
        self._results.set((item.number for item in items), outcome, reason)

    def _refused(self, items: Sequence[Item]) -> bool:
        return any(self._results.outcome(item.number) in REFUSED for item in items)

    def _conflicts(self, items: Sequence[Item]) -> bool:
        return any(self._results.outcome(item.number) == "conflict" for item in items)

    def _search(self, sent: Sequence[Item], left: list[Item], error: VendorError, *, hints: bool) -> None:
        """Cut what a refused call left, and send the pieces, until the lines at fault are alone."""
        if len(sent) == 1:
            self._note(left, _outcome_of(error), str(error))
            self.settle(item.number for item in left)
            return
        if isinstance(error, Conflict) and self._conflicts(sent):  # which explains it
            self._piece(left, error, hints=hints)
            return
        guess = {item.number for item in named(sent, error.details)} if hints else set()
        first = [item for item in left if item.number in guess]
        by_hint = 0 < len(first) <= len(left) // 2
        first = first if by_hint else left[: (len(left) + 1) // 2]
        refused = self._piece(first, error, hints=hints)
        self._piece(_without(left, first), error, hints=hints and (refused or not by_hint))

    def _piece(self, items: list[Item], error: VendorError, *, hints: bool) -> bool:
        """Send a piece of a refused call; tells whether it is refused too."""
        if not items:
            return False
        if self._left <= 0:
            reason = f"{_WITH_OTHERS} max_calls were used up before these {len(items):,} could be sent again. {error}"
            self._note(items, "unknown", reason)
            return True
        self._left -= 1
        left, again = self._answer(items)
        if again is not None:
            self._search(items, left, again, hints=hints)
        return again is not None

    def _look(self, items: Sequence[Item]) -> tuple[list[Item], Scopes]:
        """Note as applied what the export has since this run began; gives what is left, and what is there of it."""
        self.looks += 1
        keys, before = {item.key for item in items}, self._before()
        there = {found: scope for scope in self._client.export() if (found := key(scope)) in keys}
        applied = [
            item for item in items if item.key not in before and item.key in there and same(there[item.key], item.scope)
        ]
        self._note(applied, "applied", "found in the export after a call without an answer, or one that was refused")
        self.settle(item.number for item in applied)
        return _without(items, applied), there

    def _after_loss(self, items: list[Item], error: VendorError, lost: int) -> None:
        """Wait before what a lost call did not leave there is sent once more; not for ever."""
        retry = self._client.retry
        self._left -= 1
        if not items:
            return
        if lost < retry.attempts and self._left > 0:
            log.warning("%s %d of its scopes are not there; they are sent once more.", error, len(items))
            retry.sleep(min(retry.cap_seconds, retry.base_seconds * 2.0 ** (lost - 1)))
            return
        self._note(items, "unknown", str(error))
        raise ServerError(  # to be tried again by Airflow, after its pause: the next try looks before it sends
            f"{error} {len(items):,} of its scopes are not in the export. Luigi's Box may still be at work on them; "
            "the next try of this task looks again, and does not send what is there by then.",
            status=error.status,
        ) from error

    def _after_refusal(self, items: list[Item], error: VendorError) -> list[Item]:
        """Under ``raise``: note what of a refused call is there, by whomever; gives the rest, which is not."""
        left, there = self._look(items)
        conflicts = [item for item in left if item.key in there]
        self._note(conflicts, "conflict", f"Something else stands there for its target. {error}")
        self.settle(item.number for item in left)
        return _without(left, conflicts)


_WITH_OTHERS = "Refused together with the lines at fault."
_SENT_BEFORE = "It was sent before this, and may be there."


def _outcome_of(error: VendorError) -> Outcome:
    return "conflict" if isinstance(error, Conflict) else "invalid"


def _without(items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    gone = {item.number for item in others}
    return [item for item in items if item.number not in gone]
