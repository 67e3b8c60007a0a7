"""The shell recipes of docs/sandbox.md, run as they stand; only the address is this sandbox's."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "sandbox.md"
pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")


def run(client: Any, heading: str, folder: Path) -> str:
    """Run the first recipe below a heading; gives what it printed."""
    found = re.search(rf"\n## {re.escape(heading)}\n.*?\n```\n(.*?)\n```\n", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, heading
    script = found[1].replace("http://127.0.0.1:8090", client.url)
    done = subprocess.run(["sh", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=60)
    return f"{done.returncode} {done.stdout}"


def test_pins_in_bulk(client: Any, tmp_path: Path) -> None:
    assert run(client, "Pin customizations", tmp_path) == "0 {}"
    scopes = client.control("pins")
    assert [each.get("target_identity") for each in scopes] == ["tea", None]
    again = run(client, "Pin customizations", tmp_path)
    assert again.startswith("22 ")  # curl's code for a status that is an error
    assert "already exists" in again
    assert client.control("pins") == scopes


def test_purchases_for_advisable(client: Any, tmp_path: Path) -> None:
    assert run(client, "Advisable.ai", tmp_path) == '0 {"created":1}'
    assert client.control("interactions")[0]["type"] == "purchase"


def test_uploading_by_hand(client: Any, tmp_path: Path) -> None:
    assert run(client, "Uploading by hand", tmp_path) == "0 {}"
    assert client.control("state")["users"] == 1
