"""The ledger of what was sent, on the command line: read it, and decide what only a person can.

python -m include.transactions ledger   --publisher SHOP [--files]
python -m include.transactions history  --publisher SHOP --sha256 BEGINNING
python -m include.transactions settle   --publisher SHOP --sha256 BEGINNING --as confirmed|prepared --why "…"
python -m include.transactions settle   --publisher SHOP --sha256 BEGINNING --as refused --although-confirmed --why "…"
python -m include.transactions account  --publisher SHOP --as other|same --why "…"
python -m include.transactions rename   --from OLD --to NEW --why "…"
python -m include.transactions accept   --publisher SHOP --why "…"
python -m include.transactions forget   --publisher SHOP --weeks N
python -m include.transactions move     --from PATH/ledger.sqlite --database postgresql://user@host/name
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.errors import ConfigError, PipelineError
from include.ledger import FILE, Ledger, Unusable, postgres_ledger, sqlite_ledger
from include.ledger.move import move
from include.ledger.tables import book_text, files_table, history_table, moved_table
from include.objects import ObjectPath
from include.publishers.config import load_publisher
from include.staging import LEDGER_CONNECTION, staging_root

ROOMS = ("transactions", "interactions")
SPARE_WEEKS = 4
"""How much longer than the build accepts them sessions are remembered, at least."""
_DATABASE = "ledger in Postgres: postgresql://user@host/name; the password from PGPASSWORD or ~/.pgpass"
_DRIVERS = ("psycopg", "psycopg2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        text = _move(options) if options.command == "move" else _about_a_book(options)
    except _for_people() as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(text)  # noqa: T201
    return 0


def _about_a_book(options: argparse.Namespace) -> str:
    book = f"{options.publisher}/{options.room}"
    ledger = _ledger(options.database, new=options.run is _accept)
    if options.run is not _accept:
        _check_book(ledger, book, options)
    text: str = options.run(ledger, book, options)
    if where := ledger.moved_to():
        return f"A BACKUP: this ledger was moved to {where}. What follows is what was known then.\n\n{text}"
    return text


def _move(options: argparse.Namespace) -> str:
    moved = move(options.file, partial(_driver().connect, options.database), options.who)
    return (
        f"{moved_table(moved)}\nThe ledger is in {moved.where} now. Set {LEDGER_CONNECTION} on every worker before "
        f"anything is sent. {options.file} is a backup from now on; by it nothing is sent any more."
    )


def _show(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    text = book_text(ledger, book)
    return f"{text}\n\n{files_table(ledger.entries(book))}" if options.files else text


def _history(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    entry = ledger.entry(book, options.sha256)
    return f"{entry.label()}\n{entry.uri}\n{history_table(ledger.history(book, entry.sha256))}"


def _settle(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    if (options.outcome == "refused") != options.although_confirmed:
        raise ConfigError(
            "--as refused and --although-confirmed go together: for a confirmed file that the vendor has cancelled "
            "since. What did not arrive is settled --as prepared. Nothing was changed."
        )
    before, after = ledger.settle_by_hand(
        *(book, options.sha256, options.outcome, options.who, options.why),
        although_confirmed=options.although_confirmed,
    )
    if before.state == after.state:
        return f"{after.label()}: was {after.state} already; nothing was changed"
    then = "it is not sent again" if after.state == "confirmed" else "it is sent again"
    return f"{after.label()}: {before.state} → {after.state}. Clear the task that sends, of run {after.run}: {then}."


def _account(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    if options.account == "same":
        was = ledger.forget_account(book, options.who, options.why)
        return f"{book}: the next sender says how its account is spelled (so far: {was or 'nobody has said'})."
    aside = ledger.put_aside(book, options.who, options.why)
    return f"{book}: begins anew for another account. What was sent so far is kept as {aside}."


def _rename(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    new = f"{options.to}/{options.room}"
    ledger.rename(book, new, options.who, options.why)
    return f"{book}: is {new} from now on."


def _accept(ledger: Ledger, book: str, options: argparse.Namespace) -> str:
    return f"{book}: {ledger.accept(book, options.who, options.why)}. Clear the task that failed."


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
    return (
        f"{book}: {forgotten:,} sessions whose last purchase was before {before} are forgotten. Files and months stay."
    )


def _check_book(ledger: Ledger, book: str, options: argparse.Namespace) -> None:
    books = ledger.books()
    if book not in books:
        there = ", ".join(books) or "none at all"
        raise ConfigError(
            f"{book}: there is no such book in the ledger; there are: {there}. Is --{options.asked} misspelt, or was "
            "nothing sent yet?"
        )


def _address(text: str) -> str:
    """Of a Postgres; what else it may be is not repeated, for it may hold a password.

    Raises:
        ArgumentTypeError: it is no URL with a host and a database.
    """
    try:
        url = urlsplit(text)
        whole = url.hostname and url.port != 0 and url.path.strip("/")  # ValueError: the port is no number
        if whole and url.scheme in ("postgres", "postgresql") and url.netloc.count("@") < 2:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        "it must be postgresql://user@host/name, not empty, nor JSON, nor another form; what is no letter or digit in "
        "a password is written as %XX"
    )


def _ledger(database: str | None, *, new: bool) -> Ledger:
    if database:
        return postgres_ledger(partial(_driver().connect, database), marks=staging_root())
    if os.environ.get(LEDGER_CONNECTION):
        raise ConfigError(
            f"{LEDGER_CONNECTION} is set, so the ledger is in Postgres; say where: --database postgresql://user@host/name"
        )
    if isinstance(staging_root(), ObjectPath):
        raise ConfigError(
            "STAGING_URI names an object store, so the ledger is in Postgres; say where: --database "
            "postgresql://user@host/name"
        )
    path = staging_root() / FILE
    if not path.exists() and not new:
        raise Unusable(
            f"there is no ledger at {path} (STAGING_URI says where it lies): either nothing was sent, or it is lost"
        )
    return sqlite_ledger(path, marks=staging_root())


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
        description="The ledger of what was sent: read it, and decide what only a person can.",
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
        choices=["confirmed", "prepared", "refused"],
        help="confirmed: the vendor has it; prepared: it did not arrive, it is sent again; refused: see below",
    )
    settle.add_argument(
        "--although-confirmed",
        action="store_true",
        help="with --as refused: the vendor confirmed the file and cancelled it afterwards, it is sent again",
    )
    account = _command(commands, "account", _account, "say what a connection that leads elsewhere means for the book")
    account.add_argument(
        "--as",
        dest="account",
        required=True,
        choices=["other", "same"],
        help="other: another account; its book is kept under another name and a new one begun; same: only the name of "
        "the host has changed",
    )
    rename = _command(commands, "rename", _rename, "let the book follow a publisher that has got another name", "from")
    rename.add_argument("--to", required=True, metavar="NEW", help="name of the publisher now")
    accept = _command(commands, "accept", _accept, "go on with this ledger although it was restored or made anew")
    for command in (settle, account, rename, accept):
        command.add_argument("--why", required=True, help="how you know; kept in the ledger")
        command.add_argument("--who", default=_user(), help="who says so; kept in the ledger (default: %(default)s)")
    forget = _command(commands, "forget", _forget, "make it smaller: forget sessions too old to be accepted again")
    forget.add_argument("--weeks", required=True, type=int, metavar="N", help="those whose last purchase is older")
    what = "move the whole ledger, with all its books, from a SQLite file into an empty Postgres"
    moving = commands.add_parser("move", help=what, description=f"{what[0].upper()}{what[1:]}.")
    moving.add_argument("--from", dest="file", required=True, type=Path, metavar="FILE", help="…/ledger.sqlite")
    moving.add_argument("--database", type=_address, required=True, metavar="URL", help=_DATABASE)
    moving.add_argument("--who", default=_user(), help="who moves it; kept in the ledger (default: %(default)s)")
    return parser


def _command(
    commands: Any,
    name: str,
    run: Callable[[Ledger, str, argparse.Namespace], str],
    what: str,
    publisher: str = "publisher",
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.set_defaults(run=run, asked=publisher)
    command.add_argument(f"--{publisher}", dest="publisher", required=True, help="name of the publisher in the ledger")
    command.add_argument("--room", choices=ROOMS, default="transactions", help="which book (default: %(default)s)")
    command.add_argument("--database", type=_address, metavar="URL", help=_DATABASE)
    return command


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # a container's user without a name


if __name__ == "__main__":
    sys.exit(main())
