"""The ledger as text."""

from pathlib import Path

from include.ledger import Month, sqlite_ledger
from include.ledger.tables import book_text, files_table, history_table, months_table, open_table
from tests.include.ledger.workers import BOOK, claim, sha256


def test_months_by_state() -> None:
    months = [
        Month("", "confirmed", 1, 2, 3),
        Month("2026-02", "confirmed", 1, 1_000, 20_000),
        Month("2026-02", "unknown", 1, 5, 6),
    ]
    assert months_table(months, "sessions").splitlines() == [
        "month    confirmed sessions  confirmed rows  unknown sessions  unknown rows",
        "no time                   2               3",
        "2026-02               1,000          20,000                 5             6",
        "all                   1,002          20,003                 5             6",
    ]
    assert "hold nothing" in months_table([*months, Month("2026-02", "refused", 1, 5, 6)], "sessions")
    assert months_table([], "sessions") == "(nothing yet)"


def test_a_book_at_a_glance(tmp_path: Path) -> None:
    ledger = sqlite_ledger(tmp_path / "ledger.sqlite")
    assert "(nothing yet)" in book_text(ledger, BOOK)
    assert "No file is of unknown fate." in book_text(ledger, BOOK)
    claim(ledger, range(3), by="task 1")
    ledger.settle(BOOK, sha256("a"), "unknown", "task 1", "no answer in 600 s")
    text = book_text(ledger, BOOK)
    assert "3 sessions, 6 rows, 600 bytes" in text
    assert "claimed by task 1 at 2" in text
    assert "no answer in 600 s" in text
    assert f"settle --publisher shop --sha256 {sha256('a')[:12]} --as prepared" in text
    head, line = files_table(ledger.entries(BOOK)).splitlines()
    assert head.split() == ["file", "state", "sessions", "rows", "bytes", "changed", "by", "run,", "note"]
    assert line.split()[:5] == [sha256("a")[:12], "unknown", "3", "6", "600"]
    changes = history_table(ledger.history(BOOK, sha256("a"))).splitlines()
    assert [line.split()[2] for line in changes[1:]] == ["sending", "unknown"]


def test_the_other_room_is_named_in_the_command(tmp_path: Path) -> None:
    ledger, book = sqlite_ledger(tmp_path / "ledger.sqlite"), "shop/interactions"
    from tests.include.ledger.workers import index_of, note_of

    ledger.claim(book, note_of(index_of([1])), index_of([1]), "me")
    assert "settle --publisher shop --room interactions --sha256" in open_table(ledger.entries(book))
    assert "1 interactions, 2 rows" in open_table(ledger.entries(book))


def test_nothing_is_said_of_nothing() -> None:
    assert files_table([]) == "(nothing yet)"
    assert history_table([]) == "when  state  by  why"
