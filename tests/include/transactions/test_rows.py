"""Which rows are purchases: the shop's own rules, quantities, times to come, and too old sessions."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.errors import BadInput
from include.transactions.build import build_transactions
from tests.include.transactions.shop import NOW, build, rejects, rules, stage, uploaded


def reasons_of(run: Path, *values: Any, columns: tuple[str, ...], **settings: Any) -> list[str | None]:
    """Why each value is refused, in its order; each is the last value of a row of its own."""
    rows = [(f"s{place}", f"p{place}", value) for place, value in enumerate(values)]
    build(run, *rows, names=("session_id", "identity", *columns), **settings)
    why = {row[1]: row[-1] for row in rejects(run)}
    left = {line["identity"] for line in uploaded(run)}
    assert left.isdisjoint(why)
    assert len(left) + len(why) == len(values)
    return [why.get(f"p{place}") for place in range(len(values))]


def test_only_rows_that_keep_matches_are_purchases(tmp_path: Path) -> None:
    values = ["paid", "shipped 2", "ship", "Paid", "unpaid", None, "", "paid\n"]
    found = reasons_of(tmp_path, *values, columns=("status",), keep={"status": ["paid", "ship*"]})
    no = "not_a_purchase"
    assert found == [None, None, None, no, no, no, no, no]


def test_patterns(tmp_path: Path) -> None:
    """Each has a column of its own, which is null in the rows of all others."""
    cases = [
        ("*", "", True),
        ("*", None, False),
        ("C*", "C536379", True),
        ("C*", "c536379", False),
        ("C*", "5C", False),
        ("C*", "C\nx", True),
        ("?", "é", True),
        ("?", "🛒", True),
        ("?", "", False),
        ("a?c", "a\nc", True),
        ("50%", "50%", True),
        ("50%", "50x", False),
        ("a_c", "abc", False),
        (r"a\*", r"a\b", True),
        (r"a\*", "a*", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("'; DROP TABLE x; --", "'; DROP TABLE x; --", True),
        ("", "", True),
        ("", "a", False),
        (" paid", "paid", False),
    ]
    columns = [f"c{place}" for place in range(len(cases))]
    rows = [
        ("s", f"p{place}", *(value if place == other else None for other in range(len(cases))))
        for place, (_, value, _) in enumerate(cases)
    ]
    drop = {column: [glob] for column, (glob, _, _) in zip(columns, cases, strict=True)}
    build(tmp_path, *rows, names=("session_id", "identity", *columns), drop=drop)
    cancelled = {row[1] for row in rejects(tmp_path) if row[-1] == "cancelled"}
    wrong = [case for place, case in enumerate(cases) if (f"p{place}" in cancelled) is not case[-1]]
    assert not wrong
    assert len(rejects(tmp_path)) == len(cancelled)


def test_all_columns_of_keep_must_match_and_any_of_drop_cancels(tmp_path: Path) -> None:
    columns = ("session_id", "identity", 'a "b"', "came", "odd")
    rows = [
        ("s", "1", "x", "y", "n"),
        ("s", "2", "x", "z", "n"),
        ("s", "3", "z", "y", "n"),
        ("s", "4", "x", "y", "r1"),
        ("s", "5", "x", "d", "n"),
        ("s", "6", "z", "d", "r1"),
    ]
    rules_ = {"keep": {'A "b"': ["x"], "came": ["y", "d"]}, "drop": {"ODD": ["r?"], "came": ["d"]}}
    manifest = build(tmp_path, *rows, names=columns, **rules_)
    assert [line["identity"] for line in uploaded(tmp_path)] == ["1"]
    assert manifest["reasons"] == {"not_a_purchase": 3, "cancelled": 2}


def test_a_rule_may_look_at_a_column_of_ours_by_either_name(tmp_path: Path) -> None:
    columns = ("session_id", "identity", "quantity")  # as the pull renames them
    rows = [("C1", "a", "1"), ("1", "b", "1"), ("2", "c", "9")]
    renamed = {"columns": {"session_id": "InvoiceNo", "quantity": "Qty"}}
    manifest = build(tmp_path, *rows, names=columns, **renamed, drop={"InvoiceNo": ["C*"], "Qty": ["9"]})
    assert [line["identity"] for line in uploaded(tmp_path)] == ["b"]
    assert manifest["reasons"] == {"cancelled": 2}
    build(tmp_path, *rows, names=columns, drop={"Session_ID": ["C*"]})
    assert [line["identity"] for line in uploaded(tmp_path)] == ["b", "c"]


def test_a_rule_whose_column_was_not_staged_stops_the_run(tmp_path: Path) -> None:
    stage(tmp_path, [("s", "p", None, None)], rules())
    with pytest.raises(BadInput, match="look at the column status, which was not staged"):
        build_transactions(tmp_path, rules(drop={"status": ["x"]}))
    assert not (tmp_path / "manifest.json").exists()


def test_quantities(tmp_path: Path) -> None:
    unreadable, less = "unreadable_quantity", "quantity_not_positive"
    wanted = {
        "3": None,
        "0.5": None,
        "2.0": None,
        "+1": None,
        "1e3": None,
        ".5": None,
        "": None,
        "0": less,
        "-0.0": less,
        "-1": less,
        "-80995": less,
        "1e-999": less,
        "two": unreadable,
        "1,5": unreadable,
        "1 000": unreadable,
        "1_000": unreadable,
        " 1": unreadable,
        "0x10": unreadable,
        "inf": unreadable,
        "nan": unreadable,
        "1e999": unreadable,
        "-": unreadable,
        "\uff11": unreadable,
    }
    assert reasons_of(tmp_path, *wanted, None, columns=("quantity",)) == [*wanted.values(), None]
    shown = {row["reason"]: row["quantity"] for row in pq.read_table(tmp_path / "rejects.parquet").to_pylist()}
    assert shown[less] in ("0", "-0.0", "-1", "-80995", "1e-999")


def test_a_quantity_is_one_row_and_is_not_written(tmp_path: Path) -> None:
    columns = ("session_id", "identity", "user_id", "created_at", "quantity")
    manifest = build(
        tmp_path, ("s", "p", "u", None, 3), ("s", "p", "u", None, 4), ("s", "q", "u", None, 5), names=columns
    )
    assert uploaded(tmp_path) == [{"session_id": "s", "identity": name, "user_id": "u"} for name in "pq"]
    assert manifest["books"] == {"extracted": 3, "rejected": 0, "duplicates": 1, "elsewhere": 0, "uploaded": 2}


def test_a_sale_is_no_duplicate_of_its_cancellation(tmp_path: Path) -> None:
    columns = ("session_id", "identity", "user_id", "created_at", "quantity")
    rows = [("s", "p", "u", "2024-01-01", quantity) for quantity in (-1, 1, 1)]
    for order in (rows, rows[::-1]):
        manifest = build(tmp_path, *order, names=columns)
        assert manifest["reasons"] == {"quantity_not_positive": 1, "duplicate": 1}
        assert len(uploaded(tmp_path)) == 1


def test_the_first_reason_counts(tmp_path: Path) -> None:
    columns = ("session_id", "identity", "user_id", "created_at", "quantity", "status")
    rows = [
        (None, "1", None, "never", "x", "view"),
        (None, "2", None, "never", "x", "void"),
        (None, "3", None, "never", "x", "paid"),
        ("s", "4", None, "never", "x", "paid"),
        ("s", "5", None, "3000-01-01", "x", "paid"),
        ("s", "6", None, "3000-01-01", "0", "paid"),
        ("s", "7", None, "3000-01-01", "1", "paid"),
    ]
    build(tmp_path, *rows, names=columns, keep={"status": ["paid", "void"]}, drop={"status": ["void"]})
    found = {row["identity"]: row for row in pq.read_table(tmp_path / "rejects.parquet").to_pylist()}
    assert [found[name]["reason"] for name in "1234567"] == [
        "not_a_purchase",
        "cancelled",
        "no_session",
        "unreadable_time",
        "unreadable_quantity",
        "quantity_not_positive",
        "future_time",
    ]
    assert [found[name]["created_at"] for name in "14"] == ["never", "never"]
    assert [found[name]["quantity"] for name in "1234567"] == [None, None, None, None, "x", "0", None]


def test_times_to_come_are_refused_from_a_day_on(tmp_path: Path) -> None:
    times = ["2024-12-02T00:00:00Z", "2024-12-02T00:00:00.000001Z", "2024-12-02T01:00:00+01:00", "3000-01-01"]
    assert reasons_of(tmp_path, *times, columns=("created_at",)) == [None, "future_time", None, "future_time"]


def test_now_is_the_clock_and_is_kept(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    now = datetime.fromisoformat(build(tmp_path, ("s", "p", None, None), now=None)["now"])
    assert before <= now <= datetime.now(UTC)


def test_a_session_is_as_old_as_its_last_purchase(tmp_path: Path) -> None:
    old, older, recent = "2024-11-23T23:59:59.999999Z", "2001-01-01", "2024-11-24"  # NOW is Dec 1st
    rows = [
        ("a", "1", None, older),
        ("a", "2", None, old),
        ("a", "3", None, None),
        ("b", "1", None, older),
        ("b", "2", None, recent),
        ("c", "1", None, None),
        ("d", "1", "u", old),
        ("d", "2", "v", old),
    ]
    manifest = build(tmp_path, *rows, max_age_weeks=1)
    assert manifest["reasons"] == {"session_too_old": 3, "session_of_two_users": 2}
    assert {line["session_id"] for line in uploaded(tmp_path)} == {"b", "c"}
    assert manifest["sessions"] == 2
    assert (manifest["first_day"], manifest["last_day"]) == ("2001-01-01", "2024-11-24")
    assert build(tmp_path, *rows, max_age_weeks=1, now=NOW.replace(year=2000))["reasons"].keys() == {
        "future_time",
        "session_of_two_users",
    } - {"session_of_two_users"}


def test_what_the_rules_exclude_is_nothing_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = ("session_id", "identity", "created_at", "status")
    rows = [
        *(("s", str(n), None, "view") for n in range(8)),
        ("o", "p", "2001-01-01", "paid"),
        ("s", "p", None, "paid"),
    ]
    limits = {"refuse_reject_percent": 0, "max_age_weeks": 52, "keep": {"status": ["paid"]}}
    with caplog.at_level(logging.WARNING):
        assert build(tmp_path, *rows, names=columns, **limits)["books"]["rejected"] == 9
    assert not caplog.records
    with pytest.raises(BadInput, match=r"1 of 2 extracted rows were rejected \(no_identity 1\)"):
        build(tmp_path, *rows, ("s", None, None, "paid"), names=columns, **limits)
    build(tmp_path, *rows, names=columns, **{**limits, "keep": {"status": ["payed"]}})
    assert "keep matches none of 10 rows" in caplog.text
