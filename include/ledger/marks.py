"""Marks outside the ledger: by them a ledger that was lost, restored or exchanged is noticed before it sends again.

After each claim the folder of the book holds which ledger it was, and the number of its newest change. A ledger made
anew has another id, and one restored from an older backup has not come as far as its mark.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from include.errors import BadInput
from include.ledger.entries import Unusable, command
from include.staging import read_json, slug, write_json

FILE = "ledger.json"
_SENT = ("sent.json", "*/sent.json", "*/*/sent.json")


@dataclass(frozen=True)
class Mark:
    """How far a ledger has come with a book."""

    ledger: str
    change: int
    account: str


def path_of(marks: Path, book: str) -> Path:
    """Where the mark of a book lies."""
    return marks.joinpath(*map(slug, book.split("/")), FILE)


def check(marks: Path, book: str, now: Mark) -> None:
    """Hold a ledger against the mark of a book.

    Args:
        marks: the folder of all marks.
        book: name.
        now: what the ledger says of itself.

    Raises:
        Unusable: it is not the ledger by which the book was sent, or not as new.
    """
    path = path_of(marks, book)
    if not path.exists():
        if not now.change and (found := _sent_before(path.parent)):
            raise Unusable(_sentence(book, f"it holds nothing of this book, but by {found} some of it was sent"))
        return
    try:
        marked = Mark(**read_json(path))
    except (BadInput, TypeError) as error:
        raise Unusable(_sentence(book, f"its mark cannot be read ({path}: {error})")) from error
    if marked.ledger != now.ledger:
        raise Unusable(_sentence(book, f"{path} was written by another ledger"))
    if now.change < marked.change:
        what = f"its newest change of this book is number {now.change}, and {path} says that there was {marked.change}"
        raise Unusable(_sentence(book, what))


def write(marks: Path, book: str, mark: Mark) -> Path:
    """Write a mark, atomically; gives its path."""
    path = path_of(marks, book)
    write_json(path, asdict(mark))
    return path


def remove(marks: Path, book: str) -> None:
    """The book is not there any more."""
    path_of(marks, book).unlink(missing_ok=True)


def _sent_before(folder: Path) -> Path | None:
    """The figures of a run that sent something: a second net, for a mark that is lost too; the first lists nothing."""
    return next((path for pattern in _SENT for path in folder.glob(pattern) if _number_sent(path)), None)


def _number_sent(path: Path) -> int:
    try:
        sent = read_json(path).get("sent")
    except BadInput:
        return 0
    if isinstance(sent, dict):
        sent = sent.get("sessions")
    return sent if isinstance(sent, int) else 0


def _sentence(book: str, what: str) -> str:
    return (
        f"{book}: this is not the ledger by which it was sent: {what}. Was it deleted, or restored from an older "
        "backup? Is LEDGER_CONNECTION missing on this worker, or newly set? With this ledger everything that it does "
        "not know would be sent once more, and count twice. Nothing was sent. Bring back the right ledger, or the "
        "setting, and clear this task. If the ledger was a file and shall be in Postgres now, move it there first: "
        "python -m include.transactions move --from …/ledger.sqlite --database postgresql://… (then clear this "
        "task). Only if it is right to go on with this ledger all the same: "
        f'{command("accept", book)} --why "…"'
    )
