"""One bulk call and what follows when it is refused: which lines are at fault, and which were applied all the same.

An answer names fields, hardly ever lines, and whether a refused call applied a part of itself is not documented. So:

- Under ``ignore`` and ``override`` sending again does no harm: the call is sent again in pieces, until each refused
  piece is one line. What the answer seems to name (a line, an identity) only decides how it is cut, so a wrong guess
  costs a call and nothing else.
- Under ``raise`` nothing is sent again that may be there. The export says what is: what was not there before the run
  and is there now was applied by this run; what stands there otherwise is the conflict. Only what is *not* there may
  be sent once more. For an invalid line there is nothing to look at: unless the answer names it, it stays unknown.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.pins.compare import same
from include.pins.results import Outcome, Results
from include.pins.scopes import key
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
_LINE = re.compile(r"\b(?:line|row)s?\s*#?\s*(\d{1,6})\b(?!,?\s*col)", re.IGNORECASE)
"""Not "line 1 column 17": that is a place within the JSON of some line."""
_QUOTED = re.compile(r"""["'`]([^"'`]{1,255})["'`]""")


@dataclass(frozen=True)
class Item:
    """A scope to be sent: its number in the run, which scope it is, and its line."""

    number: int
    key: bytes
    line: bytes

    @property
    def scope(self) -> dict[str, Any]:
        """What the line says."""
        found: dict[str, Any] = json.loads(self.line)
        return found


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
        self._before = before

    def send(self, items: Sequence[Item], *, begun: bool = False) -> bool:
        """Send one call; tells whether the next one may be sent.

        Args:
            items: its lines.
            begun: an earlier try began to send them, and nobody knows how far it came.

        Raises:
            VendorError: what is not about these lines: the key, the tracker, the size, the line to Luigi's Box.
        """
        if self._strategy == "raise":
            return self._send_once(self._look(items)[0] if begun else list(items))
        error = self._try(items)
        if error is None:
            return True
        log.warning("%s Looking for the lines at fault.", error)
        self._note(items, "unknown", f"{_WITH_OTHERS} The search for them did not come to its end. {error}")
        self._search(items, error, hints=True)
        return self._skip_bad

    def _try(self, items: Sequence[Item]) -> VendorError | None:
        """Send these lines; gives the error if it is about them. Whatever else happens leaves them noted."""
        self.calls += 1
        self._note(items, "unknown", "no answer came")
        try:
            self._client.bulk(b"".join(item.line + b"\n" for item in items), self._strategy)
        except (Invalid, Conflict) as error:
            return error
        except (PermanentError, RateLimited, Unreachable) as error:
            if not isinstance(error, Unreachable) or self._strategy == "raise":  # a lost call is FateUnknown there
                self._note(items, "not_sent", str(error))
            raise
        self._note(items, "applied")
        return None

    def _note(self, items: Sequence[Item], outcome: Outcome, reason: str = "") -> None:
        self._results.set((item.number for item in items), outcome, reason)

    def _search(self, items: Sequence[Item], error: VendorError, *, hints: bool) -> None:
        """Cut what was refused together, and send the pieces, until the lines at fault are alone."""
        if len(items) == 1:
            self._note(items, _outcome_of(error), str(error))
            return
        guess = named(items, error.details) if hints else []
        by_hint = 0 < len(guess) <= len(items) // 2
        half = len(items) // 2
        first, second = (guess, _without(items, guess)) if by_hint else (items[:half], items[half:])
        refused = self._piece(first, error, hints=hints)
        self._piece(second, error, hints=hints and (refused or not by_hint))

    def _piece(self, items: Sequence[Item], error: VendorError, *, hints: bool) -> bool:
        """Send a piece of a refused call; tells whether it is refused too."""
        if self._left <= 0:
            reason = f"one or more of {len(items):,} lines are refused; max_calls were used up. {error}"
            self._note(items, "unknown", reason)
            return True
        self._left -= 1
        again = self._try(items)
        if again is not None:
            self._search(items, again, hints=hints)
        return again is not None

    def _send_once(self, items: list[Item]) -> bool:
        """Under ``raise``: send what is not there yet, and look after each call that went wrong."""
        refused, lost = False, 0
        while items:
            try:
                error = self._try(items)
            except FateUnknown as unknown:
                error, lost = unknown, lost + 1
            if error is None:
                break
            sent = items
            items, there = self._look(sent)
            if isinstance(error, FateUnknown):
                self._after_loss(items, error, lost)
            else:
                bad = self._at_fault(sent, items, error, there)
                refused = refused or bool(items)
                items = self._after_refusal(items, bad, error)
            self._left -= 1
        return self._skip_bad or not refused

    def _look(self, items: Sequence[Item]) -> tuple[list[Item], Scopes]:
        """Note as applied what the export has since this run began; gives what is left, and what is there of it."""
        self.looks += 1
        keys, before = {item.key for item in items}, self._before()
        there = {found: scope for scope in self._client.export() if (found := key(scope)) in keys}
        applied = [
            item for item in items if item.key not in before and item.key in there and same(there[item.key], item.scope)
        ]
        self._note(applied, "applied", "found in the export after a call without an answer, or one that was refused")
        return _without(items, applied), there

    def _after_loss(self, items: list[Item], error: VendorError, lost: int) -> None:
        """Wait before what a lost call did not leave there is sent once more; not for ever."""
        retry = self._client.retry
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

    def _at_fault(self, sent: list[Item], left: list[Item], error: VendorError, there: Scopes) -> list[Item]:
        """Which of the lines that are left are at fault, as far as that can be known; an answer counts those sent."""
        if isinstance(error, Conflict) and (found := [item for item in left if item.key in there]):
            return found
        guess = {item.number for item in named(sent, error.details)}
        return [item for item in left if item.number in guess]

    def _after_refusal(self, items: list[Item], bad: list[Item], error: VendorError) -> list[Item]:
        """Note what became of the lines of a refused call; gives what may be sent again."""
        self._note(bad, _outcome_of(error), str(error))
        rest = _without(items, bad)
        if bad and self._skip_bad and self._left > 0:
            return rest
        outcome: Outcome = "not_sent" if bad else "unknown"
        self._note(rest, outcome, f"{_WITH_OTHERS if bad else _CANNOT_KNOW} {error}")
        return []


_WITH_OTHERS = "Refused together with the lines at fault."
_CANNOT_KNOW = (
    "The call was refused, and neither the answer nor the export says for which line; under ignore or override it is "
    "looked for."
)


def _outcome_of(error: VendorError) -> Outcome:
    return "conflict" if isinstance(error, Conflict) else "invalid"


def _without(items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    gone = {item.number for item in others}
    return [item for item in items if item.number not in gone]


def named(items: Sequence[Item], details: Mapping[str, Any]) -> list[Item]:
    """The lines of a call that an answer's details seem to name: by number, from 1, or by a target's identity."""
    text = json.dumps(details, ensure_ascii=False)
    said = [str(each) for each in _texts(details)]
    numbers = {int(found) for found in _LINE.findall(text)}
    quoted = {found for each in said for found in _QUOTED.findall(each)} | set(said)
    if not numbers and not quoted:
        return []
    return [
        item
        for place, item in enumerate(items, 1)
        if place in numbers or item.scope.get("target_identity", "") in quoted
    ]


def _texts(said: Any) -> list[str]:
    """Every text in the details, keys too."""
    if isinstance(said, Mapping):
        return [*map(str, said), *(text for each in said.values() for text in _texts(each))]
    if isinstance(said, list):
        return [text for each in said for text in _texts(each)]
    return [said] if isinstance(said, str) else []
