"""What is there against what is wanted: which are the same, which differences count, and what a sync would do."""

import copy
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.errors import BadInput
from include.pins.compare import diff, same, table
from include.pins.parts import LINES, LINES_SCHEMA
from include.pins.results import Results


def scope(name: str = "p1", **more: Any) -> dict[str, Any]:
    pins = [
        {"pin_type": "item", "pin_identity": "p8", "position": 1},
        {"pin_type": "criteria", "pin_criteria": {"brand": ["x"]}, "position": 0, "is_block_pin": True},
    ]
    return {"model": "basket", "target_type": "item", "target_identity": name, "pin_definitions": pins, **more}


def there(wanted: dict[str, Any], number: str = "1") -> dict[str, Any]:
    """As a server may answer it: with fields of its own, nulls, defaults."""
    found: dict[str, Any] = copy.deepcopy(wanted)
    found |= {
        "id": number,
        "created_at": "2026-01-01T00:00:00Z",
        "target_criteria": None,
        "tags": wanted.get("tags", []),
    }
    for pin in found["pin_definitions"]:
        pin |= {"id": "x", "is_bundle_pin": False, "widget_id": None}
        pin.setdefault("position", 7)
    return found


def changed(**changes: Any) -> dict[str, Any]:
    found = scope()
    found["pin_definitions"][0] |= changes
    return found


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (scope(), scope()),
        (there(scope(tags=["a", "b"])), scope(tags=["b", "a"])),
        (there(scope()), scope(target_metadata={})),
        ({**scope(), "pin_definitions": scope()["pin_definitions"][::-1]}, scope()),
        (changed(active_from="2026-01-01T00:00:00.000Z"), changed(active_from="2026-01-01T01:00:00+01:00")),
        (changed(position=4), changed(position=None)),
    ],
)
def test_what_a_server_may_add_or_spell_otherwise_is_no_difference(
    found: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert same(found, wanted)


@pytest.mark.parametrize(
    "found",
    [
        scope(tags=["a"]),
        scope(target_metadata={"title": "x"}),
        changed(position=2),
        changed(position=0),
        changed(pin_identity="p7"),
        changed(widget_id="w"),
        changed(active_to="2026-01-01"),
        {**scope(), "pin_definitions": scope()["pin_definitions"][:1]},
        {**scope(), "pin_definitions": None},
        {"id": "1", "model": "basket"},
    ],
)
def test_anything_else_is_one(found: dict[str, Any]) -> None:
    assert not same(found, scope())


def test_the_difference_is_complete_whatever_the_order() -> None:
    wanted = [scope(f"p{number}") for number in range(40)]
    exported = [there(each, f"id{number}") for number, each in enumerate(wanted[:30])]
    for each in exported[:10]:
        each["tags"] = ["old"]
    exported += [there(scope(f"gone{number}"), f"gone{number}") for number in range(5)]
    random.Random(3).shuffle(exported)
    found = diff(exported, wanted)
    assert found.create == list(range(30, 40))
    assert sorted(found.replace) == [(number, f"id{number}") for number in range(10)]
    assert found.unchanged == list(range(10, 30))
    assert sorted(found.extra) == [f"gone{number}" for number in range(5)]
    assert "to delete                      5" in table(found, delete=True)
    assert "not wanted, stays              5" in table(found, delete=False)


def test_criteria_are_the_same_in_any_order_of_keys() -> None:
    one = {"model": "m", "target_type": "criteria", "target_criteria": {"a": 1, "b": 2}}
    other = {"model": "m", "target_type": "criteria", "target_criteria": {"b": 2, "a": 1}, "id": "7"}
    pins = scope()["pin_definitions"]
    assert diff([{**other, "pin_definitions": pins}], [{**one, "pin_definitions": pins}]).unchanged == [0]


def test_two_that_look_the_same_are_not_guessed_between() -> None:
    with pytest.raises(BadInput, match="of 3 scopes at Luigi's Box 1 have the same model and target"):
        diff([there(scope(), "1"), there(scope(tags=["a"]), "2"), there(scope("p2"), "3")], [scope()])


def test_results_are_a_row_a_line_and_a_row_a_deletion(tmp_path: Path) -> None:
    lines = [{"part": 0, "place": n, "file": "f.ndjson", "line": n + 5, "rows": 1, "key": b"k"} for n in range(3)]
    with pq.ParquetWriter(tmp_path / LINES, LINES_SCHEMA) as file:
        for line in lines:
            file.write_table(pa.Table.from_pylist([line], LINES_SCHEMA))
    results = Results(3)
    results.set([0, 1], "applied")
    results.set([1], "invalid", "position is wrong")
    results.replaces(0, "id7")
    results.deletion("id9", "applied")
    results.write(tmp_path)
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [(row["line"], row["action"], row["outcome"], row["scope_id"]) for row in rows] == [
        (5, "replace", "applied", "id7"),
        (6, "create", "invalid", None),
        (7, "create", "not_sent", None),
        (None, "delete", "applied", "id9"),
    ]
    assert results.first_refusal(tmp_path) == "The first: f.ndjson line 6: position is wrong"
    assert results.counts()["invalid"] == results.counts()["applied"] == results.deleted() == 1
