"""The ledger of what was sent, on the command line: read it, settle what only a person can, make it smaller.

python -m include.transactions ledger   --publisher SHOP [--files]
python -m include.transactions history  --publisher SHOP --sha256 BEGINNING
python -m include.transactions settle   --publisher SHOP --sha256 BEGINNING --as confirmed|prepared --why "…"
python -m include.transactions forget   --publisher SHOP --weeks N
"""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

from include.errors import ConfigError, PipelineError
from include.ledger import FILE, Ledger, Unusable, postgres_ledger, sqlite_ledger
from include.ledger.tables import book_text, files_table, history_table
from include.publishers.config import load_publisher
from include.staging import staging_root

ROOMS = ("transactions", "interactions")
LEDGER_CONNECTION = "LEDGER_CONNECTION"
SPARE_WEEKS = 4
"""How much longer than the build accepts them sessions are remembered, at least."""
_DRIVERS = ("psycopg", "psycopg2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        text = options.run(_ledger(options.database), f"{options.publisher}/{options.room}", options)
    except _for_people() as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(text)  # noqa: T201
    return 0


def _show(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    text = book_text(ledger, book)
    return f"{text}\n\n{files_table(ledger.entries(book))}" if options.files else text


def _history(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    entry = ledger.entry(book, options.sha256)
    return f"{entry.label()}\n{entry.uri}\n{history_table(ledger.history(book, entry.sha256))}"


def _settle(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    before, after = ledger.settle_by_hand(book, options.sha256, options.outcome, options.who, options.why)
    if before.state == after.state:
        return f"{after.label()}: was {after.state} already; nothing was changed"
    then = "it is sent again" if after.state == "prepared" else "it is not sent again"
    return f"{after.label()}: {before.state} → {after.state}. Clear the task that failed, of run {after.run}: {then}."


def _forget(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    if options.room != "transactions":
        raise ConfigError(
            f"{book}: interactions are not rejected for their age, so a forgotten one would be sent again"
        )
    settings = load_publisher(options.publisher).past_transactions
    oldest = settings.max_age_weeks if settings else None
    if oldest is None:
        raise ConfigError(
            f"publisher {options.publisher}: past_transactions.max_age_weeks is not set, so sessions of any age are "
            "accepted, and a forgotten one would be sent again. Nothing was forgotten."
        )
    if options.weeks < oldest + SPARE_WEEKS:
        raise ConfigError(
            f"publisher {options.publisher}: sessions up to {oldest} weeks old are accepted "
            f"(past_transactions.max_age_weeks), and a forgotten one would be sent again; --weeks must be at least "
            f"{oldest + SPARE_WEEKS}, came {options.weeks}. Nothing was forgotten."
        )
    before = (datetime.now(UTC) - timedelta(weeks=options.weeks)).date()
    forgotten = ledger.forget(book, before)
    return f"{book}: {forgotten:,} units whose last purchase was before {before} are forgotten. Files and months stay."


def _ledger(database: str | None) -> Ledger:
    if database:
        return postgres_ledger(partial(_driver().connect, database))
    if os.environ.get(LEDGER_CONNECTION):
        raise ConfigError(
            f"{LEDGER_CONNECTION} is set, so the ledger is in Postgres; say where: --database postgresql://user@host/name"
        )
    path = staging_root() / FILE
    if not path.exists():
        raise Unusable(f"there is no ledger at {path} yet: nothing was sent. STAGING_URI says where it lies.")
    return sqlite_ledger(path)


def _driver() -> Any:
    for name in _DRIVERS:
        with suppress(ImportError):
            return import_module(name)
    raise ConfigError("--database needs psycopg or psycopg2: pip install 'psycopg[binary]'")


def _for_people() -> tuple[type[Exception], ...]:
    """Errors whose sentences are printed: the pipeline's, and those of the database's driver if it is loaded."""
    drivers = [sys.modules[name] for name in _DRIVERS if name in sys.modules]
    return (PipelineError, *(driver.Error for driver in drivers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m include.transactions",
        description="The ledger of what was sent: read it, settle what only a person can, make it smaller.",
        epilog="The ledger is ledger.sqlite in the staging store (STAGING_URI), unless --database names another.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = _command(commands, "ledger", _show, "what was sent by month, and the files of unknown fate")
    show.add_argument("--files", action="store_true", help="list all files too")
    history = _command(commands, "history", _history, "who changed the state of a file, when and why")
    settle = _command(commands, "settle", _settle, "say how an attempt ended whose fate is unknown")
    for command in (history, settle):
        command.add_argument(
            "--sha256", required=True, metavar="BEGINNING", help="first characters of the file's SHA-256"
        )
    settle.add_argument(
        "--as",
        dest="outcome",
        required=True,
        choices=["confirmed", "prepared"],
        help="confirmed: the vendor has it; prepared: it did not arrive, it is sent again",
    )
    settle.add_argument("--why", required=True, help="how you know; kept in the ledger")
    settle.add_argument("--who", default=_user(), help="who says so; kept in the ledger (default: %(default)s)")
    forget = _command(commands, "forget", _forget, "make it smaller: forget sessions too old to be accepted again")
    forget.add_argument("--weeks", required=True, type=int, metavar="N", help="those whose last purchase is older")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[Ledger, str, argparse.Namespace], str], what: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.set_defaults(run=run)
    command.add_argument("--publisher", required=True, help="name of the publisher")
    command.add_argument("--room", choices=ROOMS, default="transactions", help="which book (default: %(default)s)")
    command.add_argument(
        "--database",
        metavar="URL",
        help="ledger in Postgres: postgresql://user@host/name; the password from PGPASSWORD or ~/.pgpass",
    )
    return command


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # a container's user without a name


if __name__ == "__main__":
    sys.exit(main())
