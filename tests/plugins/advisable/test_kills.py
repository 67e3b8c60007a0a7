"""Kill -9 at every boundary, again and again: at the end the vendor has each accepted row, and none twice."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.ledger import Ledger
from include.staging import PROJECT_ROOT
from ledgers import open_ledger
from tests.object_store import contents

from .conftest import BOOK, Box, build, interactions, rows_of, settle

POINTS = ["claim", "request", "settle", "claim", "request", "settle", "split", "recover", "compare"]
KILLS = 4


@pytest.fixture(scope="module")
def sender() -> Iterator[subprocess.Popen[str]]:
    paths = {"PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_child.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=paths,
        text=True,
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def environment() -> dict[str, str]:
    """Where staging and ledger lie, for the process that is killed."""
    return {name: value for name, value in os.environ.items() if name.startswith(("STAGING_", "LEDGER_", "AIRFLOW_"))}


def order(sender: subprocess.Popen[str], **what: Any) -> int:
    assert sender.stdin
    assert sender.stdout
    sender.stdin.write(json.dumps(what) + "\n")
    sender.stdin.flush()
    return int(sender.stdout.readline())


def wait_until_quiet(box: Box) -> None:
    """What a killed process had sent may still be on its way into the sandbox."""
    before = -1
    while (now := len(box.requests())) != before:
        before = now
        time.sleep(0.05)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Path:
    """A staging store on a disk with the ledger in it, or in an object store with the ledger in Postgres."""
    if request.param == "s3_staging":
        request.getfixturevalue("s3_ledger")
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "seed", "place"),
    [("view", 1, "staging"), ("purchase", 2, "staging"), ("view", 3, "s3_staging")],
    indirect=["place"],
)
def test_killed_at_every_boundary(kind: str, seed: int, place: Path, box: Box, sender: subprocess.Popen[str]) -> None:
    ledger = open_ledger()
    dice, settings = random.Random(seed), interactions(kind, concurrency=4)
    endings, rows = Counter[int](), list[tuple[Any, ...]]()
    while endings[-9] < (KILLS if place.as_uri().startswith("file:") else 2):  # there each attempt takes seconds
        rows = rows_of(len(rows) + 30, kind)  # each round's run brings some more, and overlaps what was sent
        run = place / f"run-{len(rows)}"
        build(run, rows[-40:], settings)
        endings += until_done(kind, run, dice, box, ledger, sender)
    assert box.stored() == Counter({(user, item, at): 1 for user, item, at, *_ in rows}), endings
    assert not ledger.entries(BOOK, ("sending", "unknown"))
    assert sum(entry.units for entry in ledger.entries(BOOK, ("confirmed",))) == len(rows)
    assert not [name for name in contents(place) if "/claims/" in name]


def until_done(
    kind: str, run: Path, dice: random.Random, box: Box, ledger: Ledger, sender: subprocess.Popen[str]
) -> Counter[int]:
    """Send a run, killed again and again, and settled like a person would; gives how the attempts ended."""
    settings = interactions(kind, concurrency=4).model_dump(mode="json", exclude_none=True)
    what = {"url": box.url, "run": run.as_uri(), "settings": settings, "environment": environment()}
    endings = Counter[int]()
    while not endings[0]:
        if dice.random() < 0.3:
            fault = dice.choice(["reset_after_store", "reset_mid_body", "503", "429", "422"])
            box.fault(fault, **({"retry_after": 0} if fault == "429" else {}))
        deadly = {"point": dice.choice(POINTS), "when": dice.choice(["before", "after"]), "number": dice.randint(1, 3)}
        endings[order(sender, **what, **deadly)] += 1
        wait_until_quiet(box)
        if endings[3]:
            settle(ledger, box)
    return endings
