"""The fence around an attempt: only who claimed a file says how it ended, and only while that attempt is the newest."""

from include.errors import PipelineError
from include.ledger import steps
from include.ledger.database import Work
from include.ledger.entries import Entry, State, command, how_to_settle

_ENDED = ("prepared", "refused", "confirmed")


def too_late(work: Work, own: int, entry: Entry, mine: int | None, state: State, note: str) -> str:
    """What is wrong if an attempt ends now; empty: nothing.

    Args:
        work: the transaction.
        own: number of the file.
        entry: the file as it is.
        mine: the attempt that the asker made; None: none.
        state: how it ended.
        note: why.
    """
    if mine is None:
        return ""
    newest, at = steps.attempt(work, own)
    if newest == mine and (entry.state not in _ENDED or entry.state == state):
        return ""
    what = (
        f"{entry.label()}: an attempt ended as {state}{f' ({note})' if note else ''}, but it had been taken for dead: "
    )
    if newest != mine:
        what += f"{entry.claimed_by} claimed the file once more at {at}, and now it is {entry.state}. "
    else:
        what += f"{entry.changed_by} settled it as {entry.state} at {entry.changed_at} ({entry.note}). "
    if state in ("prepared", "refused"):
        return f"{what}Nothing of this attempt was stored, so the ledger is left as it is."
    return (
        f"{what}So the same units may have been sent twice, or will be. The ledger is left as it is. Look at the "
        f"vendor how many imports of this size there are, and at {command('history', entry.book)} --sha256 "
        f"{entry.sha256[:12]}; pause the publisher's DAG until then."
    )


def check_stranger(entry: Entry, turn: bool) -> None:
    """Somebody who did not claim a file wants to say how its attempt ended.

    Args:
        entry: the file.
        turn: whether he is the book's one sender, so that who claimed it is dead.

    Raises:
        PipelineError: it is being sent.
    """
    if entry.state == "sending" and not turn:
        raise PipelineError(
            f"{entry.label()}: {entry.claimed_by} claimed it at {entry.claimed_at}, and only that attempt can say how "
            f"it ended. Nothing was changed. If it is dead, trigger the DAG settle_upload, or: {how_to_settle(entry)} "
            '--as … --why "…"'
        )
