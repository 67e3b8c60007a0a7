"""uploaded = personalised + absent; thresholds warn and fail; recipients lie in the part of their hash."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include.errors import PipelineError
from include.publishers.batches import Coverage
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from include.recommendations.rows import user_key
from include.staging import read_json
from tests.include.recommendations.documents import Product, User, batch_of, products, settings, user_set, xml


def reconciled(
    root: Path, users: list[User], ids: list[str], thresholds: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    types = more.pop("recommendation_types", {})
    batch = batch_of(root / "shop" / "batches" / "x", xml(users))
    parse_batch(batch, settings())
    given_settings = settings(recommendation_types=types)
    given_thresholds = Coverage.model_validate(thresholds or {})
    found = coverage.reconcile(batch, user_set(root, "now", ids), given_settings, given_thresholds, **more)
    assert read_json(batch / "for-now" / "coverage.json") == found
    return found


def recipients(root: Path) -> list[dict[str, Any]]:
    folder = root / "shop" / "batches" / "x" / "for-now" / "recipients"
    return [
        {**row, "part": number}
        for number, path in enumerate(sorted(folder.iterdir()))
        for row in pq.read_table(path).to_pylist()
    ]


DEFAULT = User("default", {"basket": products(2)})
some_ids = st.lists(st.sampled_from([f"u{n}" for n in range(30)] + ["ž", "U1", "\U0001f600"]), unique=True, min_size=1)


@hypothesis_settings(max_examples=15, deadline=None)
@given(in_batch=some_ids, uploaded=some_ids, default_only=st.booleans())
def test_every_uploaded_user_is_a_recipient_once(in_batch: list[str], uploaded: list[str], default_only: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = reconciled(root, [User(name) for name in in_batch], uploaded, default_only=default_only)
        rows = recipients(root)
    personalised = set() if default_only else set(in_batch) & set(uploaded)
    assert sorted(row["auth_user_id"] for row in rows) == sorted(uploaded)
    assert {row["auth_user_id"] for row in rows if row["personalised"]} == personalised
    assert all(row["part"] == user_key(row["auth_user_id"]) % 3 for row in rows)
    by_part = [[row["auth_user_id"] for row in rows if row["part"] == part] for part in range(3)]
    assert all(names == sorted(names, key=str.encode) for names in by_part)
    assert (found["uploaded"], found["personalised"]) == (len(uploaded), len(personalised))
    assert found["absent"] == len(uploaded) - len(personalised)
    assert found["unexpected"] == (0 if default_only else len(set(in_batch) - set(uploaded)))


def test_the_recipient_is_the_platforms_key_or_the_id(tmp_path: Path) -> None:
    batch = batch_of(tmp_path / "shop" / "batches" / "x", xml([User("a"), DEFAULT]))
    parse_batch(batch, settings())
    listed = user_set(tmp_path, "now", ["a", "b", "c", "d"], ["a@example.com", None, "", "default"])
    coverage.reconcile(batch, listed, settings(), Coverage())
    found = {row["auth_user_id"]: row["recipient"] for row in recipients(tmp_path)}
    assert found == {"a": "a@example.com", "b": "b", "c": "c", "d": "d"}


def test_slots_are_counted_for_personalised_recipients(tmp_path: Path) -> None:
    users = [
        User("a", {"basket": products(3), "extra": products(1)}),
        User("b", {"basket": products(6)}),
        User("stranger", {"basket": products(4)}),
        DEFAULT,
    ]
    found = reconciled(tmp_path, users, ["a", "b", "c"], recommendation_types={"basket": 4, "never": 2})
    assert found["types"] == {
        "basket": {"users": 2, "slots": 8, "filled": 7, "filled_percent": 87.5},
        "extra": {"users": 1, "slots": 2, "filled": 1, "filled_percent": 50.0},
        "never": {"users": 0, "slots": 4, "filled": 0, "filled_percent": 0.0},
    }
    assert "type extra is in the batch but not among recommendation_types" in found["warnings"]
    assert any("type never: 0 of 4 slots" in sentence for sentence in found["warnings"])


@pytest.mark.parametrize(
    ("thresholds", "failure"),
    [
        ({"fail_unexpected_percent": 100}, None),
        ({}, "1 users of the batch were not uploaded (50.0 % of the list); fail_unexpected_percent is 1"),
        ({"fail_unexpected_percent": 100, "fail_personalised_percent": 51}, "fail_personalised_percent is 51"),
        ({"fail_unexpected_percent": 100, "fail_slots_filled_percent": 81}, "fail_slots_filled_percent is 81"),
        (
            {"fail_unexpected_percent": 100, "fail_missing_recommendation_id_percent": 10},
            "fail_missing_recommendation_id_percent is 10",
        ),
    ],
)
def test_thresholds_fail_the_run(tmp_path: Path, thresholds: dict[str, float], failure: str | None) -> None:
    users = [User("a", {"basket": [*products(3), Product(url="https://x/")]}), User("stranger"), DEFAULT]
    found = reconciled(tmp_path, users, ["a", "b"], thresholds, recommendation_types={"basket": 5})
    if failure is None:
        coverage.check(found)
        return
    with pytest.raises(PipelineError, match="nothing is delivered") as caught:
        coverage.check(found)
    assert failure in str(caught.value)


def test_who_left_since_the_previous_batch_fails_nothing(tmp_path: Path) -> None:
    users = [User("a"), User("left"), DEFAULT]
    found = reconciled(tmp_path / "1", users, ["a", "b"], previous=True)
    assert found["failures"] == []
    assert any("1 users of the batch were not uploaded" in sentence for sentence in found["warnings"])
    found = reconciled(tmp_path / "2", users, ["a", "b"], {"fail_personalised_percent": 51}, previous=True)
    assert ["fail_personalised_percent is 51" in sentence for sentence in found["failures"]] == [True]


def test_the_default_set_is_demanded(tmp_path: Path) -> None:
    found = reconciled(tmp_path, [User("a")], ["a"])
    assert found["failures"] == ["the batch has no default set, and require_default_set is on"]
    found = reconciled(tmp_path / "2", [User("a")], ["a"], {"require_default_set": False})
    assert found["failures"] == []
    found = reconciled(tmp_path / "3", [User("a")], ["a"], {"require_default_set": False}, default_only=True)
    assert "everybody is to get it" in found["failures"][0]


def test_default_only_asks_for_nothing_else(tmp_path: Path) -> None:
    strict = {"fail_personalised_percent": 100, "fail_slots_filled_percent": 100}
    found = reconciled(tmp_path, [User("x"), DEFAULT], ["a"], strict, default_only=True)
    assert (found["failures"], found["warnings"], found["types"]) == ([], [], {})


def test_the_table_shows_all_figures(tmp_path: Path) -> None:
    found = reconciled(tmp_path, [User("a"), User("stranger"), DEFAULT], ["a", "b", "c"])
    text = coverage.table(found)
    for expected in ("uploaded", "33.33", "mail-basket", "missing recommendation id", "default set: basket", "FAILURE"):
        assert expected in text
