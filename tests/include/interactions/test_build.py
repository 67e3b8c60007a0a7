"""Rows become interactions as documented; what is refused has a reason, the books balance, the same rows repeat."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.extract import write_rows
from include.interactions import units
from include.interactions.build import build_interactions
from include.interactions.units import chunks_of, groups
from include.publishers.senders import INTERACTION_COLUMNS, Interactions

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIME = 1_760_000_000_000
TYPES = ["purchase", "view", "cart_addition", "bookmark", "rating"]


def row(**values: Any) -> tuple[Any, ...]:
    return tuple(
        {"user_id": "u", "item_id": "i", "timestamp": TIME, **values}.get(name) for name in INTERACTION_COLUMNS
    )


def build(run: Path, rows: list[tuple[Any, ...]], kind: str = "view", **more: Any) -> dict[str, Any]:
    write_rows([rows], INTERACTION_COLUMNS, INTERACTION_COLUMNS[:3], INTERACTION_COLUMNS[3:], run / "raw", 0)
    source = {"name": "rows", "type": kind, "files": "none", "time_zone": more.pop("time_zone", "UTC")}
    form = Interactions.model_validate({"sources": [source], "refuse_reject_percent": 100, **more})
    return build_interactions(run, form.sources[0], form, NOW)


def sent(run: Path) -> list[dict[str, Any]]:
    paths = sorted((run / "lines").glob("*"))
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("view", {"user_id": None}, "no_user"),
        ("view", {"user_id": "", "item_id": None}, "no_user"),
        ("view", {"item_id": ""}, "no_item"),
        ("view", {"user_id": " u"}, "surrounding_blanks"),
        ("view", {"item_id": "i\n"}, "control_character"),
        ("view", {"user_id": "u" * 256}, "too_long"),
        ("view", {"recommendation_id": "r\u2028"}, "control_character"),
        ("view", {"user_id": b"\xff"}, "not_utf8"),
        ("view", {"timestamp": None}, "no_timestamp"),
        ("view", {"timestamp": ""}, "no_timestamp"),
        ("view", {"timestamp": "yesterday"}, "unreadable_timestamp"),
        ("view", {"timestamp": "epoch"}, "unreadable_timestamp"),
        ("view", {"timestamp": "infinity"}, "unreadable_timestamp"),
        ("view", {"timestamp": "2026-02-30"}, "unreadable_timestamp"),
        ("view", {"timestamp": "1.5"}, "unreadable_timestamp"),
        ("view", {"timestamp": "1760000000000.5"}, "unreadable_timestamp"),
        ("view", {"timestamp": "9" * 30}, "unreadable_timestamp"),
        ("view", {"timestamp": TIME // 1000}, "timestamp_in_seconds"),
        ("view", {"timestamp": TIME * 1000}, "timestamp_in_microseconds"),
        ("view", {"timestamp": 0}, "timestamp_out_of_range"),
        ("view", {"timestamp": -TIME}, "timestamp_out_of_range"),
        ("view", {"timestamp": 20261121}, "timestamp_out_of_range"),
        ("view", {"timestamp": "1999-12-31 23:59:59"}, "timestamp_out_of_range"),
        ("view", {"timestamp": milliseconds(NOW + timedelta(days=1)) + 1}, "timestamp_out_of_range"),
        ("view", {"value": 3}, "value_not_allowed"),
        ("view", {"price": 1}, "price_not_allowed"),
        ("view", {"amount": 1}, "amount_not_allowed"),
        ("purchase", {"duration": 1}, "duration_not_allowed"),
        ("bookmark", {"duration": 1}, "duration_not_allowed"),
        ("rating", {}, "no_value"),
        ("rating", {"value": ""}, "no_value"),
        ("rating", {"value": 5.1}, "bad_value"),
        ("rating", {"value": -1}, "bad_value"),
        ("rating", {"value": "good"}, "bad_value"),
        ("rating", {"value": "nan"}, "bad_value"),
        ("purchase", {"price": "-0.01"}, "bad_price"),
        ("purchase", {"price": "12,50"}, "bad_price"),
        ("purchase", {"price": "1_000"}, "bad_price"),
        ("purchase", {"price": "inf"}, "bad_price"),
        ("purchase", {"price": "1e99"}, "bad_price"),
        ("cart_addition", {"amount": "two"}, "bad_amount"),
        ("view", {"duration": 1.5}, "bad_duration"),
        ("view", {"duration": -1}, "bad_duration"),
    ],
)
def test_what_is_refused_has_a_reason(kind: str, values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    good = row(user_id="good", value=5 if kind == "rating" else None)
    bad = row(**values)
    manifest = build(tmp_path, [bad, good], kind)
    assert manifest["reasons"] == {reason: 1}
    assert manifest["books"] == {"extracted": 2, "rejected": 1, "duplicates": 0, "uploaded": 1}
    [rejected] = pq.read_table(tmp_path / "rejects.parquet").to_pylist()
    assert rejected["reason"] == reason
    assert [each["user_id"] for each in sent(tmp_path)] == ["good"]


@pytest.mark.parametrize(
    ("kind", "values", "more"),
    [
        ("view", {}, {}),
        ("view", {"timestamp": f"{TIME}.0"}, {}),
        ("view", {"timestamp": "2025-10-09 08:53:20"}, {}),
        ("view", {"timestamp": "2025-10-09T10:53:20+02:00"}, {}),
        ("view", {"timestamp": datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)}, {}),
        ("view", {"duration": "1500.0"}, {"duration": 1500}),
        ("view", {"recommendation_id": ""}, {}),
        ("view", {"recommendation_id": 'r"\\'}, {"recommendation_id": 'r"\\'}),
        ("purchase", {"price": "19.90", "amount": 2.0}, {"price": 19.9, "amount": 2}),
        ("purchase", {"price": "-0", "amount": ".5"}, {"price": 0, "amount": 0.5}),
        ("purchase", {"price": "1e3"}, {"price": 1000}),
        ("rating", {"value": "0"}, {"value": 0}),
        ("rating", {"value": 4.5}, {"value": 4.5}),
    ],
)
def test_what_is_sent_is_as_documented(kind: str, values: dict[str, Any], more: dict[str, Any], tmp_path: Path) -> None:
    build(tmp_path, [row(**values)], kind)
    assert sent(tmp_path) == [{"user_id": "u", "item_id": "i", "timestamp": TIME, **more}]


def test_times_without_a_zone_are_of_the_source(tmp_path: Path) -> None:
    build(tmp_path, [row(timestamp="2025-10-09 10:53:20")], time_zone="Europe/Prague")
    assert sent(tmp_path)[0]["timestamp"] == TIME


def test_the_same_in_other_spellings_is_a_duplicate(tmp_path: Path) -> None:
    rows = [row(price="1.50"), row(price=1.5), row(price="1.5", timestamp="2025-10-09 08:53:20")]
    manifest = build(tmp_path, [*rows, row(price=2, item_id="other")], "purchase")
    assert manifest["books"] == {"extracted": 4, "rejected": 0, "duplicates": 2, "uploaded": 2}


def test_what_contradicts_another_row_is_refused(tmp_path: Path) -> None:
    rows = [row(price=price, amount=amount) for price, amount in [(3, 1), (2, None), (2, 1), (2, 1), (3, 1)]]
    rows += [row(price=9, item_id=item) for item in ("h", "i2", 'i","timestamp":1')]
    random.Random(2).shuffle(rows)
    manifest = build(tmp_path, rows, "purchase")
    assert manifest["reasons"] == {"contradicts_another_row": 2, "duplicate": 2}
    found = [(each["item_id"], each["price"], each.get("amount")) for each in sent(tmp_path)]
    assert sorted(found) == [("h", 9, None), ("i", 2, 1), ('i","timestamp":1', 9, None), ("i2", 9, None)]


def test_a_good_row_is_no_duplicate_of_a_bad_one(tmp_path: Path) -> None:
    manifest = build(tmp_path, [row(price="much"), row(), row(price="more")], "purchase")
    assert manifest["reasons"] == {"bad_price": 2}
    assert len(sent(tmp_path)) == 1


def test_ids_that_a_tool_printed_as_floats_are_refused(tmp_path: Path) -> None:
    rows = [row(user_id="17850.0"), row(item_id="-7.00"), row(user_id="1.5"), row(item_id="v1.0")]
    assert build(tmp_path, rows)["reasons"] == {"float_printed": 2}
    assert build(tmp_path, rows, float_ids="keep")["reasons"] == {}


def test_too_many_rejects_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="1 of 2 extracted rows were rejected"):
        build(tmp_path, [row(), row(user_id="")], refuse_reject_percent=20)
    assert not (tmp_path / "manifest.json").exists()


def test_rows_that_were_not_read_to_their_end_are_not_built(tmp_path: Path) -> None:
    build(tmp_path, [row()])
    record = tmp_path / "raw" / "part-00000.json"
    record.write_text(record.read_text().replace("true", "false"))
    source = Interactions.model_validate({"sources": [{"name": "a", "type": "view", "files": "f"}]})
    with pytest.raises(BadInput, match="not read to their end"):
        build_interactions(tmp_path, source.sources[0], source)


def test_order_and_bytes_do_not_depend_on_the_source(tmp_path: Path) -> None:
    rows = [row(user_id=f"u{n % 3}", item_id=f"i{n}", timestamp=TIME + n % 5) for n in range(50)]
    first = build(tmp_path / "a", rows)
    random.Random(1).shuffle(rows)
    assert build(tmp_path / "b", rows) == first
    assert [each["timestamp"] for each in sent(tmp_path / "a")] == sorted(TIME + n % 5 for n in range(50))


def test_units_lie_in_few_files_and_come_back_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "UNITS_PER_FILE", 30)
    manifest = build(tmp_path, [row(item_id=f"i{n}", timestamp=TIME + n) for n in range(70)])
    chunks = chunks_of(tmp_path, manifest)
    indexes = [pq.read_table(chunk.index) for chunk in chunks]
    assert [len(index) for index in indexes] == [30, 30, 10]
    assert len(set(pa.concat_tables(indexes)["key"].to_pylist())) == 70
    assert pc.sum(indexes[0]["bytes"]).as_py() == chunks[0].lines.stat().st_size
    wanted = pa.array([n % 2 == 0 for n in range(30)])
    found = list(groups(chunks[0], wanted, 4))
    assert [len(group) for group in found] == [4, 4, 4, 3]
    items = [json.loads(line)["item_id"] for group in found for line in group.lines]
    assert items == [f"i{n}" for n in range(0, 30, 2)]


def test_the_key_is_of_type_user_item_and_time(tmp_path: Path) -> None:
    rows: list[tuple[str, dict[str, Any]]] = [
        ("view", {}),
        ("view", {"duration": 1, "recommendation_id": "r"}),
        ("bookmark", {}),
        ("view", {"user_id": "v"}),
        ("view", {"item_id": "j"}),
        ("view", {"timestamp": TIME + 1}),
    ]
    found: list[tuple[bytes, int]] = []
    for number, (kind, values) in enumerate(rows):
        build(tmp_path / str(number), [row(**values)], kind)
        index = pq.read_table(tmp_path / str(number) / "index" / "units-00000.parquet")
        found += zip(index["key"].to_pylist(), index["content"].to_pylist(), strict=True)
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]
    assert len({key for key, _ in found}) == 5


IDS = st.one_of(st.none(), st.text(max_size=5), st.sampled_from(["a", "b", "a.0", "10.0", " x", "\u00e9"]))
TIMES = st.one_of(st.none(), st.integers(-(10**20), 10**20), st.text(max_size=12), st.integers(TIME, TIME + 3))
NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-2, 10), st.text(max_size=4))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(TYPES),
    rows=st.lists(st.tuples(IDS, IDS, TIMES, IDS, NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=12),
)
def test_whatever_comes_the_books_balance(kind: str, rows: list[tuple[Any, ...]], tmp_path: Path) -> None:
    manifest = build(tmp_path, rows, kind)
    books = manifest["books"]
    assert books["extracted"] == len(rows) == books["rejected"] + books["duplicates"] + books["uploaded"]
    lines = sent(tmp_path)
    assert len(lines) == len({json.dumps(line, sort_keys=True) for line in lines}) == books["uploaded"]
    for line in lines:
        assert {"user_id", "item_id", "timestamp"} <= line.keys() <= set(INTERACTION_COLUMNS)
        assert 0 <= line.get("value", 0) <= 5
    counted = duckdb.connect().sql(f"SELECT reason, count(*) FROM '{tmp_path}/rejects.parquet' GROUP BY 1").fetchall()
    assert Counter(dict(counted)) == Counter(manifest["reasons"])
