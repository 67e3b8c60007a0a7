"""Reading the ledger: what was sent before, which files there are, and what became of them."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.errors import PipelineError
from include.ledger import books, steps
from include.ledger.database import Database
from include.ledger.entries import UNKNOWN, Change, Compared, Count, Entry, Month, Remark, State
from include.ledger.index import count, pieces

_COMPARE = """
    SELECT l.place, f.number, CASE WHEN f.state <> 'confirmed' THEN 3 WHEN u.content = l.content THEN 1 ELSE 2 END
    FROM loaded l CROSS JOIN @units u JOIN @files f ON f.number = u.file WHERE u.book = ? AND u.key = l.key
"""


class Reader:
    """What can be asked; and what is kept between a question and the next."""

    def __init__(self, database: Database, marks: Path | None = None) -> None:
        self._database = database
        self._marks = marks
        self._turns: dict[str, Callable[[], bool]] = {}
        self._attempts: dict[tuple[str, str], int] = {}

    def moved_to(self) -> str:
        """Where this ledger was moved; empty if it is here."""
        with self._database.transaction(write=False) as work:
            return books.moved_to(work)

    def compare(self, book: str, index: Path | pa.Table) -> Compared:
        """What is known of the units of an index, in bulk.

        Raises:
            BadInput: the index is not one.
        """
        codes = np.zeros(count(index), np.uint8)
        units, rows, files = np.zeros(4, np.int64), np.zeros(4, np.int64), set()
        with self._database.transaction(write=False) as work:
            number = steps.find_book(work, book)
            for piece in pieces(index):
                places = piece["place"].to_numpy()
                for place, file, code in work.run(_COMPARE, number, piece=piece).fetchall():
                    codes[place] = code
                    if code == UNKNOWN:
                        files.add(file)
                found = codes[places]
                units += np.bincount(found, minlength=4)
                rows += np.bincount(found, piece["rows"].to_numpy(), minlength=4).astype(np.int64)
            unsettled = steps.entries(work, book, steps.state_in(("sending", "unknown")))
            unknown = [entry for each, entry in unsettled if each in files]
        counts = {code: Count(int(units[code]), int(rows[code])) for code in range(4)}
        return Compared(pa.array(codes), unknown, counts)

    def entry(self, book: str, beginning: str) -> Entry:
        """The file whose SHA-256 begins so.

        Raises:
            PipelineError: there is none, or more than one.
        """
        with self._database.transaction(write=False) as work:
            found = steps.entries(work, book, " AND f.sha256 LIKE ?", f"{_hexadecimal(beginning)}%")
        if len(found) != 1:
            raise PipelineError(f"{book}: {len(found)} files of the ledger begin with {beginning!r}, must be one")
        return found[0][1]

    def entries(self, book: str, states: Collection[State] | None = None) -> list[Entry]:
        """The files of a book, in the order in which they were first claimed; all, or those in some states."""
        with self._database.transaction(write=False) as work:
            return [entry for _, entry in steps.entries(work, book, "" if states is None else steps.state_in(states))]

    def history(self, book: str, sha256: str) -> list[Change]:
        """Who changed the state of a file, when, to what and why, in that order."""
        query = "SELECT at, by_whom, state, why FROM @changes WHERE file = ? ORDER BY number"
        with self._database.transaction(write=False) as work:
            return [Change(*row) for row in work.run(query, steps.known(work, book, sha256)[0]).fetchall()]

    def months(self, book: str) -> list[Month]:
        """How much was sent, by month of purchase and state."""
        query = """
            SELECT m.month, f.state, count(*), sum(m.units), sum(m.rows) FROM @months m JOIN @files f
            ON f.number = m.file WHERE f.book = ? GROUP BY m.month, f.state ORDER BY m.month, f.state
        """
        with self._database.transaction(write=False) as work:
            found = work.run(query, steps.find_book(work, book)).fetchall()
        return [Month(month, state, *map(int, numbers)) for month, state, *numbers in found]

    def books(self) -> list[str]:
        """The names of the books there are."""
        with self._database.transaction(write=False) as work:
            return books.names(work)

    def account(self, book: str) -> str:
        """Whose account at the vendor a book is; empty if no sender has said."""
        with self._database.transaction(write=False) as work:
            return books.account(work, book)

    def remarks(self, book: str) -> list[Remark]:
        """What persons decided about a whole book, in that order."""
        with self._database.transaction(write=False) as work:
            return books.remarks(work, book)


def _hexadecimal(beginning: str) -> str:
    if not beginning or set(beginning) - set("0123456789abcdef"):
        raise PipelineError(f"{beginning!r}: give the SHA-256 of the file, or its first characters (0-9, a-f)")
    return beginning
