from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.audience.build import build_audience
from include.audience.gather import gather
from include.audience.pages import RECORD, Stream, pages_folder, stage
from include.audience.profiles import Page, Row
from include.audience.sources import Role, Source, sources_of
from include.publishers.audiences import KlaviyoAudience, SmartEmailingAudience, WarehouseAudience
from include.staging import read_json

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KLAVIYO = KlaviyoAudience(kind="klaviyo", lists=["A", "B"], exclude_segments=["C"])
EMAIL = KlaviyoAudience(kind="klaviyo", lists=["A", "B"], exclude_segments=["C"], recipient="email")


def pulled(run: Path, *found: tuple[str, Role, list[Row]], count: int | None = None) -> list[Source]:
    """Stage sources; gives them."""
    items: list[Source] = [
        {"index": index, "of": len(found), "source": source, "role": role}
        for index, (source, role, _) in enumerate(found)
    ]
    for item, (_, _, rows) in zip(items, found, strict=True):
        stage(run, Stream(item, {}, lambda _, rows=rows: iter([Page(rows, None)]), lambda: count), 1)  # type: ignore[misc]
    return items


def taken(run: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(run / "raw" / "part-00000.parquet").to_pylist()]


def refused(run: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(run / "raw" / "refused-00000.parquet").to_pylist()]


def test_each_row_is_taken_or_refused_for_one_reason(tmp_path: Path) -> None:
    sources = pulled(
        tmp_path,
        (
            "list:A",
            "take",
            [
                Row("p1", "c1"),
                Row("p2", "c2", reason="suppressed"),
                Row("p3", None),
                Row("p3", None),
                Row("p4", "c4"),
                Row("p5", True),
                Row(None, "c6"),
                Row(None, "c6"),
            ],
        ),
        ("list:B", "take", [Row("p1", "c1"), Row("p7", "c1"), Row("p8", "default"), Row("p2", "c2")]),
        ("segment:C", "leave_out", [Row("p4", None), Row("p9", None), Row("p2", None)]),
    )
    record = gather(tmp_path, sources, KLAVIYO)
    assert taken(tmp_path) == [("c1", "p1"), ("c1", "p7"), ("default", "p8"), (None, "p3")]
    assert sorted(refused(tmp_path), key=str) == [
        ("c1", "p1", "duplicate"),
        ("c2", "p2", "duplicate"),
        ("c2", "p2", "suppressed"),
        ("c4", "p4", "left_out"),
        ("c6", None, "malformed"),
        ("c6", None, "malformed"),
        ("true", "p5", "wrong_type"),
        (None, "p3", "duplicate"),
    ]
    assert (record["rows"], record["refused"], record["complete"]) == (4, 8, True)
    manifest = build_audience(tmp_path, KLAVIYO, NOON, 1)
    assert manifest["books"] == {"extracted": 12, "rejected": 7, "duplicates": 4, "uploaded": 1}
    assert manifest["reasons"] == {
        "duplicate": 4,
        "left_out": 1,
        "malformed": 2,
        "null_id": 1,
        "reserved": 1,
        "suppressed": 1,
        "wrong_type": 1,
    }
    assert manifest["complete"]


def test_who_left_one_list_may_be_in_another_but_the_blacklist_counts_everywhere(tmp_path: Path) -> None:
    settings = SmartEmailingAudience(kind="smartemailing", id="email", lists=[1, 2])
    sources = pulled(
        tmp_path,
        ("list:1", "take", [Row(1, "a", "a@x", "unsubscribed"), Row(2, "b", "b@x"), Row(3, "c", " ")]),
        ("list:2", "take", [Row(1, "a", "a@x"), Row(2, "b", "b@x", "blacklisted"), Row(4, "d", "d@x", "unsubscribed")]),
    )
    gather(tmp_path, sources, settings)
    assert taken(tmp_path) == [("a", "a@x")]
    assert refused(tmp_path) == [
        ("a", "a@x", "duplicate"),
        ("b", "b@x", "blacklisted"),
        ("b", "b@x", "duplicate"),
        ("c", None, "no_email"),
        ("d", "d@x", "unsubscribed"),
    ]


def test_ids_of_a_field_are_joined_by_contact(tmp_path: Path) -> None:
    settings = SmartEmailingAudience(kind="smartemailing", id="customfields.3")
    contacts = [Row(number, None, f"{number}@x") for number in range(1, 7)]
    values = [Row(1, "c1"), Row(2, 17), Row(2, 17), Row(3, "x"), Row(3, "y"), Row(4, ["z"]), Row(5, ""), Row(9, "c9")]
    sources = pulled(tmp_path, ("all", "take", contacts), ("customfield:3", "ids", values))
    gather(tmp_path, sources, settings)
    assert taken(tmp_path) == [("", "5@x"), ("17", "2@x"), ("c1", "1@x"), (None, "6@x")]
    assert [(recipient, reason) for _, recipient, reason in refused(tmp_path)] == [
        ("4@x", "wrong_type"),
        ("3@x", "several_ids"),
    ]


def test_the_recipient_may_be_the_email(tmp_path: Path) -> None:
    sources = pulled(tmp_path, ("list:A", "take", [Row("p1", "c1", "a@x"), Row("p2", "c2"), Row("p3", "c3", "")]))
    gather(tmp_path, sources, EMAIL)
    assert taken(tmp_path) == [("c1", "a@x")]
    assert refused(tmp_path) == [("c2", None, "no_email"), ("c3", None, "no_email")]


@pytest.mark.parametrize("role", ["take", "leave_out"])
@pytest.mark.parametrize("how", ["not pulled", "not finished", "another count", "begun anew"])
def test_any_source_that_is_not_proven_makes_the_list_incomplete(tmp_path: Path, role: Role, how: str) -> None:
    wanted: Source = {"index": 1, "of": 2, "source": "segment:C", "role": role}
    sources = [*pulled(tmp_path, ("list:A", "take", [Row("p1", "c1")])), wanted]
    if how != "not pulled":
        stream = Stream(wanted, {}, lambda _: iter([Page([Row("p2", "c2")], None)]), lambda: 5 if how[0] == "a" else 1)
        stage(tmp_path, stream, 1)
    if how == "not finished":
        (pages_folder(tmp_path, 1) / RECORD).unlink()
    if how == "begun anew":
        record = read_json(pages_folder(tmp_path, 1) / RECORD)
        other = pulled(tmp_path / "other", ("list:A", "take", []), ("segment:C", role, [Row("p2", "c2")]))
        source = pages_folder(tmp_path / "other", other[1]["index"]) / "segment-000000.parquet"
        (pages_folder(tmp_path, 1) / "segment-000000.parquet").write_bytes(source.read_bytes())
        assert record["complete"]
    assert gather(tmp_path, sources, KLAVIYO)["complete"] is False
    assert build_audience(tmp_path, KLAVIYO, NOON, 1)["complete"] is False


def test_nothing_pulled_is_an_empty_incomplete_list(tmp_path: Path) -> None:
    record = gather(tmp_path, sources_of(KLAVIYO), KLAVIYO)
    assert (record["rows"], record["refused"], record["complete"]) == (0, 0, False)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [Row(f"p{number}", f"c{number % 900}") for number in range(1000)]
    for name, given in (("one", rows), ("two", rows[::-1])):
        gather(tmp_path / name, pulled(tmp_path / name, ("all", "take", given)), KLAVIYO)
    one, two = (
        [(tmp_path / name / "raw" / f"{kind}-00000.parquet").read_bytes() for kind in ("part", "refused")]
        for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (KLAVIYO, ["list:A take", "list:B take", "segment:C leave_out"]),
        (KlaviyoAudience(kind="klaviyo"), ["all take"]),
        (KlaviyoAudience(kind="klaviyo", segments=["S"], exclude_lists=["L"]), ["segment:S take", "list:L leave_out"]),
        (
            SmartEmailingAudience(kind="smartemailing", id="customfields.3", exclude_lists=[4]),
            ["all take", "list:4 leave_out", "customfield:3 ids"],
        ),
        (SmartEmailingAudience(kind="smartemailing", id="guid", lists=[7]), ["list:7 take"]),
        (WarehouseAudience(connection="shop", sql="SELECT 1"), []),
    ],
    ids=["klaviyo", "all profiles", "segment", "field", "guid", "warehouse"],
)
def test_sources_of_an_audience(settings: Any, expected: list[str]) -> None:
    found = sources_of(settings)
    assert [f"{each['source']} {each['role']}" for each in found] == expected
    assert [each["index"] for each in found] == list(range(len(expected)))
