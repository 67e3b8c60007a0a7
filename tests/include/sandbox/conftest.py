"""A sandbox over a real socket, and a client that signs with a recipe of its own."""

import base64
import email.utils
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.server import Running, running

USERS = "/v1/recommender/batching/1234-5678/users"
FILES = "/v1/interactions/1234-5678/files"
SCOPES = "/v1/recommender/pin/1234-5678/scopes"


def sign(method: str, content_type: str, date: str, path: str, key: str) -> str:
    text = f"{method}\n{content_type}\n{date}\n{path}"
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


class Client:
    """Speaks to one sandbox as a customer of the vendor would, and to its control routes."""

    def __init__(self, sandbox: Running) -> None:
        self.sandbox, self.url = sandbox, sandbox.url
        self.session = requests.Session()

    def headers(self, method: str, content_type: str, path: str, **changed: str) -> dict[str, str]:
        date = changed.get("Date", email.utils.formatdate(usegmt=True))
        digest = sign(method, content_type, date, path, self.sandbox.private_key)
        return {"Date": date, "Authorization": f"ApiAuth {self.sandbox.tracker}:{digest}", **changed}

    def send(self, path: str, name: str, content: Any, field: str = "file", **headers: str) -> requests.Response:
        signed = self.headers("POST", "multipart/form-data", path, **headers)
        return self.session.post(self.url + path, files={field: (name, content)}, headers=signed, timeout=60)

    def send_users(self, ids: Sequence[str]) -> requests.Response:
        return self.send(USERS, "users.json", "".join(json.dumps({"auth_user_id": each}) + "\n" for each in ids))

    def send_purchases(self, rows: Sequence[tuple[str, ...]]) -> requests.Response:
        """Rows of session, product, user and time; waits until they are processed."""
        names = ("session_id", "identity", "user_id", "created_at")
        lines = [json.dumps(dict(zip(names, row, strict=False))) for row in rows]
        answer = self.send(FILES, "purchases.json", "\n".join(lines) + "\n")
        if answer.ok:
            self.settled()
        return answer

    def settled(self) -> list[dict[str, Any]]:
        """The uploads, once none is processed any more."""
        for _ in range(1000):
            uploads: list[dict[str, Any]] = self.control("uploads")
            if all(each["state"] != "processing" for each in uploads):
                return uploads
            time.sleep(0.01)
        raise AssertionError("an upload is processed for ever")

    def control(self, name: str) -> Any:
        return self.session.get(f"{self.url}/_sandbox/{name}", timeout=60).json()

    def publish(self, **body: Any) -> dict[str, Any]:
        answer = self.session.post(f"{self.url}/_sandbox/publish", json=body, timeout=60)
        assert answer.ok, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def fault(self, fault: str | int, **more: Any) -> None:
        answer = self.session.post(f"{self.url}/_sandbox/faults", json={"fault": fault, **more}, timeout=60)
        assert answer.status_code == 201, answer.text

    def link(self, form: str = "xml", method: str = "GET", **headers: str) -> requests.Response:
        headers = {"Accept-Encoding": "identity", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.session.request(method, f"{self.url}/batches/1234-5678.{form}", headers=headers, timeout=60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts a sandbox with settings; all are stopped at the end."""
    with ExitStack() as stack:

        def begin(state: Path | None = None, **settings: Any) -> Client:
            client = Client(stack.enter_context(running(state or tmp_path / "state", **settings)))
            stack.callback(client.session.close)
            return client

        yield begin


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    """A client of a fresh sandbox with its defaults."""
    return start()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of one sandbox for all tests of a module that only ask."""
    with running(tmp_path_factory.mktemp("shared")) as sandbox:
        client = Client(sandbox)
        yield client
        client.session.close()


@pytest.fixture(scope="session")
def purchases() -> list[tuple[str, ...]]:
    """Sixty purchases of ten users in the first months of 2024; bread and butter are bought together."""
    rows: list[tuple[str, ...]] = []
    for number in range(20):
        session, user, month = f"s{number}", f"u{number % 10}", 1 + number % 5
        time_of = f"2024-{month:02d}-10 08:00:00.5"
        rows += [(session, "bread", user, time_of), (session, f"p{number % 7}", user, time_of)]
        rows.append((session, "butter" if number % 3 else f"p{(number + 3) % 7}", user, time_of))
    return rows
