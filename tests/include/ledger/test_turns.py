"""Turns that are lost and attempts that are overtaken: no two senders, and nobody speaks for another's attempt."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.errors import NotReady, PipelineError
from include.ledger import NEW, SENT, UNKNOWN, Busy, Ledger, Overtaken, State, sqlite_ledger
from tests.include.ledger.conftest import DRIVERS, empty
from tests.include.ledger.workers import BOOK, Place, claim, index_of, note_of, open_ledger, sha256


def codes(ledger: Ledger, number: int = 3) -> list[int]:
    found: list[int] = ledger.compare(BOOK, index_of(range(number))).codes.to_pylist()
    return found


def states(ledger: Ledger, name: str = "a") -> list[str]:
    return [change.state for change in ledger.history(BOOK, sha256(name))]


def end_turns(address: str) -> int:
    """Close the connections that hold a turn, as a server does that is restarted, or a firewall that forgets."""
    with psycopg.connect(address, autocommit=True) as connection:
        query = """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE locktype = 'advisory' AND datname = current_database()
        """
        return len(connection.execute(query).fetchall())


@pytest.mark.parametrize("driver", DRIVERS)
def test_whoever_lost_his_turn_claims_nothing_more(postgres: str, driver: str) -> None:
    empty(postgres)
    ledger = open_ledger((driver, postgres))
    with ledger.one_sender(BOOK, "the first"):
        claim(ledger, range(3))
        ledger.settle(BOOK, sha256("a"), "confirmed", "the first", "200")
        assert end_turns(postgres) == 1
        with open_ledger((driver, postgres)).one_sender(BOOK, "the next", wait_seconds=0):
            with pytest.raises(Busy, match=r"shop/transactions: the lock .* is lost .* Nothing was claimed") as caught:
                claim(ledger, range(3, 6), "b")
            with pytest.raises(Busy):
                ledger.recover(BOOK, "the first")
    assert isinstance(caught.value, NotReady), "another try mends it"
    assert [entry.sha256 for entry in ledger.entries(BOOK)] == [sha256("a")]


def test_a_server_that_ends_idle_sessions_does_not_end_a_turn(postgres: str) -> None:
    empty(postgres)
    weak = f"{postgres} options='-c idle_session_timeout=50'"
    ledger = open_ledger(("psycopg", weak))
    with ledger.one_sender(BOOK), psycopg.connect(postgres, autocommit=True) as other:
        other.execute("SELECT pg_sleep(0.3)")
        claim(ledger, range(3))


def test_a_lock_file_that_was_removed_does_not_let_two_send(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    one, other = sqlite_ledger(path), sqlite_ledger(path)
    with one.one_sender(BOOK, "the first"):
        (lock,) = tmp_path.glob("*shop*.lock")
        lock.unlink()
        with other.one_sender(BOOK, "the next", wait_seconds=0):
            with pytest.raises(Busy, match="its lock file removed"):
                claim(one, range(3))
            claim(other, range(3))
            with pytest.raises(Busy, match="the next"), sqlite_ledger(path).one_sender(BOOK, wait_seconds=0):
                raise AssertionError
        with other.one_sender(BOOK, wait_seconds=0):
            pass
    with one.one_sender(BOOK, wait_seconds=0):
        claim(one, range(3, 6), "b")


def test_a_turn_on_a_file_without_a_name_is_not_one(tmp_path: Path) -> None:
    """Who waited for a lock file that is removed then takes the one that has its name."""
    from include.ledger.lockfile import LockFile

    path = tmp_path / "lock"
    first, waiting, third = LockFile(path), LockFile(path), LockFile(path)
    assert first.take()
    assert not waiting.take()
    path.unlink()
    assert third.take()
    first.free()
    assert not waiting.take(), "the third one has it"
    third.free()
    assert waiting.take()
    assert waiting.mine()
    waiting.free()
    assert not waiting.mine()


@pytest.mark.parametrize("ended", ["confirmed", "prepared", "refused", "unknown"])
def test_nobody_ends_the_attempt_of_another(ledger: Ledger, place: Place, ended: State) -> None:
    """The first lost its turn, the next took it for dead and sent the same again; then the first one ends."""
    nxt = open_ledger(place)
    claim(ledger, range(3), by="the first")
    with nxt.one_sender(BOOK, "the next"):
        nxt.recover(BOOK, "the next")
        nxt.settle(BOOK, sha256("a"), "prepared", "policy", "resend")
        claim(nxt, range(3), by="the next")
        with pytest.raises(Overtaken, match="taken for dead: the next claimed the file once more") as caught:
            ledger.settle(BOOK, sha256("a"), ended, "the first", "what it saw")
        assert codes(ledger) == [UNKNOWN] * 3
        assert nxt.settle(BOOK, sha256("a"), "confirmed", "the next", "200").state == "confirmed"
    assert codes(ledger) == [SENT] * 3
    assert states(ledger) == ["sending", "unknown", "prepared", "sending", "remark", "confirmed"]
    remark = ledger.history(BOOK, sha256("a"))[4]
    assert (remark.by, remark.why) == ("the first", f"ended as {ended}, too late: what it saw")
    twice = ended in ("confirmed", "unknown")
    assert ("may have been sent twice" in str(caught.value)) == twice
    assert ("history --publisher shop" in str(caught.value)) == twice


def test_a_second_confirmation_is_not_taken_for_the_first(ledger: Ledger, place: Place) -> None:
    nxt = open_ledger(place)
    claim(ledger, range(3), by="the first")
    nxt.settle_by_hand(BOOK, sha256("a"), "prepared", "Jana", "not there")
    claim(nxt, range(3), by="the next")
    nxt.settle(BOOK, sha256("a"), "confirmed", "the next", "200")
    with pytest.raises(Overtaken, match="now it is confirmed"):
        ledger.settle(BOOK, sha256("a"), "confirmed", "the first", "200")
    part = index_of([1])
    with pytest.raises(Overtaken):
        ledger.split(BOOK, sha256("a"), note_of(part, "part"), part, "unknown", "the first", "no answer")
    assert states(ledger)[-2:] == ["remark", "remark"]


def test_an_attempt_that_was_settled_meanwhile_says_so(ledger: Ledger, place: Place) -> None:
    claim(ledger, range(3), by="the first")
    open_ledger(place).settle_by_hand(BOOK, sha256("a"), "prepared", "Jana", "not there")
    with pytest.raises(Overtaken, match=r"Jana settled it as prepared .* \(not there\)\. So the same units may"):
        ledger.settle(BOOK, sha256("a"), "confirmed", "the first", "200")
    assert codes(ledger) == [NEW] * 3
    assert states(ledger) == ["sending", "unknown", "prepared", "remark"]


@pytest.mark.parametrize("ended", ["confirmed", "prepared"])
def test_an_attempt_that_was_only_taken_for_dead_may_still_say_how_it_ended(
    ledger: Ledger, place: Place, ended: State
) -> None:
    nxt = open_ledger(place)
    claim(ledger, range(3), by="the first")
    with nxt.one_sender(BOOK):
        nxt.recover(BOOK, "the next")
        assert ledger.settle(BOOK, sha256("a"), ended, "the first", "it knows").state == ended


def test_a_stranger_settles_nothing_that_is_being_sent(ledger: Ledger, place: Place) -> None:
    stranger, part = open_ledger(place), index_of([1])
    claim(ledger, range(3), by="the first")
    attempts: list[Any] = [
        lambda: stranger.settle(BOOK, sha256("a"), "prepared", "somebody", "a guess"),
        lambda: stranger.split(BOOK, sha256("a"), note_of(part, "part"), part, "unknown", "somebody", "a guess"),
    ]
    for attempt in attempts:
        with pytest.raises(PipelineError, match=r"the first claimed it at .*only that attempt can say .*settle_upload"):
            attempt()
    assert states(ledger) == ["sending"]
    with stranger.one_sender(BOOK, "the next"):
        stranger.split(BOOK, sha256("a"), note_of(part, "part"), part, "unknown", "the next", "its sender is dead")
    assert states(ledger, "part") == ["sending", "unknown"]


def test_what_the_vendor_cancelled_is_free_again_by_hand_alone(ledger: Ledger) -> None:
    claim(ledger, range(3))
    claim(ledger, range(3, 6), "b")
    with pytest.raises(PipelineError, match="is sending; only what is confirmed"):
        ledger.settle_by_hand(BOOK, sha256("a"), "refused", "Jana", "cancelled", although_confirmed=True)
    for name in ("a", "b"):
        ledger.settle(BOOK, sha256(name), "confirmed", "me", "200")
    with pytest.raises(PipelineError, match="is confirmed; there is no attempt"):
        ledger.settle_by_hand(BOOK, sha256("a"), "refused", "Jana", "cancelled")
    for state in ("prepared", "unknown", "confirmed"):
        with pytest.raises(PipelineError, match="only as refused"):
            ledger.settle_by_hand(BOOK, sha256("a"), state, "Jana", "cancelled", although_confirmed=True)
    with pytest.raises(PipelineError, match="say how you know"):
        ledger.settle_by_hand(BOOK, sha256("a"), "refused", "Jana", "", although_confirmed=True)
    before, after = ledger.settle_by_hand(BOOK, sha256("a"), "refused", "Jana", "cancelled", although_confirmed=True)
    assert (before.state, after.state) == ("confirmed", "refused")
    assert codes(ledger, 6) == [NEW] * 3 + [SENT] * 3
    assert states(ledger) == ["sending", "confirmed", "refused"]
    claim(ledger, range(3))
