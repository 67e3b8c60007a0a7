"""A sandbox of Luigi's Box over a real socket, and what tests send to it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from include.sandbox.server import Running, running
from luigisbox.client import Client, Settings
from vendor_http.retry import Retry


class Box:
    """A running sandbox with the handles that tests turn."""

    def __init__(self, sandbox: Running) -> None:
        self.url, self.tracker, self.private_key = sandbox.url, sandbox.tracker, sandbox.private_key
        self.link = f"{self.url}/batches/{self.tracker}.xml"

    def fault(self, name: str, **options: Any) -> None:
        requests.post(f"{self.url}/_sandbox/faults", json={"fault": name, **options}).raise_for_status()

    def publish(self, **options: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/_sandbox/publish", json=options)
        answer.raise_for_status()
        return dict(answer.json())

    def state(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.url}/_sandbox/state").json())

    def requests(self) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.url}/_sandbox/requests").json())

    def uploads(self, kind: str) -> list[dict[str, Any]]:
        return [upload for upload in requests.get(f"{self.url}/_sandbox/uploads").json() if upload["kind"] == kind]

    def forget(self) -> None:
        requests.delete(f"{self.url}/_sandbox/faults").raise_for_status()
        requests.delete(f"{self.url}/_sandbox/requests").raise_for_status()

    def settings(self, **changes: Any) -> Settings:
        known = {"base_url": self.url, "tracker": self.tracker, "private_key": self.private_key}
        return Settings(**{**known, **changes})

    def client(self, **changes: Any) -> Client:
        """A client whose retry loop does not sleep; the pauses are on ``client.pauses``."""
        pauses: list[float] = []
        client = Client(self.settings(**changes), Retry(sleep=pauses.append))
        client.pauses = pauses  # type: ignore[attr-defined]
        return client


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture
def box(sandbox: Running) -> Iterator[Box]:
    box = Box(sandbox)
    box.forget()
    yield box
    box.forget()


def write_chunks(folder: Path, *contents: bytes, kind: str = "users", form: str = "json") -> dict[str, Any]:
    """Chunks and the manifest that lists them."""
    (folder / "chunks").mkdir(parents=True, exist_ok=True)
    chunks = []
    for number, content in enumerate(contents):
        name = f"chunks/{kind}-{number:05d}.{form}"
        (folder / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        chunks.append({"name": name, "rows": content.count(b"\n"), "bytes": len(content), "sha256": sha256})
    whole = b"".join(contents)
    return {
        "format": form,
        "rows": whole.count(b"\n"),
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "chunks": chunks,
    }


def user_lines(*ids: str) -> bytes:
    return b"".join(json.dumps({"auth_user_id": user}).encode() + b"\n" for user in ids)


def purchase_lines(rows: int, size: int = 0) -> bytes:
    """Purchases of two products a session; ``size`` makes the identities that long."""
    pad = "x" * size
    return b"".join(
        json.dumps({"session_id": f"s{row // 2}", "identity": f"p{row % 7}{pad}", "user_id": f"u{row // 4}"}).encode()
        + b"\n"
        for row in range(rows)
    )


@pytest.fixture(scope="session")
def lines() -> SimpleNamespace:
    """Makers of chunks and lines; test modules cannot import each other."""
    return SimpleNamespace(write_chunks=write_chunks, user_lines=user_lines, purchase_lines=purchase_lines)
