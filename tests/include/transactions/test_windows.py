"""Which sessions belong to a run: whatever windows a shop's history is read in, each session is sent by one of them."""

import logging
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.transactions.windows import Belonging, Window, microsecond, microseconds
from tests.include.transactions.shop import build, rejects, sent, units, uploaded

DAY = {"start": "2024-05-02T00:00:00+00:00", "end": "2024-05-03T00:00:00+00:00"}
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOURS = 6
Row = tuple[Any, ...]


def test_a_session_belongs_to_the_window_of_its_first_purchase(tmp_path: Path) -> None:
    rows = [
        ("before", "1", None, "2024-05-01 23:59:59.999999"),
        ("before", "2", None, "2024-05-02 00:10:00"),
        ("begins", "1", None, "2024-05-02 00:00:00"),
        ("begins", "2", None, "2024-05-03 05:00:00"),
        ("begins", "2", None, "2024-05-03T05:00:00Z"),  # its duplicate goes with it
        ("begins", "3", None, None),
        ("after", "1", None, "2024-05-03 00:00:00"),
        ("after", "1", None, "2024-05-03 00:00:00"),
        ("never", "1", None, None),
    ]
    manifest = build(tmp_path, *rows, window=DAY)
    assert {line["session_id"] for line in uploaded(tmp_path)} == {"begins"}
    assert manifest["reasons"] == {"duplicate": 1, "session_without_time": 1}
    assert manifest["books"] == {"extracted": 9, "rejected": 1, "duplicates": 1, "elsewhere": 4, "uploaded": 3}
    assert manifest["elsewhere"] == 4
    assert manifest["window"] == {name: edge.replace("+", ".000000+") for name, edge in DAY.items()}
    for values in ({"sessions": "as_extracted", "window": DAY}, {}):
        manifest = build(tmp_path, *rows, **values)
        assert (manifest["sessions"], manifest["elsewhere"], manifest["window"]) == (4, 0, None)


def test_edges_are_moments_whatever_their_zone(tmp_path: Path) -> None:
    rows = [("a", "1", None, "2024-05-01 22:00:00"), ("b", "1", None, "2024-05-02 22:00:00")]
    prague = {"start": "2024-05-02T00:00:00+02:00", "end": "2024-05-03T00:00:00+02:00"}
    build(tmp_path, *rows, window=prague)
    assert [line["session_id"] for line in uploaded(tmp_path)] == ["a"]


@pytest.mark.parametrize("bad", [("1", "yesterday", None), ("", "2024-05-01", None), (None, "2024-05-01", None)])
def test_refused_rows_do_not_move_their_session(tmp_path: Path, bad: Row) -> None:
    product, time, user = bad
    rows = [("s", product, user, time), ("s", "2", None, "2024-05-02 10:00:00")]
    for order in (rows, rows[::-1]):
        build(tmp_path, *order, window=DAY)
        assert [line["identity"] for line in uploaded(tmp_path)][-1:] == ["2"]


def test_a_refused_row_is_counted_in_the_window_of_its_own_time(tmp_path: Path) -> None:
    rows = [
        ("s", None, None, "2024-05-01 10:00:00"),
        ("s", None, None, "2024-05-02 10:00:00"),
        ("s", b"\xff", None, "2024-05-01 10:00:00"),
        ("s", b"\xff", None, "2024-05-02 10:00:00"),
        ("s", b"\xff", None, "yesterday"),
        ("s", "p", None, "yesterday"),
        ("s", None, None, None),
        (b"\xff", "p", None, "2024-05-03"),
    ]
    manifest = build(tmp_path, *rows, window=DAY)
    assert manifest["reasons"] == {"no_identity": 2, "not_utf8": 2, "unreadable_time": 1}
    assert manifest["books"] == {"extracted": 8, "rejected": 5, "duplicates": 0, "elsewhere": 3, "uploaded": 0}


def test_sessions_are_refused_where_they_belong(tmp_path: Path) -> None:
    two_users = [("two", "1", "u", "2024-05-01 23:00:00"), ("two", "2", "v", "2024-05-02 01:00:00")]
    large = [("giant", f"product-{n}", None, f"2024-05-01 23:{n % 60:02d}:00") for n in range(100)]
    assert build(tmp_path, *two_users, *large, window=DAY, max_file_bytes=1000)["reasons"] == {}
    before = {"start": "2024-05-01T00:00:00+00:00", "end": "2024-05-02T00:00:00+00:00"}
    manifest = build(tmp_path, *two_users, *large, window=before, max_file_bytes=1000)
    assert manifest["reasons"] == {"session_of_two_users": 2, "session_too_large": 100}


def test_printed_floats_do_not_move_their_session(tmp_path: Path) -> None:
    rows = [("s", "17850.0", None, "2024-05-01 23:00:00"), ("s", "17851", None, "2024-05-02 01:00:00")]
    build(tmp_path, *rows, window=DAY)
    assert [line["identity"] for line in uploaded(tmp_path)] == ["17851"]


def test_sessions_longer_than_told_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("s", "1", None, "2024-05-02 10:00:00"), ("s", "2", None, "2024-05-02 12:00:00"), ("s", "3", None, None)]
    with caplog.at_level(logging.WARNING):
        build(tmp_path, *rows, window=DAY, session_hours=2)
        build(tmp_path, *rows, session_hours=1)
    assert not caplog.records
    build(tmp_path, *rows, window=DAY, session_hours=1)
    assert "1 sessions last longer than past_transactions.session_hours = 1" in caplog.text


def test_limits_are_held_against_the_rows_of_the_run(tmp_path: Path) -> None:
    foreign = [("f", str(n), None, "2024-05-01 10:00:00") for n in range(98)]
    rows = [("s", "1", None, "2024-05-02 10:00:00"), ("t", None, None, "2024-05-02 10:00:00")]
    with pytest.raises(BadInput, match="1 of 2 extracted rows were rejected"):
        build(tmp_path, *foreign, *rows, window=DAY, refuse_reject_percent=20)


@pytest.mark.parametrize(
    ("window", "sentence"),
    [
        ({"start": DAY["end"], "end": DAY["start"]}, "the window is empty"),
        ({"start": DAY["start"], "end": DAY["start"]}, "the window is empty"),
        ({"start": "2024-05-02", "end": "2024-05-03"}, "carries no time zone"),
        ({"start": "today", "end": "tomorrow"}, "start and end in ISO-8601"),
        ({"start": DAY["start"]}, "start and end in ISO-8601"),
    ],
)
def test_windows_that_are_none(tmp_path: Path, window: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        build(tmp_path, ("s", "p", None, None), window=window)
    assert not (tmp_path / "manifest.json").exists()


def test_numbers_of_moments() -> None:
    moments = [datetime(1, 1, 1), None, datetime(2024, 5, 1, 12, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]
    found = microseconds(pa.array(moments, pa.timestamp("us")))
    assert [None if n == np.iinfo(np.int64).min else n for n in found.tolist()] == [
        moment and microsecond(moment.replace(tzinfo=UTC)) for moment in moments
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(-2, 4)), max_size=25), st.integers(1, 6))
def test_batches_do_not_matter(rows: list[tuple[int, int | None]], size: int) -> None:
    window = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 0, 2, UTC))
    rows.sort(key=lambda row: (row[0], row[1] is None, row[1]))
    belonging = Belonging(window)
    found: list[bool] = []
    for start in range(0, len(rows) + 1, size):
        sessions, times = ([row[place] for row in rows[start : start + size]] for place in (0, 1))
        texts = pa.array([str(session) for session in sessions], pa.large_string())
        found += belonging.rows(texts, pa.array(times, pa.timestamp("us"))).tolist()
    firsts: dict[int, int | None] = {}
    for session, time in rows:
        firsts.setdefault(session, time)
    assert found == [firsts[session] in (None, 0, 1) for session, _ in rows]


def time(hours: float) -> str:
    return (BEGIN + timedelta(hours=hours)).isoformat()


@st.composite
def shops(draw: st.DrawFn) -> list[tuple[float, Row]]:
    """Rows with the hour by which a query finds them; sessions last HOURS at most, some rows are repeated or bad."""
    rows: list[tuple[float, Row]] = []
    for session in range(draw(st.integers(0, 12))):
        begin = draw(st.integers(0, 60))
        bought = st.tuples(
            st.integers(0, 2 * HOURS).map(lambda half: half / 2),
            st.sampled_from(["p", "q", "7", "p", "q", "7", "7.0", None, " ", b"\xff"]),
            st.sampled_from([None, "u", "u", "u", "v", "1.0"] if session % 3 == 0 else [None, "u"]),
            st.sampled_from([True, True, True, False]),
        )
        name = draw(st.sampled_from([f"s{session}", f"s{session}", f"{session}", f"{session}.0"]))
        for after, product, user, timed in draw(st.lists(bought, min_size=1, max_size=5)):
            rows.append((begin + after, (name, product, user, time(begin + after) if timed else None)))
        rows += draw(st.lists(st.sampled_from(rows), max_size=2))  # duplicates
    return rows


def read(shop: list[tuple[float, Row]], start: float, end: float) -> list[Row]:
    """What a query over the widened window brings."""
    return [row for hour, row in shop if start - HOURS <= hour < end + HOURS]


@settings(max_examples=10, deadline=None)
@given(
    shop=shops(),
    cuts=st.sets(st.integers(0, 66), max_size=3),
    overlapping=st.tuples(st.integers(0, 40), st.integers(1, 30)),
    chance=st.randoms(use_true_random=False),
)
def test_any_windows_in_any_order_send_what_one_run_of_all_would(
    tmp_path_factory: pytest.TempPathFactory,
    shop: list[tuple[float, Row]],
    cuts: set[int],
    overlapping: tuple[int, int],
    chance: random.Random,
) -> None:
    values = {"session_hours": HOURS, "max_file_bytes": 1000}
    whole = tmp_path_factory.mktemp("whole")
    build(whole, *(row for _, row in shop), **values)
    # A session of which no time is known belongs to no window; it is refused wherever it comes.
    wanted = {unit["key"]: unit["content"] for unit in units(whole) if unit["day"] is not None}
    edges = [-1, *sorted(cuts), 80]
    windows = list(pairwise(edges))
    chance.shuffle(windows)

    def run(start: float, end: float) -> tuple[dict[bytes, int], list[Row]]:
        folder = tmp_path_factory.mktemp("run")
        rows = read(shop, start, end)
        chance.shuffle(rows)
        books = build(folder, *rows, window={"start": time(start), "end": time(end)}, **values)["books"]
        assert books["extracted"] == len(rows) == sum(books.values()) - books["extracted"]
        return sent(folder), rejects(folder)

    found = [run(*window) for window in windows]
    assert sum(len(sessions) for sessions, _ in found) == len(wanted)
    assert {key: content for sessions, _ in found for key, content in sessions.items()} == wanted
    # However much the runs read, each row with a time is refused once, for the same reason.
    assert timed(row for _, refused in found for row in refused) == timed(rejects(whole))
    assert run(overlapping[0], sum(overlapping))[0].items() <= wanted.items()


def timed(refused: Iterable[Row]) -> Counter[Row]:
    return Counter(row for row in refused if row[3] is not None)


def test_part_of_a_session_is_never_sent_for_want_of_its_time(tmp_path: Path) -> None:
    """A query that always brings what has no time brings it without the purchases that say when the session was."""
    rows = [("s", "1", None, "2024-05-01 10:00:00"), ("s", "2", None, None), ("t", "1", None, "2024-05-02")]
    manifest = build(tmp_path, *rows[1:], window=DAY)
    assert [line["session_id"] for line in uploaded(tmp_path)] == ["t"]
    assert manifest["reasons"] == {"session_without_time": 1}
    before = {"start": "2024-05-01T00:00:00Z", "end": "2024-05-02T00:00:00Z"}
    build(tmp_path, *rows, window=before)
    assert [line["identity"] for line in uploaded(tmp_path)] == ["1", "2"]


def test_an_id_is_judged_the_same_whatever_comes_with_it(tmp_path: Path) -> None:
    day = [*((f"a{n}", str(n), "u", "2024-05-02 10:00:00") for n in range(9)), ("a0", "77.0", "u", "2024-05-02 10:05")]
    neighbours = [(f"b{n}", f"SKU{n}", "u", "2024-05-03 10:00:00") for n in range(20)]
    for float_ids in ("reject", "keep"):
        found = []
        for rows in (day, [*day, *neighbours]):
            build(tmp_path, *rows, window=DAY, float_ids=float_ids)
            found.append(sent(tmp_path))
            assert ("77.0" in {line["identity"] for line in uploaded(tmp_path)}) is (float_ids == "keep")
        assert found[0] == found[1]


def test_a_purchase_without_a_time_goes_with_its_session(tmp_path: Path) -> None:
    rows = [("s", "1", None, "2024-05-01 10:00:00"), ("s", "2", None, None)]
    build(tmp_path, *rows, window=DAY)
    assert uploaded(tmp_path) == []
    assert rejects(tmp_path) == []
