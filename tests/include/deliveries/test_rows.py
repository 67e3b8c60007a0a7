"""One part as rows: every product beside its recipient, the default set for those without."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.deliveries.rows import SCHEMA, part_table
from include.errors import BadInput
from include.publishers.batches import Coverage
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from tests.include.recommendations.documents import User, batch_of, products, settings, user_set, xml

USERS = [
    User("z", {"basket": products(3), "other": products(1, start=7)}),
    User("a", {"other": products(1)}),
    User("stranger", {"basket": products(1)}),
    User("default", {"basket": products(2, start=50), "other": products(1, start=60)}),
]


def prepared(root: Path, users: list[User] = USERS, **more: Any) -> tuple[Path, Path]:
    batch = batch_of(root / "shop" / "batches" / "x", xml(users))
    parse_batch(batch, settings(parts=1))
    listed = user_set(root, "now", ["z", "a", "absent"], ["z@example.com", None, None])
    coverage.reconcile(batch, listed, settings(parts=1), Coverage(), **more)
    return batch, batch / "for-now"


def told(table: pa.Table) -> list[tuple[Any, ...]]:
    assert table.schema.equals(SCHEMA)
    names = ("recipient", "personalised", "recommendation_type", "rank", "item_id")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


OWN = [
    ("a", True, "other", 1, "p1"),
    ("z@example.com", True, "basket", 1, "p1"),
    ("z@example.com", True, "basket", 2, "p2"),
    ("z@example.com", True, "basket", 3, "p3"),
    ("z@example.com", True, "other", 1, "p7"),
]
INSTEAD = [
    ("absent", False, "basket", 1, "p50"),
    ("absent", False, "basket", 2, "p51"),
    ("absent", False, "other", 1, "p60"),
]


def test_own_rows_then_the_default_set(tmp_path: Path) -> None:
    batch, recon = prepared(tmp_path)
    assert told(part_table(batch, recon, 0, None, use_default_set=True)) == OWN + INSTEAD
    assert told(part_table(batch, recon, 0, None, use_default_set=False)) == OWN
    assert not list(recon.glob(".*"))


def test_a_store_is_asked_for_each_file_once(tmp_path: Path, s3_staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch, recon), (there, so) = prepared(s3_staging), prepared(tmp_path)
    fetched: list[str] = []
    file = type(s3_staging.fs.open(str(batch / "manifest.json"), "rb"))  # type: ignore[attr-defined]
    fetch = file._fetch_range

    def counted(self: Any, start: int, end: int) -> Any:
        fetched.append(Path(self.path).parent.name)
        return fetch(self, start, end)

    monkeypatch.setattr(file, "_fetch_range", counted)
    asked = part_table(batch, recon, 0, None, use_default_set=True)
    assert asked.equals(part_table(there, so, 0, None, use_default_set=True))
    assert sorted(name for name in fetched if name != batch.name) == ["recipients", "recommendations"]


def test_only_the_wanted_types(tmp_path: Path) -> None:
    batch, recon = prepared(tmp_path)
    assert told(part_table(batch, recon, 0, ["basket"], use_default_set=True)) == [
        *OWN[1:4],
        ("a", False, "basket", 1, "p50"),
        ("a", False, "basket", 2, "p51"),
        *INSTEAD[:2],
    ]
    assert told(part_table(batch, recon, 0, ["nothing'; --"], use_default_set=True)) == []


def test_without_a_default_set_nobody_gets_it(tmp_path: Path) -> None:
    batch, recon = prepared(tmp_path, USERS[:3])
    assert told(part_table(batch, recon, 0, None, use_default_set=True)) == OWN


def test_default_only_gives_everybody_the_default_set(tmp_path: Path) -> None:
    batch, recon = prepared(tmp_path, default_only=True)
    found = told(part_table(batch, recon, 0, ["other"], use_default_set=True))
    assert found == [(name, False, "other", 1, "p60") for name in ("a", "absent", "z@example.com")]


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    batch, recon = prepared(tmp_path)
    with pytest.raises(BadInput, match=r"part-001\.parquet: not there"):
        part_table(batch, recon, 1, None, use_default_set=False)
