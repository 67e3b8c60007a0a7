"""The ledger's meaning: states, claims, comparison, months, forgetting; the same on every database."""

import sqlite3
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.errors import BadInput, PipelineError
from include.ledger import CHANGED, NEW, SENT, UNKNOWN, AlreadyClaimed, AlreadySent, Busy, Ledger, Unsettled
from tests.include.ledger.workers import BOOK, claim, index_of, note_of, sha256


def codes(ledger: Ledger, units: list[int] | range, **more: int) -> list[int]:
    found: list[int] = ledger.compare(BOOK, index_of(units, **more)).codes.to_pylist()
    return found


def test_the_way_of_a_file(ledger: Ledger) -> None:
    assert ledger.entries(BOOK) == []
    index = index_of(range(10))
    claimed = ledger.claim(BOOK, note_of(index), index, "task 1")
    assert (claimed.state, claimed.claimed_by, claimed.units, claimed.rows) == ("sending", "task 1", 10, 20)
    assert codes(ledger, range(12)) == [UNKNOWN] * 10 + [NEW] * 2
    settled = ledger.settle(BOOK, claimed.sha256, "confirmed", "task 1", "200")
    assert (settled.state, settled.changed_by, settled.note) == ("confirmed", "task 1", "200")
    assert codes(ledger, range(12)) == [SENT] * 10 + [NEW] * 2
    assert codes(ledger, range(12), content=2) == [CHANGED] * 10 + [NEW] * 2
    assert [(change.by, change.state, change.why) for change in ledger.history(BOOK, claimed.sha256)] == [
        ("task 1", "sending", ""),
        ("task 1", "confirmed", "200"),
    ]
    with pytest.raises(AlreadySent, match=r"was confirmed at .*; it is not sent again") as caught:
        claim(ledger, range(10))
    assert caught.value.entries == ledger.entries(BOOK)


def test_the_key_is_the_unit_and_the_book(ledger: Ledger) -> None:
    claim(ledger, range(10), "a")
    with pytest.raises(AlreadyClaimed, match="some of its units are in other files") as caught:
        claim(ledger, range(9, 20), "b")
    assert [entry.sha256 for entry in caught.value.entries] == [sha256("a")]
    assert "at least 1 in shop/transactions, file" in str(caught.value)
    assert len(ledger.entries(BOOK)) == 1, "the claim failed as a whole"
    assert codes(ledger, range(9, 20)) == [UNKNOWN] + [NEW] * 10
    other, index = "shop/interactions", index_of(range(10))
    assert ledger.claim(other, note_of(index), index, "me").book == other


@pytest.mark.parametrize("outcome", ["refused", "prepared"])
def test_what_did_not_arrive_frees_its_units(ledger: Ledger, outcome: str) -> None:
    note = claim(ledger, range(10), "a")
    ledger.settle(BOOK, note.sha256, outcome, "me", "422")  # type: ignore[arg-type]
    assert codes(ledger, range(10)) == [NEW] * 10
    claim(ledger, range(5, 15), "b")
    with pytest.raises(AlreadyClaimed, match="at least 5 in"):
        claim(ledger, range(10), "a")
    assert ledger.entry(BOOK, sha256("a")).state == outcome
    ledger.settle(BOOK, sha256("b"), outcome, "me", "422")  # type: ignore[arg-type]
    index = index_of(range(10))
    again = ledger.claim(BOOK, note_of(index, "a", "run-2"), index, "you")
    assert (again.state, again.run, again.claimed_by) == ("sending", "run-2", "you")
    assert len(ledger.history(BOOK, sha256("a"))) == 3
    assert sum(month.units for month in ledger.months(BOOK) if month.state == "sending") == 10


def test_unknown_holds_its_units_until_it_is_settled(ledger: Ledger) -> None:
    claim(ledger, range(10), "a")
    claim(ledger, range(10, 20), "b")
    ledger.settle(BOOK, sha256("b"), "confirmed", "me", "200")
    with ledger.one_sender(BOOK, "you"):
        (left,) = ledger.recover(BOOK, "you")
    assert (left.sha256, left.state, left.changed_by) == (sha256("a"), "unknown", "you")
    assert "its sender ended without saying how (me)" in left.note
    for name in ("a", "c"):
        with pytest.raises(AlreadyClaimed):
            claim(ledger, range(10), name)
    compared = ledger.compare(BOOK, index_of(range(5, 25)))
    assert compared.unknown == [left]
    assert {code: tuple(count) for code, count in compared.counts.items()} == {
        NEW: (5, 10), SENT: (10, 20), CHANGED: (0, 0), UNKNOWN: (5, 10)
    }  # fmt: skip
    assert ledger.compare(BOOK, index_of(range(10, 25))).unknown == []
    with ledger.one_sender(BOOK):
        assert ledger.recover(BOOK, "a third") == [left], "nothing is written twice"
    assert len(ledger.history(BOOK, left.sha256)) == 2
    ledger.settle(BOOK, left.sha256, "prepared", "Jana", "not in the application")
    assert codes(ledger, range(10)) == [NEW] * 10


@pytest.mark.parametrize("outcome", ["prepared", "refused", "unknown"])
def test_what_is_confirmed_stays_confirmed(ledger: Ledger, outcome: str) -> None:
    note = claim(ledger, range(3))
    first = ledger.settle(BOOK, note.sha256, "confirmed", "me", "200")
    assert ledger.settle(BOOK, note.sha256, "confirmed", "you", "again") == first
    with pytest.raises(PipelineError, match="is confirmed; there is no attempt to settle"):
        ledger.settle(BOOK, note.sha256, outcome, "you", "?")  # type: ignore[arg-type]
    assert codes(ledger, range(3)) == [SENT] * 3


def test_only_an_attempt_can_be_settled(ledger: Ledger) -> None:
    note = claim(ledger, range(3))
    for never in ("sending", "sent", ""):
        with pytest.raises(PipelineError, match="cannot settle as"):
            ledger.settle(BOOK, note.sha256, never, "me", "?")  # type: ignore[arg-type]
    ledger.settle(BOOK, note.sha256, "prepared", "me", "no connection")
    with pytest.raises(PipelineError, match="is prepared; there is no attempt to settle as confirmed"):
        ledger.settle(BOOK, note.sha256, "confirmed", "me", "?")
    for unknown in (("other/transactions", note.sha256), (BOOK, "cd" * 32)):
        with pytest.raises(PipelineError, match="the ledger knows no file"):
            ledger.settle(*unknown, "confirmed", "me", "?")


def test_an_index_that_does_not_fit_claims_nothing(ledger: Ledger, tmp_path: Path) -> None:
    index = index_of(range(10))
    with pytest.raises(BadInput, match="said to have 9 units and 18 rows, its index lists 10 and 20"):
        ledger.claim(BOOK, note_of(index.slice(1)), index, "me")
    twice = pa.concat_tables([index, index.slice(3, 1)])
    with pytest.raises(BadInput, match="lists a unit twice"):
        ledger.claim(BOOK, note_of(twice), twice, "me")
    without_key = pa.table({**{name: index[name] for name in index.schema.names}, "key": pa.nulls(10, pa.binary(16))})
    wrong = [without_key, index.drop_columns("day"), index.rename_columns(["KEY", *index.schema.names[1:]])]
    short = index.set_column(0, "key", pa.array([b"short"] * 10))
    for bad in (*wrong, short):
        with pytest.raises(BadInput, match="nothing was changed"):
            ledger.claim(BOOK, note_of(index), bad, "me")
    for path, text in ((tmp_path / "no.parquet", None), (tmp_path / "bad.parquet", b"PAR1 nonsense")):
        if text:
            path.write_bytes(text)
        with pytest.raises(BadInput, match=r"\.parquet: not readable as an index"):
            ledger.compare(BOOK, path)
    assert ledger.entries(BOOK) == []
    assert codes(ledger, range(10)) == [NEW] * 10


def test_an_empty_index_is_nothing(ledger: Ledger) -> None:
    compared = ledger.compare(BOOK, index_of([]))
    assert (len(compared.codes), compared.codes.type, compared.unknown) == (0, pa.uint8(), [])
    claim(ledger, [], "empty")
    assert ledger.settle(BOOK, sha256("empty"), "refused", "me", "").units == 0


def test_days_and_numbers_at_their_limits(ledger: Ledger) -> None:
    edges = [-(2**63), -1, 0, 2**63 - 1]
    index = pa.concat_tables([index_of([n], content=edge, day=None) for n, edge in enumerate(edges)])
    ledger.claim(BOOK, note_of(index), index, "me")
    ledger.settle(BOOK, sha256("a"), "confirmed", "me", "")
    assert ledger.compare(BOOK, index).codes.to_pylist() == [SENT] * 4
    assert [tuple(month) for month in ledger.months(BOOK)] == [("", "confirmed", 1, 4, 8)]


def test_months_count_by_purchase_and_state(ledger: Ledger) -> None:
    days = [(date(2025, 12, 31) - date(1970, 1, 1)).days, (date(2026, 1, 1) - date(1970, 1, 1)).days, None, -1]
    index = pa.concat_tables([index_of(range(10 * n, 10 * n + 5 + n), day=day) for n, day in enumerate(days)])
    ledger.claim(BOOK, note_of(index), index, "me")
    ledger.settle(BOOK, sha256("a"), "confirmed", "me", "")
    claim(ledger, [100], "b", day=days[0])
    assert [tuple(month) for month in ledger.months(BOOK)] == [
        ("", "confirmed", 1, 7, 14),
        ("1969-12", "confirmed", 1, 8, 16),
        ("2025-12", "confirmed", 1, 5, 10),
        ("2025-12", "sending", 1, 1, 2),
        ("2026-01", "confirmed", 1, 6, 12),
    ]
    assert ledger.months("other/transactions") == []


def test_forgetting_removes_old_confirmed_units_alone(ledger: Ledger) -> None:
    claim(ledger, range(10), "old", day=100)
    claim(ledger, range(10, 20), "new", day=200)
    claim(ledger, range(20, 30), "timeless", day=None)
    claim(ledger, range(30, 40), "unknown", day=100)
    index = index_of(range(10), day=100)
    ledger.claim("other/transactions", note_of(index, "old"), index, "me")
    ledger.settle("other/transactions", sha256("old"), "confirmed", "me", "")
    for name in ("old", "new", "timeless"):
        ledger.settle(BOOK, sha256(name), "confirmed", "me", "")
    assert ledger.forget("empty/transactions", date(2026, 1, 1)) == 0
    assert ledger.forget(BOOK, date.fromordinal(date(1970, 1, 1).toordinal() + 200)) == 10
    assert codes(ledger, range(40)) == [NEW] * 10 + [SENT] * 20 + [UNKNOWN] * 10
    assert ledger.compare("other/transactions", index).codes.to_pylist() == [SENT] * 10
    assert ledger.entry(BOOK, sha256("old")).units == 10, "the file and its months stay"
    assert sum(month.units for month in ledger.months(BOOK)) == 40
    assert ledger.forget(BOOK, date(2200, 1, 1)) == 10


def test_a_part_that_ended_otherwise_is_settled_on_its_own(ledger: Ledger) -> None:
    whole = claim(ledger, range(10), "whole")
    refused, unknown = index_of([3, 4]), index_of([7])
    ledger.split(BOOK, whole.sha256, note_of(refused, "refused"), refused, "refused", "me", "400")
    ledger.split(BOOK, whole.sha256, note_of(unknown, "unknown"), unknown, "unknown", "me", "no answer")
    with pytest.raises(BadInput, match="not in the file"):
        ledger.split(BOOK, whole.sha256, note_of(index_of([11]), "x"), index_of([11]), "refused", "me", "")
    with pytest.raises(AlreadyClaimed):
        ledger.split(BOOK, whole.sha256, note_of(unknown, "x"), unknown, "refused", "me", "")
    rest = ledger.settle(BOOK, whole.sha256, "confirmed", "me", "201")
    assert (rest.units, rest.rows, rest.bytes) == (7, 14, 1400)
    assert codes(ledger, range(10)) == [SENT] * 3 + [NEW] * 2 + [SENT] * 2 + [UNKNOWN] + [SENT] * 2
    assert {month.state: month.units for month in ledger.months(BOOK)} == {"confirmed": 7, "refused": 2, "unknown": 1}
    ledger.settle(BOOK, sha256("unknown"), "prepared", "Jana", "not there")
    assert codes(ledger, [7]) == [NEW]
    with pytest.raises(PipelineError, match="is confirmed, so no part of it"):
        ledger.split(BOOK, whole.sha256, note_of(unknown, "x"), unknown, "refused", "me", "")


def test_a_part_of_a_file_that_is_given_back_is_not_given_back_with_it(ledger: Ledger) -> None:
    whole, part = claim(ledger, range(10), "whole"), index_of([7])
    ledger.split(BOOK, whole.sha256, note_of(part, "part"), part, "unknown", "me", "no answer")
    ledger.settle(BOOK, whole.sha256, "prepared", "me", "503")
    assert codes(ledger, range(10)) == [NEW] * 7 + [UNKNOWN] + [NEW] * 2


def test_a_person_settles_by_the_beginning_of_the_hash(ledger: Ledger) -> None:
    note = claim(ledger, range(3))
    for beginning in ("", "xyz", "%", "ff" * 32):
        with pytest.raises(PipelineError, match=r"begin with|first characters"):
            ledger.settle_by_hand(BOOK, beginning, "confirmed", "Jana", "seen")
    with pytest.raises(PipelineError, match="say how you know"):
        ledger.settle_by_hand(BOOK, note.sha256, "confirmed", "Jana", " ")
    with (
        ledger.one_sender(BOOK, "a live sender"),
        pytest.raises(Busy, match=r"is being sent right now; .*a live sender"),
    ):
        ledger.settle_by_hand(BOOK, note.sha256[:8], "confirmed", "Jana", "seen")
    before, after = ledger.settle_by_hand(BOOK, note.sha256[:8], "confirmed", "Jana", "seen")
    assert (before.state, after.state, after.changed_by, after.note) == ("sending", "confirmed", "Jana", "seen")
    states = [(change.state, change.by) for change in ledger.history(BOOK, note.sha256)]
    assert states == [("sending", "me"), ("unknown", "Jana"), ("confirmed", "Jana")]


def test_what_a_sender_raises_comes_through_as_it_is(ledger: Ledger) -> None:
    for error in (ConnectionResetError("the vendor hung up"), sqlite3.OperationalError("database is locked")):
        with pytest.raises(type(error), match=str(error)), ledger.one_sender(BOOK):
            raise error
    with ledger.one_sender(BOOK, wait_seconds=0):
        assert ledger.recover(BOOK, "me") == []


def test_books_may_have_any_name(ledger: Ledger) -> None:
    index = index_of(range(3))
    for book in ("obchod-žluťoučký/transactions", "店/interactions", "a'; DROP TABLE units; --/x", "?%s@/\N{BUG}"):
        with ledger.one_sender(book, "žluťoučký kůň"):
            ledger.claim(book, note_of(index, "ž"), index, "kůň 🐎 %s ? @files")
        assert ledger.entries(book)[0].claimed_by == "kůň 🐎 %s ? @files"
        assert ledger.compare(book, index).counts[UNKNOWN].units == 3


def test_unsettled_says_what_to_do(ledger: Ledger) -> None:
    for number in range(12):
        claim(ledger, [number], f"file {number}", "task 1")
    with ledger.one_sender(BOOK):
        sentence = str(Unsettled(ledger.recover(BOOK, "me")))
    assert sentence.startswith("12 file(s) of unknown fate")
    assert f'settle --publisher shop --sha256 {sha256("file 3")[:12]} --as confirmed --why "…"' in sentence
    assert "settle_upload" in sentence
    assert "… and 2 more" in sentence


def test_a_long_index_is_compared_in_its_own_order(ledger: Ledger, tmp_path: Path) -> None:
    """Longer than what is sorted in memory, so it goes through the engine."""
    number, path = 210_000, tmp_path / "index.parquet"
    keys = np.random.default_rng(7).permutation(number).astype(">u8").repeat(2).tobytes()
    columns = [
        np.ones(number, np.int64),
        np.full(number, 2, np.int32),
        np.full(number, 200),
        np.full(number, 1, np.int32),
    ]
    key = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), number, [None, pa.py_buffer(keys)])
    index = pa.table([key, *columns], names=["key", "content", "rows", "bytes", "day"])
    pq.write_table(index, path)
    sent, unsettled = index.take([8]), index.take([150_000, 7, 209_999])
    ledger.claim(BOOK, note_of(sent, "sent"), sent.set_column(1, "content", pa.array([5])), "me")
    ledger.settle(BOOK, sha256("sent"), "confirmed", "me", "")
    ledger.claim(BOOK, note_of(unsettled), unsettled, "me")
    compared = ledger.compare(BOOK, path)
    found = {place: code for place, code in enumerate(compared.codes.to_pylist()) if code != NEW}
    assert found == {7: UNKNOWN, 8: CHANGED, 150_000: UNKNOWN, 209_999: UNKNOWN}
    assert compared.counts[NEW].rows == 2 * (number - 4)
    assert [entry.name for entry in tmp_path.iterdir() if "sort" in entry.name] == []
