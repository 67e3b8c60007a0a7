"""Pairs of guests and customers: what cannot be meant is refused, the rest is in order and once."""

import json
from pathlib import Path
from typing import Any

import pytest

from include.errors import BadInput
from include.extract import write_rows
from include.interactions.transfers import COLUMNS, build_transfers
from include.publishers.senders import Interactions


def build(run: Path, *pairs: tuple[Any, Any], percent: float = 100) -> dict[str, Any]:
    write_rows([pairs], COLUMNS, COLUMNS, [], run / "raw", 0)
    form = {"transfers": {"files": "none"}, "refuse_reject_percent": percent}
    return build_transfers(run, Interactions.model_validate(form))


def sent(run: Path) -> list[tuple[str, str]]:
    paths = sorted((run / "lines").glob("*"))
    lines = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
    return [(line["from_user_id"], line["to_user_id"]) for line in lines]


@pytest.mark.parametrize(
    ("pairs", "reasons"),
    [
        ([(None, "c")], {"no_from_user": 1}),
        ([("g", "")], {"no_to_user": 1}),
        ([("g", "c ")], {"surrounding_blanks": 1}),
        ([("g" * 300, "c")], {"too_long": 1}),
        ([("x", "x")], {"same_user": 1}),
        ([("g", "c1"), ("g", "c2")], {"two_targets": 2}),
        ([("a", "b"), ("b", "c")], {"chain": 2}),
        ([("a", "b"), ("b", "a")], {"chain": 2}),
        ([("good 1", "good c")], {"duplicate": 1}),
    ],
)
def test_what_cannot_be_meant_is_refused(pairs: list[tuple[Any, Any]], reasons: dict[str, int], tmp_path: Path) -> None:
    manifest = build(tmp_path, ("good 2", "good c"), *pairs, ("good 1", "good c"))
    assert manifest["reasons"] == reasons
    assert sent(tmp_path) == [("good 1", "good c"), ("good 2", "good c")]
    books = manifest["books"]
    assert books["extracted"] == books["rejected"] + books["duplicates"] + books["uploaded"] == len(pairs) + 2


def test_too_many_rejects_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="same_user 1"):
        build(tmp_path, ("x", "x"), ("g", "c"), percent=10)


def test_no_pairs_are_no_mistake(tmp_path: Path) -> None:
    assert build(tmp_path)["rows"] == 0
