"""Senders killed with signal 9 at every boundary, on both ledgers: in the end all has arrived, and nothing twice.

The driver does the same some hundred times: ``python -m tests.plugins.luigisbox.kill_driver --kills 300``.
"""

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests.plugins.luigisbox.kill_driver import Driver, database_of_its_own, driver
from tests.services import no_service

POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
SEED = int(os.environ.get("KILL_SEED", "11"))
KILLS = 10
"""On each ledger, one process at a time; more die in the backfills."""


@pytest.fixture(scope="module")
def sender_of_shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with driver(tmp_path_factory.mktemp("kills"), SEED) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def ledger_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
        return
    try:
        psycopg.connect(POSTGRES, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        no_service(f"no Postgres to test on at TEST_POSTGRES: {error}")
    with database_of_its_own(POSTGRES) as url:
        yield url


@pytest.fixture(scope="module")
def killer(sender_of_shops: Driver, ledger_place: str) -> Driver:
    sender_of_shops.use(ledger_place)
    return sender_of_shops


def test_whatever_kills_a_sender_each_session_arrives_once(killer: Driver) -> None:
    until = killer.killed() + KILLS
    while killer.killed() < until:
        killer.one_by_one(killer.shop(2), until - killer.killed())
    assert len(killer.kills) > 3, killer.kills


def test_answers_that_are_lost_leave_nothing_free(killer: Driver, ledger_place: str) -> None:
    killer.lost_answers(killer.shop(1), "500" if ledger_place.startswith("postgresql:") else "reset_after_store")


def test_a_file_that_was_stored_when_its_sender_died_is_not_sent_again(killer: Driver, ledger_place: str) -> None:
    late = ledger_place.startswith("postgresql:")
    phase = "after the answer, before the note" if late else "answered, before it is read"
    killer.killed_when_stored(killer.shop(1), phase)


def test_a_lock_that_is_lost_in_the_middle_of_an_upload(killer: Driver) -> None:
    killer.lost_lock(killer.shop(1))


def test_overlapping_backfills_in_parallel_send_each_session_once(killer: Driver) -> None:
    killer.backfill(killer.shop(3), 2)
