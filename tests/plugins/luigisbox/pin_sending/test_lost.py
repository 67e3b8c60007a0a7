"""Calls of pins that are lost, or end in trouble that is not about their lines: nothing unknown passes for not sent."""

import json
from dataclasses import replace
from typing import Any

import pytest
import requests

from luigisbox.pins import PinClient
from vendor_http.errors import ServerError, Unauthorized, Unreachable
from vendor_http.retry import Retry

from .conftest import EVERY_VENDOR, Place, lines_with, outcomes, reasons, scope, scopes


@pytest.mark.parametrize("fault", ["reset_after_store", "503", "reset_mid_body"])
def test_under_raise_a_lost_call_is_looked_after_before_anything_is_sent_again(place: Place, fault: str) -> None:
    run = place.run(scopes(16))
    place.fault(fault, path="/v1/recommender/pin/1234-5678/scopes/_bulk")
    figures = place.send(run)
    assert (figures["applied"], len(place.there())) == (16, 16)
    assert place.calls() == (2 if fault == "reset_after_store" else 3)
    assert figures["looks"] == 1


def test_a_line_that_stays_lost_is_unknown_and_a_second_try_goes_on(place: Place) -> None:
    run = place.run(scopes(16))
    place.fault("503", times=None, path="/v1/recommender/pin/1234-5678/scopes/_bulk")
    with pytest.raises(ServerError, match="8 of its scopes are not in the export"):
        place.send(run)
    assert (lines_with(run, "unknown"), lines_with(run, "not_sent")) == (list(range(1, 9)), list(range(9, 17)))
    requests.delete(f"{place.url}/_sandbox/faults").raise_for_status()
    place.client.bulk("\n".join(map(json.dumps, scopes(8))).encode(), "raise")  # it did arrive after all
    figures = place.send(run)
    assert (figures["applied"], figures["calls"], figures["looks"]) == (16, 1, 1)


def test_a_worker_that_dies_after_a_call_knows_its_scopes_from_others_when_it_comes_back(place: Place) -> None:
    place.put(scope("p3"))
    run = place.run(scopes(8), skip_bad=True)
    place.send(run)
    note = run[0] / "sent/pins-00000.json"
    applied = json.loads(note.read_text())
    note.write_text(json.dumps({**applied, "applied": [], "open": list(range(8))}))  # as it is before the call leaves
    figures = place.send(run)
    assert (figures["applied"], lines_with(run, "conflict"), len(place.there())) == (7, [4], 8)
    assert figures["looks"] == 2
    note.unlink()  # not even that: then the answer is a 409, and the look comes after it
    assert place.send(run)["applied"] == 7


def test_without_a_connection_nothing_was_sent(place: Place) -> None:
    run = place.run(scopes(3), conflict_strategy="raise")
    place.send(run)
    (run[0] / "sent/pins-00000.json").unlink()
    place.client = PinClient(replace(place.client.settings, base_url="http://127.0.0.1:9"), place.client.retry)
    for strategy, outcome in (("raise", "not_sent"), ("override", "unknown")):
        with pytest.raises(Unreachable):
            place.send(run, strategy)
        assert set(outcomes(run).values()) == {outcome}


class Breaking(PinClient):
    """After its first call Luigi's Box has trouble for good."""

    def bulk(self, lines: bytes, conflict_strategy: Any) -> None:
        try:
            super().bulk(lines, conflict_strategy)
        finally:
            fault = {"fault": "503", "times": None}
            requests.post(f"{self.settings.base_url}/_sandbox/faults", json=fault).raise_for_status()


def test_a_search_that_is_cut_short_says_of_no_line_that_it_was_not_sent(place: Place) -> None:
    run = place.run(scopes(16, [3]), skip_bad=True)
    place.client = Breaking(place.client.settings, place.client.retry)
    with pytest.raises(ServerError):
        place.send(run, "override")
    assert lines_with(run, "unknown") == list(range(1, 9))
    assert lines_with(run, "not_sent") == list(range(9, 17))
    assert "did not come to its end" in reasons(run)[8]


class Locking(PinClient):
    """After a call, Luigi's Box does not take the key any more."""

    def bulk(self, lines: bytes, conflict_strategy: Any) -> None:
        try:
            super().bulk(lines, conflict_strategy)
        finally:
            fault = {"fault": "401", "times": None}
            requests.post(f"{self.settings.base_url}/_sandbox/faults", json=fault).raise_for_status()


@EVERY_VENDOR
def test_a_key_that_is_refused_in_a_search_leaves_what_was_sent_before_unknown(place: Place) -> None:
    run = place.run(scopes(16, [6]), skip_bad=True)
    place.client = Locking(place.client.settings, place.client.retry)
    for _ in range(2):  # the second try is refused at once, and knows no more
        with pytest.raises(Unauthorized):
            place.send(run, "override")
        assert lines_with(run, "unknown") == list(range(1, 9))
        assert lines_with(run, "not_sent") == list(range(9, 17))


@pytest.mark.parametrize("mode", ["create", "sync"])
def test_a_call_whose_answer_was_lost_stays_unknown_when_the_key_is_refused_later(place: Place, mode: str) -> None:
    run = place.run(scopes(16))
    place.fault("reset_after_store", path="/v1/recommender/pin/1234-5678/scopes/_bulk")
    place.client = PinClient(place.client.settings, Retry(sleep=lambda _: place.fault("401", times=None)))
    for strategy in ("override", "override", "ignore"):
        with pytest.raises(Unauthorized):
            place.send(run, strategy, mode)
        assert lines_with(run, "unknown") == list(range(1, 9))
        assert lines_with(run, "not_sent") == list(range(9, 17))
    assert len(place.there()) == 8
    requests.delete(f"{place.url}/_sandbox/faults").raise_for_status()
    place.send(run, "override", mode)
    assert set(outcomes(run).values()) <= {"applied", "unchanged"}


def test_a_wrong_key_says_so_and_nothing_was_sent(place: Place) -> None:
    run = place.run(scopes(3))
    place.fault("401", times=None)
    for strategy in ("raise", "override"):
        with pytest.raises(Unauthorized, match="answered 401"):
            place.send(run, strategy)
        assert set(outcomes(run).values()) == {"not_sent"}
