"""A write-back that is killed again and again: nothing is lost, nothing comes twice, the books balance."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.objects import arrow
from tests.forks import Run, forking

CONTACTS = 600
BAD = CONTACTS // 100
CALL = 25
KILLS = 5


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Path:
    """A staging store on a disk or in an object store."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def run(place: Path) -> Iterator[Run]:
    with forking("tests.plugins.smartemailing.writer") as running:
        yield running


def finish(run: Run, account: Any, folder: Path, batch: str) -> dict[str, int]:
    code, figures = run(account.url, folder.as_uri(), CONTACTS, batch)
    assert code == 0
    return dict(figures)


def kill(run: Run, account: Any, folder: Path, batch: str, calls: int, seconds: float) -> None:
    assert run(account.url, folder.as_uri(), CONTACTS, batch, calls, seconds) == (-signal.SIGKILL, None)


def imports(account: Any) -> int:
    return sum(each["path"].endswith("/import") for each in account.requests())


def values_after(batch: str) -> dict[str, str]:
    users = [(f"c{number:05d}", f"user{number}@example.com", number) for number in range(1, CONTACTS + 1)]
    return {email: f"{batch} {user}" if n % 3 == 1 else user for user, email, n in users if n % 100}


@pytest.mark.parametrize("place", ["staging", "s3_staging"], indirect=True)
def test_killed_at_random_points(run: Run, account: Any, place: Path) -> None:
    account.fill(CONTACTS)
    chance = random.Random(20)
    for _ in range(KILLS):
        kill(run, account, place, "one", chance.randint(1, 3), chance.random() * 0.02)
    settled = len(list((place / "one" / "part-000").glob("sending-*/calls/*.json")))
    assert 0 < settled < CONTACTS // CALL

    figures = finish(run, account, place, "one")
    assert (figures["recipients"], figures["sent"], figures["set_aside"]) == (CONTACTS, CONTACTS - BAD, BAD)
    assert account.values(4) == values_after("one")
    assert account.query("SELECT count(*) FROM contacts") == [(CONTACTS + 1,)]
    path = place / "one" / "part-000" / "rejects.parquet"
    rejects = pq.read_table(str(path), filesystem=arrow(path)).to_pylist()
    expected = [{"recipient": f"nobody{number}", "reason": "skipped"} for number in range(100, CONTACTS + 1, 100)]
    assert sorted(rejects, key=str) == sorted(expected, key=str)
    assert imports(account) <= CONTACTS // CALL + KILLS  # each kill costs one call at most


@pytest.mark.parametrize("place", ["staging"], indirect=True)
def test_only_what_changed_is_sent_even_after_a_kill(run: Run, account: Any, place: Path) -> None:
    account.fill(CONTACTS)
    finish(run, account, place, "one")
    account.forget()
    again = finish(run, account, place, "one")
    assert (again["sent"], again["unchanged"], again["set_aside"]) == (0, CONTACTS - BAD, BAD)
    assert imports(account) == 1  # those who were set aside are tried anew

    kill(run, account, place, "two", 3, 0.005)
    figures = finish(run, account, place, "two")
    assert account.values(4) == values_after("two")
    assert figures["recipients"] == CONTACTS == figures["sent"] + figures["unchanged"] + figures["set_aside"]
    assert CONTACTS // 3 - BAD <= figures["sent"] <= CONTACTS // 3
    assert figures["set_aside"] == BAD
