import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.audience import pages, segments
from include.audience.pages import CursorRefused, Stream, pages_folder, stage, staged, within
from include.audience.profiles import Page, Row
from include.audience.sources import Source
from include.errors import BadInput

ITEM: Source = {"index": 0, "of": 1, "source": "list:LIST01", "role": "take"}


class Platform:
    """Profiles ``p000`` ... in pages of ten; ``fails_at`` is a page before which reading breaks, once each."""

    def __init__(self, profiles: int = 95, count: int | None = -1) -> None:
        self.rows = [Row(f"p{number:03d}", f"c{number}", None) for number in range(profiles)]
        self.own_count = profiles if count == -1 else count
        self.fails_at: list[int] = []
        self.asked: list[str | None] = []
        self.refuses_cursors = False
        self.about: dict[str, Any] = {"connection": "klaviyo"}

    def read(self, cursor: str | None) -> Iterator[Page]:
        self.asked.append(cursor)
        if cursor and self.refuses_cursors:
            raise CursorRefused("not known any more")
        for start in range(int(cursor or 0), max(1, len(self.rows)), 10):
            if start // 10 in self.fails_at:
                self.fails_at.remove(start // 10)
                raise ConnectionError("lost")
            end = start + 10
            yield Page(self.rows[start:end], str(end) if end < len(self.rows) else None)

    def stream(self, **changes: Any) -> Stream:
        return Stream({**ITEM, **changes}, self.about, self.read, lambda: self.own_count)  # type: ignore[typeddict-item]


def always(page: Page, _cursor: str | None) -> Iterator[Page]:
    yield page


def keys(run: Path, item: Source = ITEM) -> list[str]:
    paths, _ = staged(run, item)
    return [key for path in paths for key in pq.read_table(path)["key"].to_pylist()]


def test_all_pages_are_staged_and_proven_complete(tmp_path: Path) -> None:
    platform = Platform()
    record = stage(tmp_path, platform.stream(), 1)
    assert keys(tmp_path) == [row.key for row in platform.rows]
    assert {**record, "mark": ""} == {
        "source": "list:LIST01",
        "role": "take",
        "rows": 95,
        "profiles": 95,
        "counted": [95, 95],
        "complete": True,
        "mark": "",
    }
    assert staged(tmp_path, ITEM)[1] == record


def test_an_empty_source_is_complete(tmp_path: Path) -> None:
    record = stage(tmp_path, Platform(0).stream(), 1)
    assert (record["rows"], record["complete"]) == (0, True)
    assert staged(tmp_path, ITEM)[1] == record


def test_a_try_goes_on_where_the_one_before_broke(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    platform = Platform()
    platform.fails_at = [0, 3, 3, 9]
    for _ in range(4):
        with pytest.raises(ConnectionError):
            stage(tmp_path, platform.stream(), 1)
        assert staged(tmp_path, ITEM)[1] is None
    with caplog.at_level(logging.INFO):
        record = stage(tmp_path, platform.stream(), 1)
    assert platform.asked == [None, None, "30", "30", "90"]
    assert keys(tmp_path) == [row.key for row in platform.rows]
    assert record["complete"]
    assert "90 rows are staged from an earlier try" in caplog.text
    assert "klaviyo, list:LIST01 (take): 95 of 95 rows" in caplog.text


@pytest.mark.parametrize("every_page", [True, False])
def test_segments_are_cut_by_time_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_page: bool) -> None:
    monkeypatch.setattr(segments, "SEGMENT_SECONDS" if every_page else "SEGMENT_ROWS", 0 if every_page else 30)
    stage(tmp_path, Platform().stream(), 1)
    paths, _ = staged(tmp_path, ITEM)
    assert len(paths) == (10 if every_page else 4)


def test_a_source_that_was_read_to_its_end_is_read_anew(tmp_path: Path) -> None:
    stage(tmp_path, Platform(95).stream(), 1)
    platform = Platform(40)
    platform.fails_at = [2]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)
    assert staged(tmp_path, ITEM)[1] is None
    assert stage(tmp_path, platform.stream(), 1)["rows"] == 40
    assert platform.asked == [None, "20"]


def test_leftovers_of_an_older_pass_are_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0)
    stage(tmp_path, Platform(95).stream(), 1)
    platform = Platform(95)
    platform.fails_at = [3]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)
    assert len(keys(tmp_path)) == 30, "segments of the first pass lie behind those of the second"
    stage(tmp_path, platform.stream(), 1)
    assert keys(tmp_path) == [row.key for row in platform.rows]


@pytest.mark.parametrize("what", ["settings", "source", "old"])
def test_rows_of_another_question_or_of_long_ago_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    platform = Platform()
    platform.fails_at = [5]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)
    if what == "settings":
        platform.about = {"connection": "klaviyo", "id": "properties.customer"}
    if what == "old":
        monkeypatch.setattr(pages, "RESUME_WITHIN", timedelta(0))
    changes = {"source": "list:OTHER"} if what == "source" else {}
    assert stage(tmp_path, platform.stream(**changes), 1)["rows"] == 95
    assert platform.asked == [None, None]


def test_a_refused_cursor_starts_the_source_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    platform = Platform()
    platform.fails_at = [5]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)
    platform.refuses_cursors = True
    assert stage(tmp_path, platform.stream(), 1)["complete"]
    assert platform.asked == [None, "50", None]
    assert keys(tmp_path) == [row.key for row in platform.rows]
    assert "not known any more" in caplog.text


def test_a_cursor_that_leads_back_to_itself_ends_the_try(tmp_path: Path) -> None:
    def read(cursor: str | None) -> Iterator[Page]:
        while True:
            yield Page([Row("p1", "c1")], "again")

    with pytest.raises(BadInput, match="it would never end"):
        stage(tmp_path, Stream(ITEM, {}, read, lambda: None), 1)
    assert keys(tmp_path) == ["p1"]


def test_a_circle_that_began_in_an_earlier_try_is_noticed(tmp_path: Path) -> None:
    """Each try dies before it has been round, so none of them sees a page twice."""
    after, asked = {None: "a", "a": "b", "b": "c", "c": "d", "d": "a"}, 0

    def read(cursor: str | None) -> Iterator[Page]:
        nonlocal asked
        for _ in range(2):
            asked += 1
            cursor = after[cursor]
            yield Page([Row(f"p{cursor}", "c1")], cursor)
        raise ConnectionError("lost")

    stream = Stream(ITEM, {}, read, lambda: None)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            stage(tmp_path, stream, 1)
    with pytest.raises(BadInput, match="it would never end"):
        stage(tmp_path, stream, 1)
    assert asked <= 6


def test_a_listing_far_longer_than_its_count_is_not_read_for_ever(tmp_path: Path) -> None:
    counted, begun = 500, []

    def read(cursor: str | None) -> Iterator[Page]:
        begun.append(cursor)
        start = int(cursor or 0)
        while True:
            start += 1
            yield Page([Row("p1", "c1")] * 100, str(start))

    for _ in range(2):
        with pytest.raises(BadInput, match="rows came, the platform counts 500; it would never end"):
            stage(tmp_path, Stream(ITEM, {}, read, lambda: counted), 1)
    assert begun == [None, None], "it is not gone on with"
    assert len(keys(tmp_path)) < 2 * counted + 2_000


def test_pages_that_just_end_are_no_end(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="without a last one"):
        stage(tmp_path, Stream(ITEM, {}, lambda _: iter([Page([Row("p1", "c1")], "next")]), lambda: None), 1)
    assert staged(tmp_path, ITEM)[1] is None


def test_two_tries_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that was thought dead writes segments of other lengths over those of its successor."""
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0)
    platform, first_may_go, second_is_far = Platform(), threading.Event(), threading.Event()
    platform.fails_at = [2]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)

    def paused(cursor: str | None) -> Iterator[Page]:
        first = True
        for page in platform.read(cursor):
            if not first:
                second_is_far.set()
                first_may_go.wait(10)
            first = False
            yield page

    def slow() -> None:
        stage(tmp_path, Stream(ITEM, platform.about, paused, lambda: 95), 1)

    thread = threading.Thread(target=slow)
    thread.start()
    second_is_far.wait(10)
    stage(tmp_path, platform.stream(), 1)
    first_may_go.set()
    thread.join()
    record = staged(tmp_path, ITEM)[1]
    assert record is None or len(keys(tmp_path)) == record["rows"]
    if record is None:
        stage(tmp_path, platform.stream(), 1)
    assert sorted(set(keys(tmp_path))) == [row.key for row in platform.rows]


def test_a_segment_that_does_not_go_on_where_the_one_before_ended_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_SECONDS", 0)
    platform = Platform()
    platform.fails_at = [5]
    with pytest.raises(ConnectionError):
        stage(tmp_path, platform.stream(), 1)
    folder = pages_folder(tmp_path, 0)
    (folder / "segment-000002.parquet").write_bytes((folder / "segment-000001.parquet").read_bytes())
    assert len(keys(tmp_path)) == 20
    assert stage(tmp_path, platform.stream(), 1)["complete"]
    assert keys(tmp_path) == [row.key for row in platform.rows]


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    stage(tmp_path, Platform().stream(), 1)
    (pages_folder(tmp_path, 0) / "segment-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"segment-000000.parquet: not a staged segment"):
        staged(tmp_path, ITEM)


@pytest.mark.parametrize(
    ("profiles", "counted", "complete"),
    [
        (100, [100, 100], True),
        (99, [100, 100], True),
        (98, [100, 100], False),
        (101, [100, 100], True),
        (102, [100, 100], False),
        (100, [90, 120], True),
        (100, [120, 90], True),
        (85, [90, 120], False),
        (0, [0, 0], True),
        (1, [0, 0], False),
        (7, [None, None], True),
        (100, [None, 100], True),
    ],
)
def test_the_platforms_own_count_proves_or_disproves(profiles: int, counted: list[int | None], complete: bool) -> None:
    assert within(profiles, counted, 1) is complete


def test_a_source_that_lacks_profiles_is_not_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = stage(tmp_path, Platform(95, count=100).stream(), 1)
    assert not record["complete"]
    assert "NOT COMPLETE" in caplog.text


def test_profiles_that_repeat_count_once(tmp_path: Path) -> None:
    platform = Platform(95)
    platform.rows[10] = platform.rows[9]
    platform.own_count = 94
    record = stage(tmp_path, platform.stream(), 0)
    assert (record["rows"], record["profiles"], record["complete"]) == (95, 94, True)


HOSTILE: list[tuple[Any, Any, str | None, str | None]] = [
    ("a", None, None, None),
    ("b", 17850, "17850", None),
    ("c", 17850.0, "17850.0", None),
    ("d", 10**40, str(10**40), None),
    ("e", True, "true", "wrong_type"),
    ("f", ["x"], '["x"]', "wrong_type"),
    ("g", {"x": 1}, '{"x": 1}', "wrong_type"),
    ("h", "half \ud800", "half \\ud800", "not_utf8"),
    ("i", "x" * 70_000, "x" * 1000, "too_long"),
    (None, "c1", "c1", "malformed"),
    ("", "c2", "c2", "malformed"),
    (["p"], "c3", "c3", "malformed"),
    ("half \ud800", "c4", "c4", "malformed"),
    (12, "c5", "c5", None),
]


@pytest.mark.parametrize("together", [True, False])
def test_values_of_any_type_are_spelled_or_refused(tmp_path: Path, together: bool) -> None:
    batches = [HOSTILE] if together else [[each] for each in HOSTILE]
    for number, batch in enumerate(batches):
        page = Page([Row(key, customer, email=3.5) for key, customer, _, _ in batch], None)
        run = tmp_path / str(number)
        stage(run, Stream(ITEM, {}, partial(always, page), lambda: None), 1)
        rows = pq.read_table(staged(run, ITEM)[0][0]).to_pylist()
        assert [(row["auth_user_id"], row["reason"]) for row in rows] == [each[2:] for each in batch]
        assert {row["email"] for row in rows} == {None}
