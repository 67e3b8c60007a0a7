"""What is right about a scope, which one it is, and how it is written: examples, hostile lines and generated ones."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.pins.rows import PIN, SCOPE, pin_of, scope_of
from include.pins.scopes import MAX_LINE_BYTES, Refused, check, key, parse, write
from include.sandbox.pins.scopes import read_scope

GOOD: dict[str, Any] = {
    "model": "basket",
    "target_type": "item",
    "target_identity": "p1",
    "pin_definitions": [{"pin_type": "item", "pin_identity": "p2", "position": 1}],
}
BLOCK = {"pin_type": "item", "pin_identity": "p2", "position": 0, "is_block_pin": True}


def pin(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "pin_definitions": [{**GOOD["pin_definitions"][0], **changes}]}


@pytest.mark.parametrize(
    "scope",
    [
        GOOD,
        pin(position=-1),
        pin(position=None),
        pin(is_block_pin=False, position=3),
        {**GOOD, "pin_definitions": [BLOCK]},
        {**GOOD, "target_type": "all", "target_identity": None},
        {**GOOD, "target_type": "criteria", "target_identity": None, "target_criteria": {"any": ["thing", {"x": 1}]}},
        pin(pin_type="criteria", pin_identity=None, pin_criteria={}),
        pin(active_from="2026-01-01T00:00:00Z", active_to="2026-01-01T02:00:00+01:00"),
        pin(active_from="2026-01-01", active_to="2026-01-02"),
        {**GOOD, "tags": ["a", "ř"], "target_metadata": {"title": "A", "nested": {"deep": None}}},
    ],
)
def test_what_is_documented_is_accepted(scope: dict[str, Any]) -> None:
    checked = check(parse(json.dumps(scope).encode()))
    read_scope(write(checked).encode())
    assert checked == check(checked)
    assert None not in checked.values()


@pytest.mark.parametrize(
    ("scope", "reason", "said"),
    [
        ({**GOOD, "model": None}, "wrong_type", "model"),
        ({k: v for k, v in GOOD.items() if k != "model"}, "missing_field", "model"),
        ({**GOOD, "model": ""}, "empty_field", "model"),
        ({**GOOD, "target_type": "user"}, "unknown_type", "'item', 'criteria' or 'all'"),
        ({**GOOD, "target_identity": None}, "missing_field", "target_identity is missing"),
        ({**GOOD, "target_type": "criteria"}, "unexpected_field", "target_identity does not go with criteria"),
        ({**GOOD, "target_type": "all"}, "unexpected_field", "target_identity does not go with all"),
        ({**GOOD, "target_criteria": {}}, "unexpected_field", "target_criteria does not go with item"),
        ({**GOOD, "target_identity": 17}, "wrong_type", "target_identity"),
        ({**GOOD, "pins": []}, "unknown_key", "pins"),
        ({**GOOD, "pin_definitions": []}, "no_pins", "pin_definitions"),
        ({k: v for k, v in GOOD.items() if k != "pin_definitions"}, "no_pins", "pin_definitions"),
        ({**GOOD, "pin_definitions": {}}, "wrong_type", "pin_definitions"),
        ({**GOOD, "tags": "a,b"}, "wrong_type", "tags"),
        (pin(pin_type="all"), "unknown_type", "pin_definitions[0].pin_type"),
        (pin(pin_identity=None), "missing_field", "pin_identity is missing"),
        (pin(pin_type="criteria"), "unexpected_field", "pin_identity does not go with criteria"),
        (pin(position=-2), "bad_position", "greater than or equal to -1"),
        (pin(position="1"), "wrong_type", "position"),
        (pin(position=1.5), "wrong_type", "position"),
        (pin(position=True), "wrong_type", "position"),
        (pin(is_block_pin=True), "block_position", "position 0"),
        (pin(is_block_pin=True, position=None), "block_position", "position 0"),
        (pin(is_block_pin="yes"), "wrong_type", "is_block_pin"),
        (pin(active_from="tomorrow"), "unreadable_time", "active_from"),
        (pin(active_to="20260101"), "unreadable_time", "active_to"),
        (pin(active_from="2026-02-30"), "unreadable_time", "active_from"),
        (pin(active_from="2026-01-02", active_to="2026-01-02"), "empty_period", "before active_to"),
        (
            pin(active_from="2026-01-01T01:00:00+01:00", active_to="2026-01-01T00:00:00Z"),
            "empty_period",
            "before active_to",
        ),
        ([GOOD], "not_a_scope", "an array"),
        (None, "not_a_scope", "null"),
    ],
)
def test_a_mistake_has_its_reason(scope: Any, reason: str, said: str) -> None:
    with pytest.raises(Refused, match=r".") as refused:
        check(parse(json.dumps(scope).encode()))
    assert refused.value.reason == reason
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"[" * 200_000, "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not_json"),
        (b'{"a": 1, "a": 2}', "doubled_key"),
        (b'{"a": "\xff"}', "not_utf8"),
        ("{}".encode("utf-16"), "not_utf8"),
    ],
)
def test_a_hostile_line_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(line)
    assert refused.value.reason == reason


def test_half_a_character_and_too_much_are_refused_when_written() -> None:
    for content, reason in (({"a": "\ud800"}, "not_utf8"), ({"a": "x" * MAX_LINE_BYTES}, "too_large")):
        with pytest.raises(Refused) as refused:
            write({**GOOD, "target_metadata": content})
        assert refused.value.reason == reason


def test_many_mistakes_are_named_but_not_all() -> None:
    with pytest.raises(Refused, match="and 3 more"):
        check({**GOOD, **{f"key{number}": 1 for number in range(8)}})


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SCOPE, *PIN, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
criteria = st.dictionaries(texts, st.lists(texts, max_size=2) | st.integers(), max_size=2)
times = st.sampled_from(["2026-01-01", "2026-01-01T10:00:00", "2026-01-01 10:00:00.5Z"])
pins = st.one_of(
    st.fixed_dictionaries(
        {"pin_type": st.just("item"), "pin_identity": texts},
        optional={"position": st.integers(-1, 50), "widget_id": texts, "is_bundle_pin": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"pin_type": st.just("criteria"), "pin_criteria": criteria},
        optional={"active_from": times, "active_to": st.just("2027-01-01T00:00:00+05:30")},
    ),
    st.fixed_dictionaries(
        {"pin_type": st.just("item"), "pin_identity": texts, "position": st.just(0), "is_block_pin": st.just(True)}
    ),
)
targets = st.one_of(
    st.fixed_dictionaries({"target_type": st.just("item"), "target_identity": texts}),
    st.fixed_dictionaries({"target_type": st.just("criteria"), "target_criteria": criteria}),
    st.fixed_dictionaries({"target_type": st.just("all")}),
)
heads = st.fixed_dictionaries(
    {"model": texts, "pin_definitions": st.lists(pins, min_size=1, max_size=4)},
    optional={"tags": st.lists(texts, max_size=3), "target_metadata": criteria},
)
scopes = st.builds(lambda head, target: {**head, **target}, heads, targets)


@settings(max_examples=50)
@given(scopes)
def test_a_right_scope_is_accepted_here_and_by_the_sandbox_whatever_is_in_it(scope: dict[str, Any]) -> None:
    line = write(check(scope))
    assert "\n" not in line
    assert parse(line.encode()) == scope
    read_scope(line.encode())
    backwards = dict(reversed(scope.items()))
    assert (write(check(backwards)), key(backwards)) == (line, key(scope))


@settings(max_examples=50)
@given(anything)
def test_nothing_but_a_refusal_comes_of_anything_else(said: Any) -> None:
    with suppress(Refused):
        check(said)


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_bytes_are_json_or_refused(line: bytes) -> None:
    with suppress(Refused):
        parse(line)


@settings(max_examples=50)
@given(scopes, scopes)
def test_tags_and_pins_do_not_tell_scopes_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    def target(scope: dict[str, Any]) -> list[Any]:
        return [scope.get(name) for name in ("model", "target_type", "target_identity", "target_criteria")]

    assert (key(one) == key(other)) == (target(one) == target(other))


def test_a_row_is_read_by_its_columns() -> None:
    row = {
        "model": "m",
        "target_type": "criteria",
        "target_criteria": '{"brand": ["x"]}',
        "tags": " a, b ,,c ",
        "target_metadata": "",
        "pin_type": "item",
        "pin_identity": "007",
        "position": " 3.0 ",
        "is_block_pin": "F",
        "is_bundle_pin": "1",
        "active_from": "2026-01-01 10:00:00+01:00",
        "active_to": None,
    }
    assert scope_of(row) == {
        "model": "m",
        "target_type": "criteria",
        "target_criteria": {"brand": ["x"]},
        "tags": ["a", "b", "c"],
    }
    assert pin_of(row) == {
        "pin_type": "item",
        "pin_identity": "007",
        "position": 3,
        "is_block_pin": False,
        "is_bundle_pin": True,
        "active_from": "2026-01-01T10:00:00+01:00",
    }
    assert scope_of({"tags": '["a, b"]'}) == {"tags": ["a, b"]}


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("target_criteria", "[]", "wrong_type"),
        ("target_criteria", "{", "not_json"),
        ("target_metadata", '{"a":1,"a":1}', "doubled_key"),
        ("tags", '["a"', "not_json"),
        ("pin_criteria", "x", "not_json"),
        ("position", "1.5", "bad_position"),
        ("position", "\u0661", "bad_position"),
        ("position", "first", "bad_position"),
        ("is_block_pin", "maybe", "wrong_type"),
        ("active_from", "1.1.2026", "unreadable_time"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(column: str, text: str, reason: str) -> None:
    with pytest.raises(Refused, match=column) as refused:
        (scope_of if column in SCOPE else pin_of)({column: text})
    assert refused.value.reason == reason


@pytest.mark.parametrize("number", ["1e999", "-1e999", "12345678901234567890.12", "1e-400", "1e99999999999999999999"])
def test_a_number_that_readers_do_not_keep_is_refused(number: str) -> None:
    with pytest.raises(Refused, match="which JSON readers do not keep") as refused:
        parse(f'{{"target_criteria": {{"price": {number}}}}}'.encode())
    assert refused.value.reason == "inexact_number"


@pytest.mark.parametrize("number", ["1.10", "0.30000000000000004", "1e2", "-0.0", "12345678901234567890"])
def test_a_number_that_is_kept_is_sent_as_that_number(number: str) -> None:
    said = {**GOOD, "target_metadata": {"price": parse(number.encode())}}
    assert Decimal(write(check(said)).partition('"price":')[2].partition("}")[0]) == Decimal(number)


def test_a_number_that_is_none_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write({**GOOD, "target_metadata": {"x": float("inf")}})


def test_a_zone_as_postgres_prints_it_is_completed() -> None:
    found = pin_of({"active_from": "2026-01-01 06:00:00+01", "active_to": "2026-01-02 06:00:00.5-11"})
    assert (found["active_from"], found["active_to"]) == ("2026-01-01T06:00:00+01:00", "2026-01-02T06:00:00.5-11:00")
    assert pin_of({"active_from": "2026-01-01"}) == {"active_from": "2026-01-01"}
