"""A write-back that is killed again and again: nothing is lost, nothing comes twice, the books balance."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
WRITER = Path(__file__).with_name("writer.py")
CONTACTS = 1200
CALL = 25
KILLS = 8


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    return subprocess.Popen(
        [sys.executable, str(WRITER), url, str(folder), str(CONTACTS)], env=environment, stderr=subprocess.PIPE
    )


def imports(account: Any) -> int:
    return sum(each["path"].endswith("/import") for each in account.requests())


def kill_after(account: Any, process: subprocess.Popen[bytes], calls: int, seconds: float) -> None:
    wanted = imports(account) + calls
    while process.poll() is None and imports(account) < wanted:
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_at_random_points(account: Any, tmp_path: Path) -> None:
    account.fill(CONTACTS)
    chance = random.Random(20)
    for _ in range(KILLS):
        kill_after(account, start(account.url, tmp_path), chance.randint(1, 4), chance.random() * 0.02)
    assert 0 < len(list(tmp_path.glob("call-*.json"))) < CONTACTS // CALL  # the kills came in the middle
    process = start(account.url, tmp_path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()

    calls = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("call-*.json"))]
    written = [email for call in calls for email in call["written"]]
    refused = {email: reason for call in calls for email, reason in call["refused"].items()}
    assert len(written) == len(set(written)) == CONTACTS - CONTACTS // 100
    assert refused == {f"nobody{number}": "skipped" for number in range(100, CONTACTS + 1, 100)}
    assert account.values(4) == {email: f"value {email[4:-12]}" for email in written}
    assert account.query("SELECT count(*) FROM contacts") == [(CONTACTS + 1,)]
    sent = imports(account)
    assert CONTACTS // CALL <= sent <= CONTACTS // CALL + 2 * KILLS

    again = start(account.url, tmp_path)
    again.communicate(timeout=60)
    assert (again.returncode, imports(account)) == (0, sent)
