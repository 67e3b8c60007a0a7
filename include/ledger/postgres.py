"""The ledger in Postgres: for workers on many machines."""

from collections.abc import Callable
from typing import Any

from include.ledger.ledger import Ledger

Connect = Callable[[], Any]


def postgres_ledger(connect: Connect) -> Ledger:
    """The ledger in a Postgres database, in tables ``newsletter_ledger_…`` that are made at the first use.

    Args:
        connect: gives a new connection of psycopg or psycopg2.
    """
    raise NotImplementedError
