"""The ledger on the command line: see what was sent, and settle what only a person can.

python -m include.transactions ledger --publisher SHOP
python -m include.transactions settle --publisher SHOP --sha256 FIRST-CHARACTERS --as confirmed|prepared --why "…"
"""

import argparse
import sys
from collections.abc import Sequence

from include.errors import PipelineError
from include.staging import staging_root
from include.transactions.ledger import FILE, Entry, Ledger


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if it could not be done."""
    options = _parser().parse_args(arguments)
    ledger = Ledger(staging_root() / FILE)
    try:
        if options.command == "settle":
            entry = _find(ledger, options.publisher, options.sha256)
            settled = ledger.settle(entry.publisher, entry.sha256, options.outcome, options.why)
            print(f"{settled.label()}: {entry.state} → {settled.state}")  # noqa: T201
        else:
            print(table(ledger.entries(options.publisher)))  # noqa: T201
    except PipelineError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def table(entries: Sequence[Entry]) -> str:
    """The entries as lines of text."""
    lines = [f"{'file':12}  {'state':9}  {'rows':>11}  {'bytes':>13}  {'changed':19}  run, window, note"]
    lines += [
        f"{entry.sha256[:12]}  {entry.state:9}  {entry.rows:>11,}  {entry.bytes:>13,}  {entry.changed_at[:19]}  "
        + ", ".join(filter(None, (entry.run, entry.window, entry.note)))
        for entry in entries
    ]
    return "\n".join(lines if entries else [*lines, "(nothing yet)"])


def _find(ledger: Ledger, publisher: str, beginning: str) -> Entry:
    found = [entry for entry in ledger.entries(publisher) if entry.sha256.startswith(beginning)]
    if len(found) != 1:
        known = ", ".join(entry.sha256[:12] for entry in ledger.entries(publisher)) or "none"
        raise PipelineError(f"publisher {publisher}: {len(found)} files begin with {beginning!r}; known are {known}")
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.transactions", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("ledger", help="print what was sent")
    settle = commands.add_parser("settle", help="say how an attempt ended whose fate is unknown")
    for command in (show, settle):
        command.add_argument("--publisher", required=True, help="name of the publisher")
    settle.add_argument("--sha256", required=True, help="the file, or the first characters of it")
    settle.add_argument(
        "--as",
        dest="outcome",
        required=True,
        choices=["confirmed", "prepared"],
        help="confirmed: the vendor has it; prepared: it did not arrive, send it with the next run",
    )
    settle.add_argument("--why", required=True, help="how you know; kept in the ledger")
    return parser


if __name__ == "__main__":
    sys.exit(main())
