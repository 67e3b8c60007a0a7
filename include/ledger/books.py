"""The steps of transactions about whole books: whose account each is, and what persons decided about it."""

from datetime import UTC, datetime

from include.errors import PipelineError
from include.ledger import steps
from include.ledger.database import Work
from include.ledger.entries import Remark, Unusable, command, in_postgres
from include.ledger.marks import Mark
from include.staging import utc_text

_HOLDS = """
    EXISTS (SELECT 1 FROM @files f WHERE f.book = b.number AND f.state IN ('sending', 'confirmed', 'unknown'))
"""
_MOVED, _WAS = "moved to ", ", was "
_ONE_ACCOUNT = "/transactions"
"""Books that end so: purchases of one account at the vendor are in one of them, whatever the publisher's name."""


def names(work: Work) -> list[str]:
    """The books there are."""
    return [name for (name,) in work.run("SELECT name FROM @books ORDER BY name").fetchall()]


def account(work: Work, book: str) -> str:
    """Whose account a book is; empty if nobody has said."""
    row = work.run("SELECT account FROM @books WHERE name = ?", book).fetchone()
    return str(row[0]) if row else ""


def set_account(work: Work, book: str, account: str) -> None:
    """Say whose account a book is."""
    work.run("UPDATE @books SET account = ? WHERE name = ?", account, book)


def holds_something(work: Work, book: str) -> bool:
    """Whether something of it was sent, or may have been."""
    return bool(work.run(f"SELECT 1 FROM @books b WHERE b.name = ? AND {_HOLDS}", book).fetchone())


def mark(work: Work, book: str) -> Mark:
    """What this ledger says of itself and of a book."""
    query = "SELECT coalesce(max(c.number), 0) FROM @files f JOIN @changes c ON c.file = f.number WHERE f.book = ?"
    change = work.run(query, steps.find_book(work, book)).fetchone()[0]
    return Mark(identity(work), int(change), account(work, book))


def identity(work: Work) -> str:
    """The id that tells this ledger from all others."""
    return str(work.run("SELECT id FROM @identity").fetchone()[0])


def own_identity(work: Work) -> str:
    """The same, but of a ledger that was moved the one that it had."""
    return identity(work).rpartition(_WAS)[2] if moved_to(work) else identity(work)


def moved_to(work: Work) -> str:
    """Where this ledger was moved; empty if it is here."""
    now = identity(work)
    return now.removeprefix(_MOVED).rpartition(_WAS)[0] if now.startswith(_MOVED) else ""


def move_away(work: Work, where: str) -> None:
    """Say that this ledger is elsewhere from now on: with another identity it fits no mark."""
    work.run("UPDATE @identity SET id = ?", f"{_MOVED}{where}{_WAS}{own_identity(work)}")


def bind(work: Work, book: str, wanted: str) -> None:
    """Make sure that a book is the account's; one that holds nothing becomes so.

    Raises:
        Unusable: it is another account's, or another publisher's book is this one's.
    """
    now, holds = account(work, book), holds_something(work, book)
    if now == wanted and holds:
        return
    if now and holds:
        how = command("account", book)
        raise Unusable(
            f"{book}: it holds what was sent to {now}, and the connection leads to {wanted} now. All that is in it "
            "would be taken for sent there, and never be sent. Nothing was sent. If the connection is wrong, mend it "
            f'and clear this task. If this is another account: {how} --as other --why "…" puts the book aside and '
            f'begins a new one. If only the name of the host has changed: {how} --as same --why "…"'
        )
    if book.endswith(_ONE_ACCOUNT):
        _check_no_other(work, book, wanted)
    set_account(work, book, wanted)


def _check_no_other(work: Work, book: str, wanted: str) -> None:
    query = f"SELECT b.name FROM @books b WHERE b.account = ? AND b.name LIKE ? AND b.name <> ? AND {_HOLDS}"
    others = work.run(query, wanted, f"%{_ONE_ACCOUNT}", book).fetchall()
    if others:
        old, new = (name.partition("/")[0] for name in (others[0][0], book))
        raise Unusable(
            f"{book}: what was sent to {wanted} is in the book {others[0][0]}. Sent by two publishers, the same "
            "purchases would count twice. Nothing was sent. If the publisher has got another name, let its book follow "
            f"and clear this task: python -m include.transactions rename --from {old} --to {new}{in_postgres()} "
            '--why "…". If there are two, let one of them send the purchases of this account.'
        )


def rename(work: Work, old: str, new: str) -> None:
    """Give a book another name; an empty one of that name goes.

    Raises:
        PipelineError: there is none, or one with the new name.
    """
    if old not in names(work):
        raise PipelineError(f"there is no book {old}. Nothing was changed.")
    if work.run("SELECT 1 FROM @files f JOIN @books b ON b.number = f.book WHERE b.name = ?", new).fetchone():
        raise PipelineError(f"there is a book {new} already, with files in it. Nothing was changed.")
    gone = steps.find_book(work, new)
    work.run("DELETE FROM @remarks WHERE book = ?", gone)
    work.run("DELETE FROM @books WHERE number = ?", gone)
    work.run("UPDATE @books SET name = ? WHERE name = ?", new, old)


def remark(work: Work, book: str, by: str, what: str, why: str) -> None:
    """Keep what a person decided."""
    statement = "INSERT INTO @remarks (book, at, by_whom, what, why) VALUES (?, ?, ?, ?, ?)"
    work.run(statement, steps.lock_book(work, book), utc_text(datetime.now(UTC)), by, what, why)


def remarks(work: Work, book: str) -> list[Remark]:
    """What persons decided about a book, in that order."""
    query = "SELECT at, by_whom, what, why FROM @remarks WHERE book = ? ORDER BY number"
    return [Remark(*row) for row in work.run(query, steps.find_book(work, book)).fetchall()]
