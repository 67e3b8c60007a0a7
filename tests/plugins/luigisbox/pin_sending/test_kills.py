"""Kill -9 at every boundary of a run of pins: another try ends it, and nothing of others is lost or replaced."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.server import Running, running
from include.staging import PROJECT_ROOT

from .conftest import Place, lines_with, outcomes, scope, scopes

POINTS = {
    ("raise", "create"): [
        ("return", "PinClient.export"),
        ("return", "Notes.remember"),
        ("call", "_Body.attach"),
        ("return", "PinClient.bulk"),
        ("call", "Results.write"),
    ],
    ("override", "create"): [("return", "Newest.note"), ("return", "PinClient.bulk"), ("call", "Notes.remember")],
    ("ignore", "sync"): [
        ("return", "PinClient.bulk"),
        ("return", "PinClient.replace"),
        ("return", "PinClient.delete"),
        ("call", "PinClient.delete"),
    ],
}
SETTINGS = {"scopes_per_call": 8, "skip_bad": True, "delete": True}
Send = Callable[..., int]


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("sandbox"), pins_partial=True) as started:
        yield started


@pytest.fixture(scope="module")
def send(vendor: Running) -> Iterator[Send]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.plugins.luigisbox.pin_kill_child"],
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        whole = {"url": vendor.url, "tracker": vendor.tracker, "key": vendor.private_key, "settings": SETTINGS}

        def ask(**job: Any) -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps({**whole, **job}) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield ask
        assert process.stdin
        process.stdin.close()


@pytest.mark.parametrize(("strategy", "mode"), POINTS)
def test_killed_at_every_boundary(vendor: Running, tmp_path: Path, send: Send, strategy: str, mode: str) -> None:
    place, dice = Place(vendor, tmp_path), random.Random(f"{strategy}{mode}")
    bad = [] if mode == "sync" else [9]  # a refused line holds deletions back
    wanted = scopes(16, bad)
    for point in POINTS[strategy, mode]:
        requests.delete(f"{place.url}/_sandbox/pins").raise_for_status()
        place.put(scope("p3", tags=["theirs"]), scope("p40"))
        run = place.run(wanted, **SETTINGS)
        job = {"run": str(run[0]), "strategy": strategy, "mode": mode}
        assert send(**job, point=[*point, 1]) == -9
        if mode == "create":
            send(**job, point=[*dice.choice(POINTS[strategy, mode]), dice.randint(1, 3)])
        assert send(**job, point=None) == 0
        there = place.there()
        good = {each["target_identity"] for each in wanted} - {f"p{number}" for number in bad}
        assert there.keys() == good | ({"p40"} if mode == "create" else set())
        assert there["p3"].get("tags", []) == (["theirs"] if (strategy, mode) == ("raise", "create") else [])
        assert lines_with(run, "invalid") == [number + 1 for number in bad]
        assert lines_with(run, "conflict") == ([4] if strategy == "raise" else [])
        assert set(outcomes(run).values()) <= {"applied", "unchanged", "invalid", "conflict"}
