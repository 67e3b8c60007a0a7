"""Which batch was accepted last, and which ones stay."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.recommendations import batches, index
from include.recommendations.freshness import Freshness, acceptances
from include.recommendations.parse import parse_batch
from include.staging import read_json, write_json
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
    assert [(note["user_set"], note["run"]) for note in acceptances(batch)] == [("list-1", ""), ("list-2", "run 2")]


@pytest.mark.parametrize("record", [batches.LATEST, index.INDEX])
def test_killed_half_way_it_is_accepted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str) -> None:
    batch = batch_of(batches.batch_folder(tmp_path, "shop", "one"), xml([User("a")]))
    parse_batch(batch, settings())
    with monkeypatch.context() as killed:
        for module in (batches, index):
            killed.setattr(module, "write_json", _killed_at(record))
        with pytest.raises(KeyboardInterrupt):
            batches.accept(tmp_path, "shop", batch, "list-1", FRESH, "run 1")
    assert batches.latest(tmp_path, "shop") is None
    batches.accept(tmp_path, "shop", batch, "list-1", FRESH, "run 1")
    assert (batches.latest(tmp_path, "shop") or {})["user_set"] == "list-1"
    assert [(note["user_set"], note["run"]) for note in acceptances(batch)] == [("list-1", "run 1")]


def _killed_at(name: str) -> Callable[[Path, dict[str, Any]], None]:
    def write(path: Path, content: dict[str, Any]) -> None:
        if path.name == name:
            raise KeyboardInterrupt
        write_json(path, content)

    return write


def test_old_batches_go_but_never_the_accepted_one(tmp_path: Path) -> None:
    folder, names = batches.batches_folder(tmp_path, "shop"), [f"{number:02d}" for number in range(batches.KEPT + 3)]
    raw = xml([User("x")])
    sha256 = hashlib.sha256(raw).hexdigest()
    pointed = batches.batch_folder(tmp_path, "shop", sha256)
    for batch in (pointed, *(folder / name for name in names)):
        index.register(batch)
        parse_batch(batch_of(batch, raw), settings())
    index.register(folder / "killed before a byte came")
    index.register(folder / names[0])  # it came again
    batches.accept(tmp_path, "shop", pointed, "list-1", FRESH)
    left = {path.name for path in folder.iterdir() if path.is_dir()}
    assert left == {names[0], sha256, *names[-batches.KEPT + 2 :]}
    assert set(index.entries(folder)) == left | {"killed before a byte came"}


def test_a_folder_without_an_index_gets_one(tmp_path: Path) -> None:
    """As an earlier version left it; what was killed before the batch was whole is no batch."""
    folder, names = batches.batches_folder(tmp_path, "shop"), [f"{number:02d}" for number in range(batches.KEPT)]
    for name in names:
        write_json(folder / name / "fetch.json", {"finished_at": f"2020-01-1{name[-1]}T10:00:00+00:00"})
    taken = accepted(tmp_path, names[-1], "before")
    (folder / "killed" / "recommendations").mkdir(parents=True)
    (folder / index.INDEX).unlink()
    assert list(index.entries(folder)[taken.name]["lists"]) == ["before"]
    assert [note["user_set"] for note in acceptances(taken)] == ["before"]
    index.register(folder / "new")
    assert sorted(index.entries(folder)) == [*names, "new"]
    assert batches.prune(tmp_path, "shop") == names[:1]


def test_what_killed_tasks_left_goes_after_a_while(tmp_path: Path) -> None:
    folder = batches.batches_folder(tmp_path, "shop")
    for name, age in ((".work-old", batches.LEFT_OVER_AFTER + 60), (".work-new", 0)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    batches.prune(tmp_path, "shop")
    assert [path.name for path in folder.glob(".work-*")] == [".work-new"]
