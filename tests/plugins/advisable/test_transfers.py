"""Guests become customers: whenever a pair is given, whatever comes late, whatever became of the last try."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.errors import BadInput
from include.interactions.transfers import build_transfers
from include.staging import read_json
from vendor_http.errors import TransientError, Unauthorized

from .conftest import Box, build, build_pairs, interactions, rows_of

Send = Callable[..., dict[str, Any]]
SETTINGS = interactions(transfers={"files": "none"})


def test_all_pairs_are_sent_and_strangers_are_counted(
    box: Box, send: Send, transfer: Send, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path / "views", rows_of(14), SETTINGS)
    send(tmp_path / "views", SETTINGS)
    pairs = [(f"u{n}", f"customer {n}/ü") for n in range(7)] + [("u99", "nobody")]
    build_pairs(tmp_path / "pairs", pairs, SETTINGS)
    figures = transfer(tmp_path / "pairs", SETTINGS)
    assert (figures["sent"], figures["absent"], figures["refused"], figures["requests"]) == (7, 1, 0, 8)
    assert {user for user, _, _ in box.stored()} == {f"customer {n}/ü" for n in range(7)}
    assert "knows none" not in caplog.text
    again = transfer(tmp_path / "pairs", SETTINGS)
    assert (again["sent"], again["absent"]) == (0, 8)
    assert "knows none of the 8 guests" in caplog.text
    assert "u99" not in caplog.text
    assert read_json(tmp_path / "pairs" / "sent.json")["absent"] == 8


def test_what_comes_late_is_moved_by_the_next_transfer(box: Box, send: Send, transfer: Send, tmp_path: Path) -> None:
    build_pairs(tmp_path / "pairs", [("u0", "c0"), ("u1", "c1")], SETTINGS)
    for part in (rows_of(4)[2:3], rows_of(2), rows_of(9)[7:8]):
        run = tmp_path / str(part[0][2])
        build(run, part, SETTINGS)
        send(run, SETTINGS)
        transfer(tmp_path / "pairs", SETTINGS)
    assert {(user, item) for user, item, _ in box.stored()} == {("c0", "i0"), ("c1", "i1"), ("u2", "i2"), ("c0", "i7")}


@pytest.mark.parametrize("how", ["transfer", "external_id"])
@pytest.mark.parametrize("fault", ["reset_after_store", "503"])
def test_one_of_unknown_fate_is_repeated(
    how: str, fault: str, box: Box, send: Send, transfer: Send, tmp_path: Path
) -> None:
    settings = interactions(transfers={"files": "none", "how": how})
    build(tmp_path / "views", rows_of(7), settings)
    send(tmp_path / "views", settings)
    build_pairs(tmp_path / "pairs", [(f"u{n}", f"c{n}") for n in range(7)], settings)
    box.fault(fault, times=2)
    with pytest.raises(TransientError, match="With the next try all transfers"):
        transfer(tmp_path / "pairs", settings)
    figures = transfer(tmp_path / "pairs", settings)
    assert (figures["sent"] + figures["absent"], figures["refused"], figures["unknown"]) == (7, 0, 0)
    assert {user for user, _, _ in box.stored()} == {f"c{n}" for n in range(7)}


def test_a_guest_who_was_not_known_yet_is_transferred_later(
    box: Box, send: Send, transfer: Send, tmp_path: Path
) -> None:
    build_pairs(tmp_path / "pairs", [("u0", "c0")], SETTINGS)
    box.fault("503")
    with pytest.raises(TransientError):
        transfer(tmp_path / "pairs", SETTINGS)
    assert transfer(tmp_path / "pairs", SETTINGS)["absent"] == 1
    build(tmp_path / "views", rows_of(1), SETTINGS)
    send(tmp_path / "views", SETTINGS)
    assert transfer(tmp_path / "pairs", SETTINGS)["sent"] == 1
    assert {user for user, _, _ in box.stored()} == {"c0"}


def test_hundreds_who_were_transferred_before_are_no_failure(transfer: Send, box: Box, tmp_path: Path) -> None:
    build_pairs(tmp_path / "pairs", [(f"u{n}", "c") for n in range(50)], SETTINGS)
    assert transfer(tmp_path / "pairs", SETTINGS)["absent"] == 50


def test_wrong_credentials_and_wrong_runs_end_it(box: Box, transfer: Send, tmp_path: Path) -> None:
    build_pairs(tmp_path / "pairs", [(f"u{n}", "c") for n in range(9)], SETTINGS)
    with pytest.raises(Unauthorized):
        transfer(tmp_path / "pairs", SETTINGS, app_secret="wrong")
    assert len(box.requests()) == SETTINGS.concurrency
    build(tmp_path / "views", rows_of(2), SETTINGS)
    with pytest.raises(BadInput, match="for another sender"):
        transfer(tmp_path / "views", SETTINGS)
    assert build_transfers(tmp_path / "pairs", SETTINGS)["rows"] == 9
