"""Real processes race for the same units, and are killed at every moment; the ledger stays exact."""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from include.ledger import NEW, UNKNOWN, AlreadyClaimed, Busy, Ledger
from tests.include.ledger import workers
from tests.include.ledger.workers import BOOK, Place, claim, index_of, open_ledger, running, sha256


def test_of_many_processes_one_gets_the_file(place: Place, processes: ForkServerContext) -> None:
    """The ledger does not even exist when they start."""
    with ProcessPoolExecutor(4, processes) as pool:
        outcomes = list(pool.map(partial(workers.race_for_one, place), range(8)))
    assert sorted(outcomes) == ["claimed"] + ["refused"] * 7
    assert len(open_ledger(place).entries(BOOK)) == 1


def test_files_that_overlap_never_share_a_unit(place: Place, processes: ForkServerContext) -> None:
    """Each wants six units in an order of its own, four of them wanted by its neighbours too."""
    with ProcessPoolExecutor(4, processes) as pool:
        outcomes = list(pool.map(partial(workers.race, place), range(16)))
    won = [unit for outcome, units in outcomes if outcome == "claimed" for unit in units]
    assert len(won) == len(set(won)) > 0
    ledger = open_ledger(place)
    assert sum(entry.units for entry in ledger.entries(BOOK)) == len(won)
    found = ledger.compare(BOOK, index_of(range(60))).codes.to_pylist()
    assert [unit for unit, code in enumerate(found) if code == UNKNOWN] == sorted(won)


def test_there_is_one_sender_at_a_time(place: Place, processes: ForkServerContext, tmp_path: Path) -> None:
    diary = str(tmp_path / "diary")
    with ProcessPoolExecutor(4, processes) as pool:
        list(pool.map(partial(workers.take_turns, place, diary=diary), range(8)))
    lines = Path(diary).read_text().splitlines()
    assert len(lines) == 16
    assert all(lines[at + 1] == lines[at].replace("in", "out") for at in range(0, 16, 2))


def test_a_killed_sender_leaves_its_claim_and_frees_its_turn(place: Place, processes: ForkServerContext) -> None:
    ledger = open_ledger(place)
    with running(workers.stay_after_the_claim, processes, place) as (process, told):
        assert told.recv() == "claimed"
        with pytest.raises(Busy, match=r"another process is sending .*the killed one"), ledger.one_sender(BOOK, "", 0):
            raise AssertionError
        with ledger.one_sender("another/book", wait_seconds=0):
            pass
        process.kill()
        process.join()
        with ledger.one_sender(BOOK, "the next one", wait_seconds=10):
            (left,) = ledger.recover(BOOK, "the next one")
    assert (left.sha256, left.state, left.claimed_by) == (sha256("killed"), "unknown", "the killed one")
    with pytest.raises(AlreadyClaimed):
        claim(ledger, range(100), "again")


def test_a_sender_killed_in_the_middle_of_a_claim_leaves_no_trace(place: Place, processes: ForkServerContext) -> None:
    with running(workers.stay_inside_a_claim, processes, place) as (_, told):
        assert told.recv() == "inside"
    ledger = _free(place)
    assert ledger.entries(BOOK) == []
    claim(ledger, range(100), "the next one")


def test_a_sender_killed_in_the_middle_of_a_settlement_leaves_the_claim(
    place: Place, processes: ForkServerContext
) -> None:
    with running(workers.stay_inside_a_settlement, processes, place) as (_, told):
        assert told.recv() == "inside"
    ledger = _free(place)
    assert [entry.state for entry in ledger.entries(BOOK)] == ["sending"]
    assert ledger.compare(BOOK, index_of(range(100))).counts[UNKNOWN].units == 100
    ledger.settle_by_hand(BOOK, sha256("killed"), "prepared", "Jana", "not there")
    assert ledger.compare(BOOK, index_of(range(100))).counts[NEW].units == 100


def test_a_claim_killed_at_any_moment_is_whole_or_not_there(
    place: Place, processes: ForkServerContext, tmp_path: Path
) -> None:
    index, chance, seen = tmp_path / "index.parquet", Random(place[0]), set()
    pq.write_table(index_of(range(20_000)), index)
    for _ in range(4):
        with running(workers.claim_many, processes, place, str(index)) as (process, told):
            assert told.recv() == "begins"
            time.sleep(chance.random() * 0.4)
            process.kill()
            process.join()
        ledger = _free(place)
        states = [entry.state for entry in ledger.entries(BOOK)]
        counts = ledger.compare(BOOK, index).counts
        if states in ([], ["prepared"]):
            assert counts[NEW].units == 20_000
        else:
            assert (states, counts[UNKNOWN].units) == (["sending"], 20_000)
            ledger.settle_by_hand(BOOK, sha256("killed"), "prepared", "me", "not there")
            assert ledger.compare(BOOK, index).counts[NEW].units == 20_000
        seen.add(tuple(states))
    assert seen


def _free(place: Place) -> Ledger:
    """The ledger, when the server has noticed that the process is gone."""
    ledger = open_ledger(place)
    with ledger.one_sender(BOOK, wait_seconds=10):
        ledger.recover("no/book", "me")
    return ledger
