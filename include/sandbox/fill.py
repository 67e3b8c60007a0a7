"""``python -m include.sandbox.fill``: customers for the newsletter platforms of a sandbox, with dirt."""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from include.errors import BadInput, PipelineError
from include.sandbox.klaviyo.fill import fill_klaviyo
from include.sandbox.smartemailing.fill import fill_smartemailing

__all__ = ["fill_klaviyo", "fill_smartemailing"]

SAY_EVERY = 100_000
Rows = int | Iterable[tuple[str, str]]


def main(arguments: list[str] | None = None) -> int:
    """Fill what is asked for; gives the exit code: 0, or 2 if an argument or file is wrong."""
    options = _parser().parse_args(arguments)
    options.state.mkdir(parents=True, exist_ok=True)
    platforms: dict[str, Callable[..., dict[str, Any]]] = {
        "klaviyo": fill_klaviyo,
        "smartemailing": fill_smartemailing,
    }
    wanted = {name: getattr(options, name) for name in platforms if getattr(options, name) is not None}
    if not wanted:
        print("fill: nothing to do; give --klaviyo or --smartemailing", file=sys.stderr)
        return 2
    for name, source in wanted.items():
        began = time.monotonic()
        try:
            figures = platforms[name](options.state, _said(name, _rows(source)), options.seed)
        except PipelineError as error:
            print(f"fill: {error}", file=sys.stderr)
            return 2
        print(f"{name}, {time.monotonic() - began:.1f} s\n{_table(figures)}", flush=True)
    return 0


def _rows(source: str) -> Iterator[tuple[str, str]]:
    """Customer id and e-mail address: so many made up, or those of a file."""
    if source.isdecimal():
        for number in range(1, int(source) + 1):
            yield f"c{number:07d}", f"user{number}@example.com"
        return
    try:
        with Path(source).open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if not {"id", "email"} <= set(reader.fieldnames or ()):
                raise BadInput(f"{source}: the first line must name the columns id and email")
            for row in reader:
                yield row["id"], row["email"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{source}: cannot be read ({error}); give a number, or a CSV file with id and email") from error


def _said(name: str, rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(rows, 1):
        if number % SAY_EVERY == 0:
            print(f"{name}: {number:,}", flush=True)
        yield row


def _table(figures: dict[str, Any]) -> str:
    lines = ((key, f"{value:,}" if isinstance(value, int) else json.dumps(value)) for key, value in figures.items())
    return "\n".join(f"  {key:<12} {value}" for key, value in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m include.sandbox.fill", description="Customers for a sandbox's Klaviyo and SmartEmailing."
    )
    what = "how many to make up, or a CSV file with columns id and email"
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="the sandbox's state folder")
    parser.add_argument("--klaviyo", metavar="N|FILE", help=what)
    parser.add_argument("--smartemailing", metavar="N|FILE", help=what)
    parser.add_argument("--seed", type=int, default=7, help="another one makes others dirty (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
