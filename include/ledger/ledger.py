"""The whole ledger: what is read and sent by it, and what only a person decides."""

from collections.abc import Iterator
from datetime import date
from itertools import count, pairwise

from include.errors import PipelineError
from include.ledger import books, marks, steps
from include.ledger.entries import Busy, Entry, State, Unusable
from include.ledger.sending import Sender

_FORGET = """
    DELETE FROM @units WHERE book = ? AND key >= ? AND key < ? AND day < ?
        AND file IN (SELECT number FROM @files WHERE book = ? AND state = 'confirmed')
"""


class Ledger(Sender):
    """The ledger; made by ``sqlite_ledger`` or ``postgres_ledger``."""

    def settle_by_hand(
        self, book: str, beginning: str, state: State, by: str, why: str, *, although_confirmed: bool = False
    ) -> tuple[Entry, Entry]:
        """A person says how an attempt ended; not while its sender is still at work.

        Args:
            book: of the file.
            beginning: of its SHA-256.
            state: how it ended.
            by: who says so.
            why: how he knows.
            although_confirmed: the vendor had confirmed the file, and cancelled it afterwards: ``refused`` frees its
                units. No sender can do that.

        Returns:
            The file before and after.

        Raises:
            Busy: it is being sent right now.
            PipelineError: as :meth:`entry` and :meth:`settle`.
        """
        _check_why(why)
        before = self.entry(book, beginning)
        if although_confirmed:
            return before, self._take_back(before, state, by, why)
        if before.state != "sending":
            return before, self.settle(book, before.sha256, state, by, why)
        if before.of_many:
            raise PipelineError(
                f"{before.label()}: they are requests of their own; some may have arrived and others not. "
                "Nothing was changed. Clear the task `send` of that run first: it takes them apart; then settle each."
            )
        try:
            with self._turn(book, by, wait_seconds=0):
                self.recover(book, by)
                return before, self.settle(book, before.sha256, state, by, why)
        except Busy as error:
            raise Busy(
                f"{before.label()}: is being sent right now; wait for the end of that attempt. {error}"
            ) from None

    def _take_back(self, file: Entry, state: State, by: str, why: str) -> Entry:
        with self._database.transaction() as work:
            number = steps.lock_book(work, file.book)
            own, entry = steps.known(work, file.book, file.sha256)
            if (entry.state, state) != ("confirmed", "refused"):
                raise PipelineError(
                    f"{entry.label()}: is {entry.state}; only what is confirmed can be taken for cancelled, and only "
                    "as refused. Nothing was changed."
                )
            steps.take_back(work, number, own, by, why)
            return steps.known(work, file.book, file.sha256)[1]

    def accept(self, book: str, by: str, why: str) -> str:
        """Go on with this ledger although the mark of a book speaks against it; see ``include.ledger.marks``.

        Returns:
            What was accepted, as a sentence.

        Raises:
            Busy: the book is being sent right now.
            PipelineError: no reason was given, or nothing speaks against it.
        """
        _check_why(why)
        with self._turn(book, by, wait_seconds=0):
            with self._database.transaction() as work:
                try:
                    if self._marks:
                        marks.check(self._marks, book, books.mark(work, book))
                except Unusable:
                    books.remark(work, book, by, "this ledger was accepted", why)
                else:
                    raise PipelineError(f"{book}: nothing speaks against this ledger, so there is nothing to accept")
            return f"this ledger is accepted from now on: {self._mark(book)}"

    def put_aside(self, book: str, by: str, why: str) -> str:
        """The book's next sender has another account: keep it under another name, and begin a new one.

        Returns:
            The name under which it is kept.

        Raises:
            Busy: the book is being sent right now.
            PipelineError: there is none, or no reason was given.
        """
        (publisher, _, room), there = book.partition("/"), self.books()
        names = (f"{publisher}.before-{number}/{room}" for number in count(1))
        aside = next(name for name in names if name not in there)
        self.rename(book, aside, by, why)
        with self._turn(book, by, wait_seconds=0):
            with self._database.transaction() as work:
                books.remark(work, book, by, f"begun anew for another account; the one before is {aside}", why)
            self._mark(book)
        return aside

    def forget_account(self, book: str, by: str, why: str) -> str:
        """The account has another spelling now, such as another host: the next sender gives it.

        Returns:
            The spelling so far.

        Raises:
            Busy: the book is being sent right now.
            PipelineError: no reason was given.
        """
        _check_why(why)
        with self._turn(book, by, wait_seconds=0), self._database.transaction() as work:
            was = books.account(work, book)
            books.remark(work, book, by, f"its account, {was or 'unknown'}, is spelled otherwise now", why)
            books.set_account(work, book, "")
            return was

    def rename(self, old: str, new: str, by: str, why: str) -> None:
        """Give a book another name, for a publisher that has got another name.

        Raises:
            Busy: one of them is being sent right now.
            PipelineError: there is none, or there is one of the new name, or no reason was given.
        """
        _check_why(why)
        with self._turn(old, by, wait_seconds=0), self._turn(new, by, wait_seconds=0):
            with self._database.transaction() as work:
                books.rename(work, old, new)
                books.remark(work, new, by, f"renamed, was {old}", why)
            self._mark(new)
            if self._marks:
                marks.remove(self._marks, old)

    def _mark(self, book: str) -> str:
        """Renew the mark of a book; gives it in words."""
        with self._database.transaction(write=False) as work:
            mark = books.mark(work, book)
        where = f", marked in {marks.write(self._marks, book, mark)}" if self._marks else ""
        return f"{mark.ledger}, newest change of this book {mark.change}{where}"

    def forget(self, book: str, before: date) -> int:
        """Remove the units of confirmed files whose last purchase is before a day; units without a time stay.

        Such a unit would be sent again if it were extracted again: its source must not give it any more, or the build
        must reject it for its age. The files, their history and their months stay.

        Returns:
            How many units were removed.
        """
        with self._database.transaction(write=False) as work:
            number = steps.find_book(work, book)
            total = int(work.run("SELECT coalesce(sum(units), 0) FROM @files WHERE book = ?", number).fetchone()[0])
        day, removed = (before - date(1970, 1, 1)).days, 0
        for start, end in _key_ranges(min(max(total // 200_000, 1), 256)):
            with self._database.transaction() as work:
                removed += work.run(_FORGET, number, start, end, day, number).rowcount
        return removed


def _check_why(why: str) -> None:
    if not why.strip():
        raise PipelineError("say how you know: the reason is kept in the ledger")


def _key_ranges(number: int) -> Iterator[tuple[bytes, bytes]]:
    """All keys, cut into ranges of about the same size."""
    borders = [(256 * each // number) for each in range(number + 1)]
    for start, end in pairwise(borders):
        yield bytes([start]), bytes([end]) if end < 256 else b"\xff" * 17
