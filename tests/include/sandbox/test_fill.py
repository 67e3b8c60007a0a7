"""Filling: deterministic, with exact counts."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from include.sandbox.fill import fill_klaviyo, main


def stored(state: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(state / "klaviyo.sqlite")) as connection:
        return connection.execute(question).fetchall()


ALL = "SELECT n, id, email, external_id, properties, consent, suppressed FROM profiles ORDER BY n"


def test_the_same_seed_makes_the_same_profiles(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    counts = [fill_klaviyo(tmp_path / name, 2_000, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))]
    assert counts[0] == counts[1]
    assert stored(tmp_path / "a", ALL) == stored(tmp_path / "b", ALL) != stored(tmp_path / "c", ALL)


def test_the_counts_are_what_is_stored(tmp_path: Path) -> None:
    counts = fill_klaviyo(tmp_path, 2_000)
    assert counts["profiles"] == len(stored(tmp_path, ALL)) == 2_001
    assert all(counts["dirt"].values())
    members = dict(stored(tmp_path, "SELECT source, count(*) FROM members GROUP BY 1"))
    for source, kinds in counts["sources"].items():
        assert sum(kinds.values()) == members.get(source, 0)
    (twice,) = stored(
        tmp_path, "SELECT count(*) FROM (SELECT 1 FROM profiles GROUP BY external_id HAVING count(*) = 2)"
    )
    assert twice[0] > 0


def test_filling_again_replaces(tmp_path: Path) -> None:
    fill_klaviyo(tmp_path, 50)
    fill_klaviyo(tmp_path, [("a", "a@example.com"), ("b", "b@example.com")])
    assert len(stored(tmp_path, ALL)) == 3


def test_the_command_takes_a_number_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("id,email\nh1,h1@example.com\nh2,h2@example.com\n", "utf-8")
    state = tmp_path / "state"
    assert main(["--state", str(state), "--klaviyo", str(file), "--smartemailing", "20"]) == 0
    assert "profiles" in capsys.readouterr().out
    assert len(stored(state, ALL)) == 3


@pytest.mark.parametrize("content", ["name\nx\n", None], ids=["columns", "missing"])
def test_a_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    file = tmp_path / "customers.csv"
    if content:
        file.write_text(content, "utf-8")
    assert main(["--state", str(tmp_path / "state"), "--klaviyo", str(file)]) == 2
    assert "customers.csv" in capsys.readouterr().err
