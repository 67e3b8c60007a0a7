"""A write-back that is killed again and again: nothing is lost, nothing comes twice, the books balance."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[3]
WRITER = Path(__file__).with_name("writer.py")
CONTACTS = 600
BAD = CONTACTS // 100
CALL = 25
KILLS = 5


def run(account: Any, folder: Path, batch: str, *kill: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    command = [sys.executable, str(WRITER), account.url, str(folder), str(CONTACTS), batch, *kill]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60)


def finish(account: Any, folder: Path, batch: str) -> dict[str, int]:
    done = run(account, folder, batch)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def kill(account: Any, folder: Path, batch: str, calls: int, seconds: float) -> None:
    done = run(account, folder, batch, str(calls), str(seconds))
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def imports(account: Any) -> int:
    return sum(each["path"].endswith("/import") for each in account.requests())


def values_after(batch: str) -> dict[str, str]:
    users = [(f"c{number:05d}", f"user{number}@example.com", number) for number in range(1, CONTACTS + 1)]
    return {email: f"{batch} {user}" if n % 3 == 1 else user for user, email, n in users if n % 100}


def test_killed_at_random_points(account: Any, tmp_path: Path) -> None:
    account.fill(CONTACTS)
    chance = random.Random(20)
    for _ in range(KILLS):
        kill(account, tmp_path, "one", chance.randint(1, 3), chance.random() * 0.02)
    settled = len(list((tmp_path / "one" / "part-000" / "calls").glob("*.json")))
    assert 0 < settled < CONTACTS // CALL

    figures = finish(account, tmp_path, "one")
    assert (figures["recipients"], figures["sent"], figures["set_aside"]) == (CONTACTS, CONTACTS - BAD, BAD)
    assert account.values(4) == values_after("one")
    assert account.query("SELECT count(*) FROM contacts") == [(CONTACTS + 1,)]
    rejects = pq.read_table(tmp_path / "one" / "part-000" / "rejects.parquet").to_pylist()
    expected = [{"recipient": f"nobody{number}", "reason": "skipped"} for number in range(100, CONTACTS + 1, 100)]
    assert sorted(rejects, key=str) == sorted(expected, key=str)
    assert imports(account) <= CONTACTS // CALL + KILLS  # each kill costs one call at most


def test_only_what_changed_is_sent_even_after_a_kill(account: Any, tmp_path: Path) -> None:
    account.fill(CONTACTS)
    finish(account, tmp_path, "one")
    account.forget()
    again = finish(account, tmp_path, "one")
    assert (again["sent"], again["unchanged"], again["set_aside"]) == (0, CONTACTS - BAD, BAD)
    assert imports(account) == 1  # those who were set aside are tried anew

    kill(account, tmp_path, "two", 3, 0.005)
    figures = finish(account, tmp_path, "two")
    assert account.values(4) == values_after("two")
    assert figures["recipients"] == CONTACTS == figures["sent"] + figures["unchanged"] + figures["set_aside"]
    assert CONTACTS // 3 - BAD <= figures["sent"] <= CONTACTS // 3
    assert figures["set_aside"] == BAD
