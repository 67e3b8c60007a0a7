"""Sending by the ledger: one sender at a time, what it claims, and how its attempts end."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from include.errors import ConfigError, PipelineError, StoreError
from include.ledger import books, fence, marks, steps
from include.ledger.database import Work
from include.ledger.entries import Busy, Entry, FileNote, Overtaken, State, Unusable
from include.ledger.reading import Reader

log = logging.getLogger(__name__)
WAIT_SECONDS = 3600.0


class Sender(Reader):
    """What the sender of a book does."""

    @contextmanager
    def one_sender(
        self, book: str, by: str = "", wait_seconds: float = WAIT_SECONDS, account: str = ""
    ) -> Iterator[None]:
        """Be the only sender of a book, across processes. The lock goes with the process, however that dies.

        So what is ``sending`` while one holds it was left by a dead sender; see :meth:`recover`.

        Args:
            book: such as ``shop/transactions``.
            by: who, for those who wait.
            wait_seconds: how long to wait for another sender.
            account: at the vendor, such as ``{tracker}@{base_url}``; empty: not checked.

        Raises:
            Busy: another one was still sending after that time.
            Unusable: this is not the ledger, or not the account, by which the book was sent.
        """
        with self._turn(book, by, wait_seconds):
            if self._marks or account:
                with self._database.transaction() as work:
                    steps.lock_book(work, book)
                    if self._marks:
                        self._check_mark(self._marks, book, books.mark(work, book))
                    if account:
                        books.bind(work, book, account)
            yield

    @staticmethod
    def _check_mark(folder: Path, book: str, now: marks.Mark) -> None:
        marks.check(folder, book, now)
        if not now.change:
            log.warning(
                "%s: nothing is known to have been sent before, so all that comes now is sent. If some was sent by "
                "another ledger, stop this, and move that ledger here first: docs/sent.md, Where it lies.",
                book,
            )

    @contextmanager
    def _turn(self, book: str, by: str, wait_seconds: float) -> Iterator[None]:
        with self._database.one_sender(book, by, wait_seconds) as mine:
            self._turns[book] = mine
            try:
                yield
            finally:
                del self._turns[book]

    def _check_turn(self, book: str) -> None:
        """One whose lock is lost is not the only sender any more, and does not begin anything."""
        if book in self._turns and not self._turns[book]():
            raise Busy(
                f"{book}: the lock that keeps other senders away is lost (the connection to the ledger's database was "
                "closed, or its lock file removed), so somebody else may be sending now. Nothing was claimed and "
                "nothing more is sent; the next try waits for its turn."
            )

    def recover(self, book: str, by: str) -> list[Entry]:
        """Inside :meth:`one_sender`: what a dead sender left ``sending`` becomes ``unknown``.

        Returns:
            All files of unknown fate, old ones too.
        """
        self._check_turn(book)
        with self._database.transaction() as work:
            steps.lock_book(work, book)
            for number, entry in steps.entries(work, book, steps.state_in(("sending",))):
                steps.change(work, number, "unknown", by, f"its sender ended without saying how ({entry.claimed_by})")
            return [entry for _, entry in steps.entries(work, book, steps.state_in(("unknown",)))]

    def claim(self, book: str, file: FileNote, index: Path | pa.Table, by: str) -> Entry:
        """Take a file and all its units for sending, or nothing. Durable when it returns; nobody else has any of it.

        Args:
            book: such as ``shop/transactions``.
            file: what will be sent.
            index: its units: a Parquet file or a table with the columns key, content, rows and day.
            by: who takes it, for people.

        Raises:
            AlreadySent: the vendor has confirmed this very file.
            AlreadyClaimed: it, or some of its units, is in a file that is sending, confirmed or unknown.
            BadInput: the index does not fit the file.
            Busy: the lock of :meth:`one_sender` was lost meanwhile.
            Unusable: its mark cannot be written.
            StoreError: nor can it, because the object store does not answer.
        """
        self._check_turn(book)
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            own = steps.enter(work, book, number, file, by)
            steps.take(work, book, number, own, file, index)
            attempt, _ = steps.attempt(work, own)
            mark = marks.Mark(books.identity(work), attempt, books.account(work, book))
            entry = steps.known(work, book, file.sha256)[1]
        self._attempts[book, file.sha256] = attempt
        self._write_mark(entry, mark)
        return entry

    def _write_mark(self, entry: Entry, mark: marks.Mark) -> None:
        if not self._marks:
            return
        try:
            marks.write(self._marks, entry.book, mark)
        except (OSError, ConfigError, StoreError) as error:
            why = f"the mark of the ledger could not be written ({error})"
            self.settle(entry.book, entry.sha256, "prepared", entry.claimed_by, why)
            if isinstance(error, StoreError):
                raise
            raise Unusable(f"{entry.label()}: {why}, so it was not sent. Mend that and clear this task.") from error

    def split(
        self, book: str, sha256: str, part: FileNote, index: Path | pa.Table, state: State, by: str, note: str
    ) -> Entry:
        """Say that some units of a file that is sending ended otherwise: they become a file of their own.

        For files whose units are requests of their own, of which some were refused, or got no answer. In one
        transaction, the units go over, the figures of both files are set right and the part is settled; the rest is
        still sending.

        Args:
            book: of the file.
            sha256: of the file that is sending.
            part: the file of those units; its SHA-256 may be any that names them, such as that of their keys.
            index: those units.
            state: how they ended: refused, prepared or unknown.
            by: who says so.
            note: why.

        Raises:
            PipelineError: the file is not sending, or is another sender's, or the units are not all its own.
            Overtaken: as :meth:`settle`.
        """
        _check_outcome(state, ("refused", "prepared", "unknown"))
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            whole, entry = steps.known(work, book, sha256)
            late = self._fence(work, whole, entry, state, by, note)
            if not late:
                if entry.state != "sending":
                    raise PipelineError(
                        f"{entry.label()}: is {entry.state}, so no part of it can be settled on its own"
                    )
                own = steps.enter(work, book, number, part, by)
                steps.take(work, book, number, own, part, index, whole)
                steps.settle(work, number, own, state, by, note)
                entry = steps.known(work, book, part.sha256)[1]
        if late:
            raise Overtaken(late)
        return entry

    def settle(self, book: str, sha256: str, state: State, by: str, note: str) -> Entry:
        """Say how an attempt ended: of a file that one has claimed, or whose fate was unknown.

        ``confirmed`` keeps the units for ever, ``unknown`` until it is settled; ``refused`` and ``prepared`` (nothing
        arrived) free them, in the same transaction.

        Raises:
            PipelineError: the ledger does not know the file, or nobody attempted it, or it is being sent by another
                sender, or the vendor has confirmed it (that is never taken back).
            Overtaken: the attempt that one made had been taken for dead, and the file settled or claimed anew; what
                one knew of it is in the history.
        """
        _check_outcome(state, ("confirmed", "refused", "prepared", "unknown"))
        with self._database.transaction() as work:
            number = steps.lock_book(work, book)
            own, entry = steps.known(work, book, sha256)
            late = self._fence(work, own, entry, state, by, note)
            if not late and entry.state != state:
                if entry.state not in ("sending", "unknown"):
                    raise PipelineError(
                        f"{entry.label()}: is {entry.state}; there is no attempt to settle as {state}. Nothing was "
                        "changed."
                    )
                steps.settle(work, number, own, state, by, note)
                entry = steps.known(work, book, sha256)[1]
        if late:
            raise Overtaken(late)
        self._attempts.pop((book, sha256), None)
        return entry

    def _fence(self, work: Work, own: int, entry: Entry, state: State, by: str, note: str) -> str:
        """Why an attempt ends too late, which is then in the history; empty if it does not.

        Raises:
            PipelineError: it is another one's.
        """
        mine = self._attempts.get((entry.book, entry.sha256))
        if mine is None:
            fence.check_stranger(entry, entry.book in self._turns and self._turns[entry.book]())
        if late := fence.too_late(work, own, entry, mine, state, note):
            steps.remark(work, own, by, f"ended as {state}, too late: {note}")
        return late


def _check_outcome(state: str, allowed: Collection[str]) -> None:
    if state not in allowed:
        raise PipelineError(f"cannot settle as {state!r}; allowed are {', '.join(allowed)}")
