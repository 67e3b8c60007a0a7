"""A sandbox of Luigi's Box over a real socket, and what tests send to it."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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

    @contextmanager
    def behind(self, seconds: float = 3) -> Iterator[None]:
        """The sandbox's clock is behind."""
        self.fault("skewed_clock", seconds=-seconds)
        yield
        self.fault("skewed_clock", seconds=0)

    def state(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.url}/_sandbox/state").json())

    def requests(self) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.url}/_sandbox/requests").json())

    def uploads(self, kind: str) -> list[dict[str, Any]]:
        return [upload for upload in requests.get(f"{self.url}/_sandbox/uploads").json() if upload["kind"] == kind]

    def take_list(self, folder: Path, *ids: str) -> None:
        """Upload a list, past the staging store."""
        manifest = write_chunks(folder, user_lines(*ids))
        self.client().upload_users([folder / "chunks/users-00000.json"], manifest)

    def forget(self) -> None:
        requests.delete(f"{self.url}/_sandbox/faults").raise_for_status()
        self.forget_requests()

    def forget_requests(self) -> None:
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


@pytest.fixture(scope="module")
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


PUBLISHER = """
luigisbox: {connection: luigisbox_test}
audience: {connection: none, sql: "SELECT 1 AS auth_user_id"}
batch:
  link: %(link)s
  %(connection)s
  format: %(form)s
  poll_seconds: 0.2
  deadline_minutes: 10
  on_deadline: %(on_deadline)s
  max_bytes: %(max_bytes)s
  parts: 2
deliveries: [{name: feed, kind: feed}]
"""


class Shop:
    """A publisher named ``shop`` with connections to a sandbox, and a staging store of its own."""

    name = "shop"

    def __init__(self, root: Path, publishers: Path, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.box, self._publishers, self._patch = root, box, publishers, monkeypatch
        monkeypatch.setenv("PUBLISHERS_DIR", str(publishers))
        self.connect("luigisbox_test", host=box.url, login=box.tracker, password=box.private_key)
        self.connect("batch_test", host=box.url)
        self.configure()

    def connect(self, name: str, **fields: Any) -> None:
        form = {"conn_type": "luigisbox", **fields}
        self._patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(form))

    def configure(self, **changes: Any) -> None:
        usual = {
            "link": f"/batches/{self.box.tracker}.xml",
            "connection": "connection: batch_test",
            "form": "xml",
            "on_deadline": "fail",
            "max_bytes": 10_000_000,
        }
        (self._publishers / "shop.yaml").write_text(PUBLISHER % {**usual, **changes})

    def patch_retry(self) -> None:
        """Let the clients' retry loops not sleep."""
        from luigisbox import fetch

        self._patch.setattr(fetch, "Retry", lambda: Retry(sleep=lambda _: None))

    def audience(self, run: str, *ids: str, as_of: datetime | None = None) -> Path:
        """A built audience run of these users that the guard let pass."""
        from include.audience import user_sets
        from include.audience.build import build_audience
        from include.audience.guard import judge
        from include.extract import write_rows
        from include.publishers.config import load_publisher
        from include.publishers.models import Guard

        folder = self.root / "shop" / "audience" / run
        write_rows([[(user,) for user in ids]], ["auth_user_id"], ["auth_user_id"], ["recipient"], folder / "raw", 0)
        build_audience(folder, load_publisher("shop").audience, as_of or datetime.now(UTC), 1)
        anything = dict.fromkeys((name for name in Guard.model_fields if name.endswith("_percent")), 100)
        judge(folder, user_sets.live(self.root, "shop"), Guard(**anything))
        return folder

    def accepted(self, run: str, *ids: str, sent_at: datetime | None = None) -> Any:
        """The user set of such a run, as if it was sent just now."""
        from include.audience import user_sets

        moment = sent_at or datetime.now(UTC)
        return user_sets.accept(
            self.root, "shop", self.audience(run, *ids), sent_at=moment, accepted_at=moment, answer={"status": 200}
        )

    def sent(self, run: str, *ids: str) -> Any:
        """The user set of such a run, really sent to the sandbox."""
        from include.audience import user_sets
        from luigisbox.uploads import send_users

        send_users(self.box.client(), self.root, "shop", self.audience(run, *ids))
        return user_sets.live(self.root, "shop")


@pytest.fixture
def shop(staging: Path, tmp_path: Path, box: Box, monkeypatch: pytest.MonkeyPatch) -> Shop:
    (tmp_path / "publishers").mkdir()
    return Shop(staging, tmp_path / "publishers", box, monkeypatch)


@pytest.fixture
def new_shop() -> type[Shop]:
    """Makes shops with other stores, or without a sandbox."""
    return Shop


@pytest.fixture(scope="module")
def purchases(sandbox: Running) -> None:
    """What recommendations are made of: ten users who bought things."""
    rows = [
        {"session_id": f"s{user}-{basket}", "identity": f"p{(user * 3 + basket + item) % 12}", "user_id": f"u{user}"}
        for user in range(10)
        for basket in range(3)
        for item in range(3)
    ]
    path = sandbox.state / "purchases.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chunk = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    Client(Settings(sandbox.url, sandbox.tracker, sandbox.private_key)).upload_transactions(path, chunk)
    for _ in range(500):
        states = [upload["state"] for upload in requests.get(f"{sandbox.url}/_sandbox/uploads").json()]
        if states == ["accepted"]:
            return
        time.sleep(0.01)
    raise AssertionError(states)
