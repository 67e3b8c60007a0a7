"""What is there against what is wanted: which are the same, which differences count, and what a sync would do."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.errors import BadInput
from include.pins.changes import DIFF, first_of, table, write_diff
from include.pins.compare import diff, of_creation, refuse_doubled, same
from include.pins.parts import LINES, LINES_SCHEMA, Part
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
        (changed(position=1.0), changed(position=1)),
        (changed(widget_id="7"), changed(widget_id=7)),
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
    found = [there(scope(tags=[str(number)]), f"id{number}") for number in range(8)] + [there(scope("p2"), "x")]
    with pytest.raises(
        BadInput, match=r"of 9 scopes .* 7 have the same model and target .*ids id1, id2, id3, id4, id5, …"
    ):
        refuse_doubled(found)
    refuse_doubled(found[7:])


@pytest.mark.parametrize(
    ("strategy", "create", "replace", "unchanged", "conflict"),
    [("raise", [2], [], [], [0, 1]), ("ignore", [2], [], [0, 1], []), ("override", [2], [(1, "b")], [0], [])],
)
def test_a_creation_goes_by_its_strategy_and_takes_what_is_doubled_there(
    strategy: Any, create: Any, replace: Any, unchanged: Any, conflict: Any
) -> None:
    found = [there(scope("p0"), "a"), there(scope("p1", tags=["x"]), "b"), there(scope("p1"), "c")]
    made = of_creation(diff(found, [scope("p0"), scope("p1"), scope("p2")]), strategy)
    assert (made.create, made.replace, made.unchanged, made.conflict) == (create, replace, unchanged, conflict)
    assert ("there, so refused              2" in table(made, delete=False)) == (strategy == "raise")


def test_a_difference_is_a_row_a_change_and_its_first_rows_are_told(tmp_path: Path) -> None:
    wanted = [scope(f"p{number}") for number in range(14)]
    origins = [{"part": 0, "place": n, "file": "f.ndjson", "line": n + 1, "rows": 1, "key": b"k"} for n in range(14)]
    pq.write_table(pa.Table.from_pylist(origins, LINES_SCHEMA), tmp_path / LINES)
    parts = [
        Part("a", "", 0, [b"k"] * 8, [json.dumps(each).encode() for each in wanted[:8]]),
        Part("b", "", 8, [b"k"] * 6, [json.dumps(each).encode() for each in wanted[8:]]),
    ]
    criteria = {"model": "home", "target_type": "criteria", "target_criteria": {"brand": "x"}, "pin_definitions": []}
    exported = [there(wanted[0], "u"), there(scope("p9", tags=["old"]), "r"), {**criteria, "id": "gone"}]
    for delete, action in ((True, "delete"), (False, "stays")):
        write_diff(tmp_path, diff(exported, wanted), parts, delete=delete)
        rows = pq.read_table(tmp_path / DIFF).to_pylist()
        gone = rows.pop(0 if delete else -1)
        assert (gone["action"], gone["scope_id"], gone["line"]) == (action, "gone", None)
        assert (gone["model"], gone["target"]) == ("home", '{"brand": "x"}')
        assert [row["line"] for row in rows] == list(range(2, 15))
        assert [row["action"] for row in rows] == ["create"] * 8 + ["replace"] + ["create"] * 4
        assert (rows[8]["target"], rows[8]["scope_id"]) == ("p9", "r")
    told = first_of(tmp_path).splitlines()
    assert told[0] == "    create    basket  p1  f.ndjson line 2"
    assert told[8] == "    replace   basket  p9  id r  f.ndjson line 10"
    assert told[10:] == ["    … and 4 more", f"  all of them: {tmp_path / DIFF}"]


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
    results.set([0], "unknown", "max_calls were used up")  # which is at fault for nothing
    assert results.first_refusal(tmp_path) == "The first: f.ndjson line 6: position is wrong"
    results.set([0], "applied")
    assert results.counts()["invalid"] == results.counts()["applied"] == results.deleted() == 1
