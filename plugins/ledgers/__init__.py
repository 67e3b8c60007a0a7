"""The ledger of what was sent, as Airflow knows it: where it lives, and how a person settles what is unknown."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.ledger import Ledger


def open_ledger() -> "Ledger":
    """The ledger: in the Postgres of ``LEDGER_CONNECTION``, else one SQLite file in the staging store.

    Raises:
        ConfigError: the connection is missing or not Postgres, or its provider is not installed.
    """
    raise NotImplementedError
