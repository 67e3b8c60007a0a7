"""Which batch was accepted last, and which ones stay."""

import os
from pathlib import Path

from include.recommendations import batches
from include.recommendations.freshness import Freshness
from include.recommendations.layout import acceptances
from include.recommendations.parse import parse_batch
from include.staging import read_json
from tests.include.recommendations.documents import User, batch_of, settings, xml

FRESH = Freshness("fresh", "Fresh: it is.", {})


def accepted(root: Path, sha256: str, user_set: str = "list-1") -> Path:
    batch = batch_of(batches.batch_folder(root, "shop", sha256), xml([User(f"user-{sha256}")]))
    parse_batch(batch, settings())
    batches.accept(root, "shop", batch, user_set, FRESH)
    return batch


def test_nothing_was_accepted_yet(tmp_path: Path) -> None:
    assert batches.latest(tmp_path, "shop") is None


def test_the_pointer_names_the_batch_accepted_last(tmp_path: Path) -> None:
    accepted(tmp_path, "one")
    batch = accepted(tmp_path, "two")
    found = batches.latest(tmp_path, "shop")
    assert found
    assert found["uri"] == batch.as_uri()
    assert found["sha256"] == read_json(batch / "manifest.json")["sha256"]
    assert (found["user_set"], found["verdict"], found["users"]) == ("list-1", "fresh", 1)


def test_accepting_again_changes_nothing(tmp_path: Path) -> None:
    batch = accepted(tmp_path, "one")
    first = batches.latest(tmp_path, "shop")
    batches.accept(tmp_path, "shop", batch, "list-1", FRESH)
    assert batches.latest(tmp_path, "shop") == first
    batches.accept(tmp_path, "shop", batch, "list-2", FRESH)
    assert (batches.latest(tmp_path, "shop") or {})["user_set"] == "list-2"


def test_each_list_keeps_the_run_that_took_the_batch_for_it_first(tmp_path: Path) -> None:
    batch = accepted(tmp_path, "one")
    for user_set, run in (("list-2", "run 2"), ("list-2", "run 3"), ("list-1", "run 4")):
        batches.accept(tmp_path, "shop", batch, user_set, FRESH, run)
    notes = [read_json(path) for path in acceptances(batch)]
    assert [(note["user_set"], note["run"]) for note in notes] == [("list-1", ""), ("list-2", "run 2")]


def test_old_batches_go_but_never_the_accepted_one(tmp_path: Path) -> None:
    for number in range(batches.KEPT + 3):
        batch = accepted(tmp_path, f"{number:02d}")
        os.utime(batch / "manifest.json", (number, number))
    pointed = batch_of(batches.batch_folder(tmp_path, "shop", "x"), b"")
    (pointed / "raw.xml").write_bytes(xml([User("x")]))
    sha256 = parse_batch(pointed, settings())["sha256"]
    pointed = pointed.rename(pointed.with_name(sha256))
    os.utime(pointed / "manifest.json", (0, 0))
    batches.accept(tmp_path, "shop", pointed, "list-1", FRESH)
    left = {path.name for path in pointed.parent.iterdir()}
    assert left == {f"{number:02d}" for number in range(3, batches.KEPT + 3)} | {sha256, "latest.json"}
