"""A server that plays Klaviyo's answers as told, over a real socket, and clients for it whose pauses do not last."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from klaviyo.client import Client
from klaviyo.connections import Settings
from tests.plugins.klaviyo import batches
from vendor_http.retry import Retry
from vendor_http.session import Timeouts

KEY = "pk_hush"
Answer = Callable[[Any], None]


class Vendor:
    """Answers requests in order, the last answer again and again; remembers what was asked."""

    def __init__(self, serve: Callable[[Answer], str]) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.pauses: list[float] = []
        self.url = serve(self._answer)

    def _answer(self, request: Any) -> None:
        parts = urlsplit(request.path)
        self.asked.append((parts.path, dict(parse_qsl(parts.query))))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(request.take())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer(request)

    def says(self, *documents: Any, status: int = 200, **headers: str) -> "Vendor":
        """Answer with these documents, one after the other."""
        self.answers += [answer(json.dumps(document).encode(), status, **headers) for document in documents]
        return self

    def fails(self, status: int, code: str = "bad", title: str = "", said: str = "", **headers: str) -> "Vendor":
        """Answer once with an error of JSON:API."""
        error = {"id": "1", "code": code, "title": title, "detail": said, "source": {"pointer": "/data/"}}
        return self.says({"errors": [error]}, status=status, **headers)

    def breaks(self, answer: Answer) -> "Vendor":
        """Answer once by a function of the request handler."""
        self.answers.append(answer)
        return self

    def settings(self, **changes: Any) -> Settings:
        usual = {"base_url": self.url, "api_key": KEY, "connection": "klaviyo_test", "timeouts": Timeouts(2, 2)}
        return Settings(**{**usual, **changes})

    def client(self, **changes: Any) -> Client:
        return Client(self.settings(**changes), Retry(sleep=self.pauses.append), sleep=lambda _: None)


def answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda request: request.reply(status, body, **headers)


def rows(*names: str, **attributes: Any) -> list[dict[str, Any]]:
    return [{"type": "profile", "id": name, "attributes": attributes} for name in names]


def page(*names: str, after: str | None = None, host: str = "https://a.klaviyo.com", **attributes: Any) -> Any:
    """A page of profiles; ``after`` is the cursor of the next one, which lies on ``host``."""
    link = f"{host}/api/profiles?page%5Bcursor%5D={after}" if after else None
    return {"data": rows(*names, **attributes), "links": {"self": "x", "next": link, "prev": None}}


@pytest.fixture
def vendor(serve: Any) -> Vendor:
    return Vendor(serve)


@pytest.fixture(scope="session")
def say() -> Any:
    """Makers of documents; test modules cannot import each other."""
    from types import SimpleNamespace

    return SimpleNamespace(page=page, rows=rows, answer=answer, key=KEY)


@pytest.fixture
def account(serve: Callable[..., str]) -> batches.Account:
    return batches.Account(serve)


@pytest.fixture
def shop(staging: Path, tmp_path: Path, account: batches.Account, monkeypatch: pytest.MonkeyPatch) -> batches.Shop:
    from vendor_http import retry

    monkeypatch.setattr("klaviyo.batch.REST", 0.1)
    monkeypatch.setattr("klaviyo.client.Pacer.before", lambda _: None)  # this account has no limits
    monkeypatch.setattr(retry.Retry, "__init__", batches.impatient(retry.Retry.__init__))
    (tmp_path / "publishers").mkdir()
    return batches.Shop(staging, tmp_path / "publishers", account, monkeypatch)
