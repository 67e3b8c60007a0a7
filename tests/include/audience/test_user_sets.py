"""Accepted lists: recorded once, never replaced by an older one, whatever crashes and races there are."""

import multiprocessing
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.audience import user_sets
from include.errors import BadInput
from include.staging import read_json, write_json

NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
MINUTE = timedelta(minutes=1)


def accept(root: Path, run: Path, sent_at: datetime = NOON, after: timedelta = MINUTE) -> user_sets.UserSet:
    return user_sets.accept(root, "shop", run, sent_at=sent_at, accepted_at=sent_at + after, answer={"status": 200})


def test_an_accepted_list_is_the_live_one(tmp_path: Path, built: Any) -> None:
    assert user_sets.live(tmp_path, "shop") is None
    run = built("r1", [("b", "x"), "a"])
    manifest = read_json(run / "manifest.json")
    user_set = accept(tmp_path, run)
    assert user_set == user_sets.live(tmp_path, "shop") == user_sets.load(tmp_path, "shop", user_set.name)
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
    shutil.rmtree(run)
    assert pq.read_table(user_set.ids).to_pylist() == [
        {"auth_user_id": "a", "recipient": None},
        {"auth_user_id": "b", "recipient": "x"},
    ]


def test_each_list_knows_the_one_before(tmp_path: Path, built: Any) -> None:
    first = accept(tmp_path, built("r1", ["a"]))
    second = accept(tmp_path, built("r2", ["b"]), NOON + MINUTE)
    assert user_sets.previous(tmp_path, second) == first
    assert user_sets.previous(tmp_path, first) is None
    shutil.rmtree(first.folder)
    assert user_sets.previous(tmp_path, second) is None


def test_accepting_twice_records_once(tmp_path: Path, built: Any) -> None:
    run = built("r1", ["a"])
    first = accept(tmp_path, run)
    assert accept(tmp_path, run, after=2 * MINUTE) == first
    again = accept(tmp_path, run, NOON + MINUTE)
    assert again != first
    assert again.record["previous"] == first.name
    assert user_sets.previous(tmp_path, again) is None


def test_the_same_list_sent_again_does_not_hide_the_one_before(tmp_path: Path, built: Any) -> None:
    other, run = accept(tmp_path, built("r1", ["a"])), built("r2", ["b"])
    sent = [accept(tmp_path, run, NOON + number * MINUTE) for number in (1, 2, 3)]
    assert [user_sets.previous(tmp_path, user_set) for user_set in sent] == [other] * 3


def test_a_late_repetition_does_not_take_the_place_of_a_newer_list(tmp_path: Path, built: Any) -> None:
    old, new = built("r1", ["a"]), built("r2", ["b"], as_of=NOON + MINUTE)
    first = accept(tmp_path, old)
    second = accept(tmp_path, new, NOON + MINUTE)
    assert accept(tmp_path, old) == first
    assert user_sets.live(tmp_path, "shop") == second


def test_an_older_list_that_the_vendor_has_is_recorded_loudly(
    tmp_path: Path, built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    newer = accept(tmp_path, built("r1", ["a"]))
    assert not caplog.records
    older = accept(tmp_path, built("r2", ["b"], as_of=NOON - MINUTE), NOON + MINUTE)
    assert user_sets.live(tmp_path, "shop") == older
    (said,) = caplog.records
    assert said.levelname == "ERROR"
    assert f"now holds the OLDER list {older.name}" in said.getMessage()
    assert newer.name in said.getMessage()


def test_an_older_list_is_not_to_be_sent(tmp_path: Path, built: Any) -> None:
    live = accept(tmp_path, built("r1", ["a"]))
    for as_of in (NOON - MINUTE, "2026-03-01T11:59:59.999999+00:00"):
        with pytest.raises(user_sets.OlderThanLive):
            user_sets.refuse_if_older(live, as_of)
    user_sets.refuse_if_older(live, NOON)
    user_sets.refuse_if_older(None, NOON)


def test_a_crash_before_the_pointer_is_mended_by_repeating(tmp_path: Path, built: Any) -> None:
    first = accept(tmp_path, built("r1", ["a"]))
    run = built("r2", ["b"])
    second = accept(tmp_path, run, NOON + MINUTE)
    write_json(tmp_path / "shop" / "user_sets" / "live.json", first.record)
    assert accept(tmp_path, run, NOON + MINUTE) == second == user_sets.live(tmp_path, "shop")


def test_a_crash_half_way_is_invisible(tmp_path: Path, built: Any) -> None:
    run = built("r1", ["a"])
    sha256 = read_json(run / "manifest.json")["sha256"]
    left = tmp_path / "shop" / "user_sets" / f".20260301T120100.000000Z-{sha256[:12]}.tmp"
    left.mkdir(parents=True)
    (left / "record.json").write_text("{")
    assert user_sets.live(tmp_path, "shop") is None
    assert accept(tmp_path, run) == user_sets.live(tmp_path, "shop")
    assert not left.exists()


def test_files_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path, built: Any) -> None:
    run = built("r1", ["a"])
    shutil.copy(built("r2", ["b"]) / "accepted.parquet", run / "accepted.parquet")
    with pytest.raises(BadInput, match="not the file that the manifest promises"):
        accept(tmp_path, run)
    assert user_sets.live(tmp_path, "shop") is None


def test_only_the_newest_are_kept(tmp_path: Path, built: Any) -> None:
    run = built("r1", ["a"])
    made = [accept(tmp_path, run, NOON + number * MINUTE) for number in range(user_sets.KEPT + 2)]
    assert [user_set.folder.exists() for user_set in made] == [False] * 2 + [True] * user_sets.KEPT


def test_a_list_that_is_not_there_names_those_that_are(tmp_path: Path, built: Any) -> None:
    known = accept(tmp_path, built("r1", ["a"]))
    for name in ("nothing", "../user_sets", ""):
        with pytest.raises(BadInput, match=f"known, oldest first: {known.name}"):
            user_sets.load(tmp_path, "shop", name)


def _accept_in_a_process(root: Path, run: Path, number: int) -> str:
    return accept(root, run, NOON + number * MINUTE).name


def test_processes_at_the_same_time(tmp_path: Path, built: Any) -> None:
    run = built("r1", ["a"])
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        names = pool.starmap(_accept_in_a_process, [(tmp_path, run, number % 4) for number in range(8)])
    assert len(set(names)) == 4
    live = user_sets.live(tmp_path, "shop")
    assert live is not None
    assert live.name == max(names)
