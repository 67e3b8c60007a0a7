"""The wait with an object store for staging: the same batch as in a folder, wherever a worker is killed."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.audience import user_sets
from include.publishers.config import load_publisher
from include.recommendations import batches, coverage
from include.staging import read_json, sha256_file, to_path
from luigisbox.lineage import file_dataset
from tests.include.recommendations.documents import User, json_lines, products
from tests.plugins.luigisbox.waits import Played

SENT = datetime(2026, 11, 20, 9, tzinfo=UTC)
BATCH = json_lines([*(User(f"u{n}", {"t": products(n % 3 + 1, start=n)}) for n in range(300)), User("default")])
STOPPED = """
import importlib, sys, time

def stop(*arguments, **options):
    print("here", flush=True)
    time.sleep(600)

module, _, name = sys.argv[1].rpartition(".")
setattr(importlib.import_module(module), name, stop)
from luigisbox.operators import WaitForBatchOperator
WaitForBatchOperator(task_id="wait", publisher="shop", deadline="2099-01-01").execute({"run_id": "manual__1"})
"""


def killed_at(function: str) -> None:
    """The task runs up to the call of that function and is killed there."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}
    command = [sys.executable, "-c", STOPPED, function]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert "here\n" in iter(child.stdout.readline, "")
        child.kill()


class Wait:
    """A wait for the batch in a file, and what a run makes of it."""

    def __init__(self, shop: Any, link: Path) -> None:
        self.shop, self.link = shop, link
        shop.configure(link=link.as_uri(), connection="", form="json")
        shop.accepted("before", "u1", "u400", sent_at=SENT - timedelta(hours=1))
        self.user_set = shop.accepted("one", "u1", "u2", "absent", sent_at=SENT)

    def publish(self, _: int = 0) -> None:
        self.link.write_bytes(BATCH)
        os.utime(self.link, (SENT.timestamp() + 60,) * 2)

    def run(self) -> dict[str, Any]:
        """Wait, deferred; reconcile; gives the hashes of all files that do not name their store or the time."""
        self.link.unlink(missing_ok=True)
        played = Played(True, meanwhile=self.publish)
        result = played.run()
        assert len(played.deferrals) == 1
        folder = to_path(result.pop("uri"))
        settings, own = load_publisher("shop"), f"for-{self.user_set.name}"
        accepted = user_sets.load(self.shop.root, "shop", self.user_set.name)
        coverage.reconcile(folder, accepted, settings.batch, settings.coverage)
        parts = [part["name"] for part in read_json(folder / "manifest.json")["parts"]]
        recipients = [f"{own}/recipients/{Path(part).name}" for part in parts]
        names = ["raw.json", "manifest.json", "freshness.json", "default.parquet", f"{own}/coverage.json"]
        return {**result, **{name: sha256_file(folder / name) for name in (*names, *parts, *recipients)}}


@pytest.fixture
def make(tmp_path: Path, new_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Wait]:
    box = SimpleNamespace(url="http://127.0.0.1:9", tracker="1-2", private_key="x")
    (tmp_path / "publishers").mkdir()

    def waiting(root: Path) -> Wait:
        monkeypatch.setenv("STAGING_URI", root.as_uri())
        return Wait(new_shop(root, tmp_path / "publishers", box, monkeypatch), tmp_path / "batch.json")

    return waiting


def test_the_same_batch_whoever_is_killed(make: Callable[[Path], Wait], tmp_path: Path, s3_staging: Path) -> None:
    here = make(tmp_path / "staging").run()
    there = make(s3_staging)
    there.publish()
    folder = batches.batch_folder(s3_staging, "shop", here["sha256"])
    killed_at("luigisbox.fetch.write_json")
    assert [(folder / name).exists() for name in ("raw.json", "fetch.json")] == [True, False]
    killed_at("include.recommendations.parse._manifest")
    assert [(folder / name).exists() for name in ("recommendations/part-001.parquet", "manifest.json")] == [True, False]
    assert batches.latest(s3_staging, "shop") is None
    assert there.run() == here
    assert file_dataset(folder.as_uri()) == ("s3://shop", str(folder).removeprefix("s3://shop/"))
    assert (batches.latest(s3_staging, "shop") or {})["sha256"] == here["sha256"]
