"""The closing of the books: what was delivered must be what was uploaded."""

from pathlib import Path
from typing import Any

import pytest

from include.errors import BooksDoNotBalance, ConfigError
from include.staging import write_json
from pipeline.deliver import batch_name, check_types, close_books

SHA256 = "ab" * 32


def batch(staging: Path) -> dict[str, Any]:
    folder = staging / "demo" / "batches" / SHA256
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "manifest.json", {"types": {"mail-basket": {}}, "default": {"types": ["mail-top"]}})
    return {"uri": folder.as_uri(), "sha256": SHA256, "user_set": "list-1", "outcome": "fresh"}


def plan(types: list[str] | None = None) -> Any:
    return {"publisher": "demo", "recommendation_types": types, "deliveries": ["feed"]}


def part(number: int, recipients: int) -> dict[str, Any]:
    counts = {"recipients": recipients, "personalised": recipients - 1, "default": 1, "nothing": 0, "rows": 8}
    return {"delivery": "feed", "kind": "feed", "part": number, **counts, "files": []}


COVERAGE = {"uploaded": 5, "personalised": 3, "absent": 2, "unexpected": 0}


def test_the_books_close(staging: Path) -> None:
    figures = close_books(plan(), batch(staging), COVERAGE, [part(1, 2), part(0, 3)])
    assert figures["deliveries"]["feed"]["recipients"] == 5
    assert "uploaded" in figures["table"]
    assert (staging / "demo" / "deliveries" / batch_name(plan(), batch(staging)) / "feed" / "manifest.json").exists()


def test_a_recipient_too_few_is_not_announced(staging: Path) -> None:
    with pytest.raises(BooksDoNotBalance, match="delivery feed: 4 recipients were written, 5 users were uploaded"):
        close_books(plan(), batch(staging), COVERAGE, [part(0, 2), part(1, 2)])


def test_types_that_the_batch_lacks_are_refused(staging: Path) -> None:
    check_types(plan(), batch(staging))
    check_types(plan(["mail-top", "mail-basket"]), batch(staging))
    with pytest.raises(ConfigError, match="the batch has no mail-typo; it has mail-basket, mail-top"):
        check_types(plan(["mail-basket", "mail-typo"]), batch(staging))


def test_runs_of_other_types_do_not_share_a_folder(staging: Path) -> None:
    names = {batch_name(plan(types), batch(staging)) for types in (None, ["a"], ["b"], ["a", "b"], ["a/b"])}
    assert len(names) == 5
    assert batch_name(plan(["a", "b"]), batch(staging)) == batch_name(plan(["b", "a"]), batch(staging))
