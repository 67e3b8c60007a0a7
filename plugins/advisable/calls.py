"""How a group of units is sent, and what became of each: together by one request, or side by side by one each."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from include.errors import PipelineError
from vendor_http.errors import NotFound, PermanentError, Redirected, TooSlow, TransientError, Unauthorized

if TYPE_CHECKING:
    from advisable.client import Client
    from include.publishers.senders import Interactions, InteractionType

Outcome = Literal["confirmed", "refused", "prepared", "unknown"]
"""The ledger's words; ``prepared``: it did not leave, or arrived nowhere."""


@dataclass(frozen=True)
class Fate:
    """What became of one unit, and the error if it is not confirmed."""

    outcome: Outcome
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Of a unit that was not confirmed; there is no customer's id in it."""
        return str(self.error or "")


CONFIRMED = Fate("confirmed")


class Calls(Protocol):
    """One way to send groups."""

    size: int
    """Most units of a group: what a crash may leave unknown."""
    together: bool
    """Whether a group is one request, so that its units have one fate."""

    def send(self, lines: list[bytes]) -> list[Fate]:
        """Send a group; never raises."""


class Batches:
    """Purchases: all of a group by one request."""

    together = True

    def __init__(self, client: "Client") -> None:
        self.size = client.settings.batch_size
        self._client = client

    def send(self, lines: list[bytes]) -> list[Fate]:
        """Send a group; never raises."""
        fate = _fate(partial(self._client.create_purchases, b"[" + b",".join(lines) + b"]"))
        if isinstance(fate.error, NotFound):
            fate = Fate("prepared", fate.error)  # the path is wrong, or the app: no purchase is at fault
        return [fate] * len(lines)


class Singles:
    """All others: one request each, so many at a time."""

    together = False

    def __init__(self, call: Callable[[bytes], None], threads: ThreadPoolExecutor, concurrency: int) -> None:
        self.size = concurrency
        self._call = call
        self._threads = threads

    def send(self, lines: list[bytes]) -> list[Fate]:
        """Send a group; never raises."""
        return list(self._threads.map(lambda line: _fate(partial(self._call, line)), lines))


@contextmanager
def calls_for(client: "Client", settings: "Interactions", kind: "InteractionType") -> Iterator[Calls]:
    """How interactions of a type are sent."""
    if kind == "purchase":
        yield Batches(client)
        return
    with side_by_side(partial(client.create, kind), settings.concurrency) as calls:
        yield calls


@contextmanager
def side_by_side(call: Callable[[bytes], None], concurrency: int) -> Iterator[Singles]:
    """One request for each line, so many at a time."""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="advisable") as threads:
        yield Singles(call, threads, concurrency)


def _fate(call: Callable[[], None]) -> Fate:
    """What became of a request: only failures that are known to store nothing free a unit."""
    try:
        call()
    except (Unauthorized, Redirected, TransientError, TooSlow) as error:
        return Fate("prepared", error)
    except (PermanentError, PipelineError) as error:
        return Fate("refused", error)
    except Exception as error:  # noqa: BLE001 - whatever it was, the request may have arrived
        return Fate("unknown", error)
    return CONFIRMED
