"""``python -m include.sandbox``: the sandbox as a server, until Ctrl-C."""

import argparse
import logging
import signal
import sys
from dataclasses import fields
from datetime import date
from pathlib import Path

from include.errors import PipelineError
from include.sandbox.parts import Parts
from include.sandbox.server import prepare, server_for, url_of
from include.sandbox.settings import (
    ALGORITHMS,
    DEFAULT_PRIVATE_KEY,
    DEFAULT_TRACKER,
    DEFAULT_TYPES,
    PINS_DETAILS,
    Settings,
    parse_types,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the sandbox; gives the exit code: 0 after Ctrl-C or SIGTERM, 2 if a setting is wrong."""
    options = vars(_parser().parse_args(arguments))
    host, port = options.pop("host"), options.pop("port")
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
        parts, listener = prepare(settings, host, port)
    except (PipelineError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    server = server_for(parts, listener)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises them once more after it has stopped
    print(_greeting(parts, url_of(listener)), flush=True)
    server.run(sockets=[listener])
    print(f"Stopped. What was uploaded and published is kept in {settings.state}", flush=True)
    return 0


def _greeting(parts: Parts, url: str) -> str:
    settings = parts.settings
    return "\n".join(
        (
            f"Sandbox of Luigi's Box, Klaviyo, SmartEmailing and Advisable.ai at {url}",
            f"  health       {url}/health",
            "Luigi's Box, below /v1",
            f"  tracker      {settings.tracker}",
            f"  private key  {_shown(settings, 'private_key')}",
            f"  result link  {parts.publisher.base_url}/batches/{settings.tracker}.xml (or .json)",
            "Klaviyo, below /api",
            f"  API key      {_shown(settings, 'klaviyo_key')}",
            "SmartEmailing, below /api/v3",
            f"  user name    {settings.smartemailing_user}",
            f"  API key      {_shown(settings, 'smartemailing_key')}",
            "Advisable.ai, below /advisable/v1",
            f"  host         {url}/advisable",
            f"  app id       {settings.advisable_app_id}",
            f"  app secret   {_shown(settings, 'advisable_app_secret')}",
            "Fill Klaviyo and SmartEmailing with customers",
            f"  python -m include.sandbox.fill --state {settings.state} --klaviyo 1000 --smartemailing 1000",
            f"State, for all of them: {settings.state}",
            "Ctrl-C stops it.",
        )
    )


def _shown(settings: Settings, name: str) -> str:
    """A key, if it is the one that everybody may know."""
    key: str = getattr(settings, name)
    usual = {field.name: field.default for field in fields(Settings)}[name]
    return key if key == usual else "(the one that you set)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.sandbox", description="A local stand-in for the vendors.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8090, help="port to listen on; 0 finds a free one (default: %(default)s)")
    add("--state", type=Path, required=True, metavar="DIR", help="where all state lies; it survives a restart")
    add("--tracker", help=f"tracker id (default: {DEFAULT_TRACKER})")
    add("--private-key", help=f"private key (default: {DEFAULT_PRIVATE_KEY})")
    add("--public-key", help="public key, if it is another one than the tracker id")
    types = ",".join(f"{name}={slots}" for name, slots in DEFAULT_TYPES.items())
    add(
        "--types",
        type=_types,
        metavar="NAME=SLOTS[:ALGORITHM],…",
        help=f"recommendation types; algorithms are {', '.join(ALGORITHMS)} (default: {types})",
    )
    add("--today", type=date.fromisoformat, metavar="DATE", help="the day batches are computed for (default: today)")
    add("--publish-after", type=float, metavar="SECONDS", help="publish so long after each upload of users")
    add("--publish-every", type=float, metavar="SECONDS", help="publish at this interval")
    add("--catalogue", type=Path, metavar="FILE", help="CSV or Parquet file with columns id, title[, category]")
    add("--public-url", metavar="URL", help="how others reach this server, for links in batches")
    add("--upload-seconds", type=float, metavar="SECONDS", help="an upload must arrive within this (default: 600)")
    add("--users-limit", type=int, metavar="BYTES", help="largest file of users (default: 300000000)")
    add("--transactions-limit", type=int, metavar="BYTES", help="largest transactions file (default: 1000000000)")
    add("--link-basic", metavar="USER:PASSWORD", help="the result link demands HTTP basic credentials")
    add("--link-bearer", metavar="TOKEN", help="the result link demands this bearer token")
    add("--link-header", metavar="NAME: VALUE", help="the result link demands this header")
    add("--klaviyo-key", metavar="KEY", help="Klaviyo's private API key (default: pk_sandbox)")
    add("--klaviyo-burst", type=int, metavar="N", help="requests for profiles a second (default: 75)")
    add("--klaviyo-steady", type=int, metavar="N", help="requests for profiles a minute (default: 700)")
    add("--klaviyo-job-seconds", type=float, metavar="SECONDS", help="how long an import job takes (default: 1)")
    add("--smartemailing-user", metavar="NAME", help="SmartEmailing's user name (default: sandbox)")
    add("--smartemailing-key", metavar="KEY", help="SmartEmailing's API key (default: sandbox_key)")
    add(
        "--pins-partial",
        action="store_true",
        default=None,
        help="a refused bulk call keeps the pins before the bad one",
    )
    add("--pins-details", choices=PINS_DETAILS, help="what a refused bulk call names (default: fields)")
    add("--advisable-app-id", metavar="ID", help="Advisable.ai's app id (default: sandbox)")
    add("--advisable-app-secret", metavar="SECRET", help="Advisable.ai's app secret (default: sandbox_secret)")
    add("--memory-limit", metavar="SIZE", help="memory for computing a batch (default: 1GB)")
    return parser


def _types(text: str) -> dict[str, int | str]:
    pairs = [pair.strip().rpartition("=") for pair in text.split(",") if pair.strip()]
    types: dict[str, int | str] = {name: slots for name, _, slots in pairs}
    if len(types) != len(pairs):
        raise argparse.ArgumentTypeError(f"came {text!r}; a name stands in it twice, or without =SLOTS")
    try:
        parse_types(types)
    except PipelineError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return types


if __name__ == "__main__":
    sys.exit(main())
