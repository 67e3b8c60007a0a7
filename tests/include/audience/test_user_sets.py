"""Accepted lists: recorded once, never replaced by an older one, whatever crashes and races there are."""

import multiprocessing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.audience import user_sets
from include.errors import BadInput
from include.objects import arrow
from include.staging import copy_file, read_json, remove_folder, write_json

NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
MINUTE = timedelta(minutes=1)


def accept(root: Path, run: Path, sent_at: datetime = NOON, after: timedelta = MINUTE) -> user_sets.UserSet:
    return user_sets.accept(root, "shop", run, sent_at=sent_at, accepted_at=sent_at + after, answer={"status": 200})


def test_an_accepted_list_is_the_live_one(root: Path, built: Any) -> None:
    assert user_sets.live(root, "shop") is None
    run = built("r1", [("b", "x"), "a"])
    manifest = read_json(run / "manifest.json")
    user_set = accept(root, run)
    assert user_set == user_sets.live(root, "shop") == user_sets.load(root, "shop", user_set.name)
    assert user_set.name == f"20260301T120100.000000Z-{manifest['sha256'][:12]}"
    assert user_set.record == {
        **{key: manifest[key] for key in ("rows", "bytes", "sha256", "as_of", "shapes")},
        "name": user_set.name,
        "sent_at": "2026-03-01T12:00:00.000000+00:00",
        "accepted_at": "2026-03-01T12:01:00.000000+00:00",
        "ids": {**manifest["accepted"], "name": "ids.parquet"},
        "previous": None,
        "run": "r1",
        "segment": False,
        "answer": {"status": 200},
    }
    remove_folder(run)
    assert pq.read_table(str(user_set.ids), filesystem=arrow(user_set.ids)).to_pylist() == [
        {"auth_user_id": "a", "recipient": None},
        {"auth_user_id": "b", "recipient": "x"},
    ]


def test_each_list_knows_the_one_before(root: Path, built: Any) -> None:
    first = accept(root, built("r1", ["a"]))
    second = accept(root, built("r2", ["b"]), NOON + MINUTE)
    assert user_sets.previous(second) == first
    assert user_sets.previous(first) is None
    remove_folder(first.folder)
    assert user_sets.previous(second) is None


def test_accepting_twice_records_once(root: Path, built: Any) -> None:
    run = built("r1", ["a"])
    first = accept(root, run)
    assert accept(root, run, after=2 * MINUTE) == first
    again = accept(root, run, NOON + MINUTE)
    assert again != first
    assert again.record["previous"] == first.name
    assert user_sets.previous(again) is None


def test_the_same_list_sent_again_does_not_hide_the_one_before(root: Path, built: Any) -> None:
    other, run = accept(root, built("r1", ["a"])), built("r2", ["b"])
    sent = [accept(root, run, NOON + number * MINUTE) for number in (1, 2, 3)]
    assert [user_sets.previous(user_set) for user_set in sent] == [other] * 3


def test_a_late_repetition_does_not_take_the_place_of_a_newer_list(root: Path, built: Any) -> None:
    old, new = built("r1", ["a"]), built("r2", ["b"], as_of=NOON + MINUTE)
    first = accept(root, old)
    second = accept(root, new, NOON + MINUTE)
    assert accept(root, old) == first
    assert user_sets.live(root, "shop") == second


def test_an_older_list_that_the_vendor_has_is_recorded_loudly(
    root: Path, built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    newer = accept(root, built("r1", ["a"]))
    assert not caplog.records
    older = accept(root, built("r2", ["b"], as_of=NOON - MINUTE), NOON + MINUTE)
    assert user_sets.live(root, "shop") == older
    (said,) = caplog.records
    assert said.levelname == "ERROR"
    assert f"now holds the OLDER list {older.name}" in said.getMessage()
    assert newer.name in said.getMessage()


def test_an_older_list_is_not_to_be_sent(root: Path, built: Any) -> None:
    live = accept(root, built("r1", ["a"]))
    for as_of in (NOON - MINUTE, "2026-03-01T11:59:59.999999+00:00"):
        with pytest.raises(user_sets.OlderThanLive):
            user_sets.refuse_if_older(live, as_of)
    user_sets.refuse_if_older(live, NOON)
    user_sets.refuse_if_older(None, NOON)


def test_a_crash_before_the_pointer_is_mended_by_repeating(root: Path, built: Any) -> None:
    first = accept(root, built("r1", ["a"]))
    run = built("r2", ["b"])
    second = accept(root, run, NOON + MINUTE)
    write_json(root / "shop" / "user_sets" / "live.json", first.record)
    assert accept(root, run, NOON + MINUTE) == second == user_sets.live(root, "shop")


def test_a_crash_half_way_is_invisible(root: Path, built: Any) -> None:
    run = built("r1", ["a"])
    sha256 = read_json(run / "manifest.json")["sha256"]
    left = root / "shop" / "user_sets" / f"20260301T120100.000000Z-{sha256[:12]}"
    left.mkdir(parents=True)
    (left / "ids.parquet").write_bytes(b"PAR1")
    assert user_sets.live(root, "shop") is None
    assert accept(root, run) == user_sets.live(root, "shop")


def test_files_that_are_not_those_of_the_manifest_are_refused(root: Path, built: Any) -> None:
    run = built("r1", ["a"])
    copy_file(built("r2", ["b"]) / "accepted.parquet", run / "accepted.parquet")
    with pytest.raises(BadInput, match="not the file that the manifest promises"):
        accept(root, run)
    assert user_sets.live(root, "shop") is None


def test_only_the_newest_are_kept(root: Path, built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sets, "KEPT", 2)
    run = built("r1", ["a"])
    made = [accept(root, run, NOON + number * MINUTE) for number in range(user_sets.KEPT + 2)]
    assert [user_set.folder.exists() for user_set in made] == [False] * 2 + [True] * user_sets.KEPT


def test_a_list_that_is_not_there_names_those_that_are(root: Path, built: Any) -> None:
    known = accept(root, built("r1", ["a"]))
    for name in ("nothing", "../user_sets", ""):
        with pytest.raises(BadInput, match=f"known, oldest first: {known.name}"):
            user_sets.load(root, "shop", name)


def _accept_in_a_process(root: Path, run: Path, number: int) -> str:
    return accept(root, run, NOON + number * MINUTE).name


def test_processes_at_the_same_time(root: Path, built: Any) -> None:
    run = built("r1", ["a"])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        names = pool.starmap(_accept_in_a_process, [(root, run, number % 3) for number in range(6)], chunksize=1)
    assert len(set(names)) == 3
    live = user_sets.live(root, "shop")
    assert live is not None
    assert live.name == max(names)
