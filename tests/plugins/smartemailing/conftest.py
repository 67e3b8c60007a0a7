"""A sandbox of SmartEmailing over a real socket, and a client that does not wait."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from include.sandbox.server import Running, running
from include.sandbox.smartemailing.fill import fill_smartemailing
from smartemailing.client import Client
from smartemailing.connections import Settings
from vendor_http.retry import Retry


class Account:
    """A running sandbox with the handles that tests turn."""

    def __init__(self, sandbox: Running) -> None:
        self.url, self.state = sandbox.url, sandbox.state
        self.pauses: list[float] = []

    def fill(self, rows: Any, seed: int = 7) -> dict[str, Any]:
        return fill_smartemailing(self.state, rows, seed)

    def fault(self, name: str, **options: Any) -> None:
        asked = {"fault": name, "path": "/api/v3/", **options}
        requests.post(f"{self.url}/_sandbox/faults", json=asked).raise_for_status()

    def forget(self) -> None:
        for what in ("faults", "requests"):
            requests.delete(f"{self.url}/_sandbox/{what}").raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.url}/_sandbox/requests").json())

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.state / "smartemailing.sqlite", timeout=30)
        try:
            with connection:
                if not sql.startswith("SELECT"):
                    connection.execute("UPDATE generation SET number = number + 1")
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def values(self, field: int) -> dict[str, str]:
        """E-mail address and value of a custom field."""
        found = self.query(
            "SELECT emailaddress, value FROM contacts c JOIN contact_customfields v ON v.contact_id = c.id "
            "WHERE customfield_id = ?",
            field,
        )
        return {str(email): str(value) for email, value in found}

    def settings(self, **changes: Any) -> Settings:
        usual = {"base_url": self.url, "user": "sandbox", "api_key": "sandbox_key", "pause_seconds": 0.0001}
        return Settings(**{**usual, **changes})

    def client(self, **changes: Any) -> Client:
        """A client whose retry loop does not sleep; the pauses it would make are in ``pauses``."""
        return Client(self.settings(**changes), Retry(sleep=self.pauses.append, jitter=lambda: 1.0))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("smartemailing")) as started:
        yield started


@pytest.fixture
def account(sandbox: Running) -> Iterator[Account]:
    account = Account(sandbox)
    account.forget()
    account.fill(0)
    yield account
    account.forget()


@pytest.fixture
def client(account: Account) -> Iterator[Client]:
    with account.client() as opened:
        yield opened
