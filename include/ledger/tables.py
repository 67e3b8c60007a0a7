"""The ledger as text, for the command line and for a task's log."""

from collections.abc import Iterable, Sequence

from include.ledger.entries import STATES, Change, Entry, Month, Remark, how_to_settle, units_of
from include.ledger.ledger import Ledger
from include.ledger.move import Moved

_HELD = ("confirmed", "sending", "unknown")


def book_text(ledger: Ledger, book: str) -> str:
    """A book at a glance: by month and state, then the files that somebody must settle."""
    account = ledger.account(book)
    parts = [
        f"{book}: what was sent{f' to {account}' if account else ''}, by month of purchase",
        months_table(ledger.months(book), units_of(book)),
        "",
        *remark_lines(ledger.remarks(book)),
        open_table(ledger.entries(book, ("sending", "unknown"))),
    ]
    return "\n".join(parts)


def months_table(months: Sequence[Month], units: str) -> str:
    """Units (as people call them) and rows by month of purchase, a pair of columns for each state that occurs."""
    if not months:
        return "(nothing yet)"
    states = [state for state in STATES if state == "confirmed" or any(each.state == state for each in months)]
    found = {(each.month, each.state): each for each in months}
    names = sorted({each.month for each in months})
    head = ["month", *(f"{state} {what}" for state in states for what in (units, "rows"))]
    lines = [
        [
            name or "no time",
            *(_number(found.get((name, state)), what) for state in states for what in ("units", "rows")),
        ]
        for name in names
    ]
    sums = [
        sum(getattr(each, what) for each in months if each.state == s) for s in states for what in ("units", "rows")
    ]
    text = _aligned([head, *lines, ["all", *(f"{number:,}" for number in sums)]])
    if {"prepared", "refused"} & set(states):
        text += f"\n(prepared and refused files hold nothing: their {units} may have been sent in other files since)"
    return text


def open_table(entries: Sequence[Entry]) -> str:
    """The files that are being sent or whose fate is unknown, with how to settle each."""
    if not entries:
        return "No file is of unknown fate."
    head = f"{len(entries)} file(s) are being sent, or of unknown fate."
    lines = [f"{head} When you know what became of one, trigger the DAG settle_upload, or use its command:"]
    for entry in entries:
        lines += [
            (
                f"  {entry.sha256[:12]}  {entry.state}  {entry.units:,} {units_of(entry.book)}, {entry.rows:,} rows, "
                f"{entry.bytes:,} bytes"
            ),
            f"    run {entry.run}, claimed by {entry.claimed_by} at {_second(entry.claimed_at)}",
        ]
        lines += [f"    {entry.note}"] if entry.note else []
        if entry.of_many:
            lines.append("    they may have ended differently: clear the task `send` first, it takes them apart")
            continue
        lines += [
            f'    it arrived:         {how_to_settle(entry)} --as confirmed --why "…"',
            f'    it did not arrive:  {how_to_settle(entry)} --as prepared --why "…"',
        ]
    return "\n".join(lines)


def remark_lines(remarks: Sequence[Remark]) -> list[str]:
    """What persons decided about the whole book."""
    return [f"{_second(each.at)}  {each.by}: {each.what} ({each.why})" for each in remarks]


def files_table(entries: Sequence[Entry]) -> str:
    """One line for each file."""
    if not entries:
        return "(nothing yet)"
    head = ["file", "state", units_of(entries[0].book), "rows", "bytes", "changed", "by", "run, note"]
    lines = [
        [
            entry.sha256[:12],
            entry.state,
            *(f"{number:,}" for number in (entry.units, entry.rows, entry.bytes)),
            _second(entry.changed_at),
            entry.changed_by,
            ", ".join(filter(None, (entry.run, entry.note))),
        ]
        for entry in entries
    ]
    return _aligned([head, *lines], right=(2, 3, 4))


def history_table(changes: Sequence[Change]) -> str:
    """One line for each change of a file's state."""
    lines = [[_second(change.at), change.state, change.by, change.why] for change in changes]
    return _aligned([["when", "state", "by", "why"], *lines], right=())


def moved_table(moved: Moved) -> str:
    """One line for each table of the ledger."""
    return _aligned([["table", "rows moved"], *([table, f"{rows:,}"] for table, rows in moved.rows.items())])


def _number(month: Month | None, what: str) -> str:
    return f"{getattr(month, what):,}" if month else ""


def _second(time: str) -> str:
    return time[:19].replace("T", " ")


def _aligned(lines: Sequence[Sequence[str]], right: Iterable[int] | None = None) -> str:
    """Columns of the same width; those in ``right`` (by default all but the first) end together."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ends = set(range(1, len(widths)) if right is None else right)
    cells = (
        [cell.rjust(width) if place in ends else cell.ljust(width) for place, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)
