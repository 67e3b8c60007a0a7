"""Calls of pins that are refused: the lines at fault are found, and the others go through."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import requests

from include.errors import PipelineError
from include.pins.newest import one_sender
from luigisbox.client import Settings
from luigisbox.pin_sending import send_pins
from luigisbox.pins import PinClient
from vendor_http.retry import Retry

from .conftest import EVERY_VENDOR, NOW, Place, built, lines_with, outcomes, reasons, scope, scopes


def test_all_is_sent_in_calls_of_a_size(place: Place) -> None:
    run = place.run(scopes(20))
    figures = place.send(run)
    assert (figures["applied"], figures["calls"], len(place.there())) == (20, 3, 20)
    assert set(outcomes(run).values()) == {"applied"}
    place.send(run)
    assert place.calls() == 3  # what was applied is not sent again


@EVERY_VENDOR
def test_every_bad_line_is_found_and_the_others_go_through(place: Place) -> None:
    rng = random.Random(11)
    for strategy, bad, many in (
        ("ignore", [0, 7], 16),
        ("override", rng.sample(range(24), 6), 24),
        ("ignore", [0, 1], 2),
    ):
        requests.delete(f"{place.url}/_sandbox/pins").raise_for_status()
        run = place.run(scopes(many, bad), skip_bad=True)
        figures = place.send(run, strategy)
        assert lines_with(run, "invalid") == sorted(number + 1 for number in bad)
        assert figures["applied"] == many - len(bad) == len(place.there())
        assert all("422" in reasons(run)[number + 1] for number in bad)


@EVERY_VENDOR
def test_one_bad_line_of_a_full_call_takes_few_calls(place: Place) -> None:
    run = place.run(scopes(300, [234]), scopes_per_call=5_000, skip_bad=True)
    figures = place.send(run, "override")
    assert lines_with(run, "invalid") == [235]
    assert figures["calls"] <= (3 if place.names_lines else 20)


@EVERY_VENDOR
def test_without_skip_bad_nothing_is_sent_after_the_call_that_was_refused(place: Place) -> None:
    run = place.run(scopes(24, [10]))
    with pytest.raises(
        PipelineError, match=r"of 24 scopes: applied 15, invalid 1, not sent 8\. The first: pins.ndjson line 11"
    ):
        place.send(run, "ignore")
    assert lines_with(run, "not_sent") == list(range(17, 25))


@EVERY_VENDOR
def test_the_search_ends_when_its_calls_are_used_up(place: Place) -> None:
    run = place.run(scopes(8, [0, 3, 6]), skip_bad=True, max_calls=3)
    with pytest.raises(PipelineError, match="unknown"):
        place.send(run, "override")
    assert place.calls() <= 4
    assert {1, 4, 7} <= {line for line, found in outcomes(run).items() if found in ("unknown", "invalid")}
    assert all("max_calls were used up" in reasons(run)[line] for line in lines_with(run, "unknown"))


@EVERY_VENDOR
def test_under_raise_the_export_tells_conflicts_from_what_the_call_itself_left(place: Place) -> None:
    place.put(scope("p3", tags=["theirs"]), scope("p12"))
    run = place.run(scopes(16), skip_bad=True)
    figures = place.send(run)
    assert lines_with(run, "conflict") == [4, 13]
    assert (figures["applied"], len(place.there())) == (14, 16)
    assert place.there()["p3"]["tags"] == ["theirs"]
    assert figures["calls"] == 4
    assert figures["looks"] == 2


@EVERY_VENDOR
def test_under_raise_without_skip_bad_the_first_conflict_ends_it(place: Place) -> None:
    place.put(scope("p3"))
    run = place.run(scopes(16))
    with pytest.raises(PipelineError, match="conflict 1, not sent") as failed:
        place.send(run)
    assert "line 4" in str(failed.value)
    assert place.calls() == 1
    left = {name: line for line in lines_with(run, "applied") for name in [f"p{line - 1}"]}
    assert place.there().keys() == {"p3", *left}  # a part of the call may stand there, and then it is known


@EVERY_VENDOR
def test_under_raise_an_invalid_line_is_searched_for_among_what_is_not_there(place: Place) -> None:
    place.put(scope("p1", tags=["theirs"]), scope("p12"))
    run = place.run(scopes(24, [2, 6, 17]), skip_bad=True)
    place.send(run)
    assert lines_with(run, "invalid") == [3, 7, 18]
    assert lines_with(run, "conflict") == [2, 13]
    assert len(lines_with(run, "applied")) == 19
    assert len(place.there()) == 21  # and none of them was sent over another one
    assert place.there()["p1"]["tags"] == ["theirs"]


@EVERY_VENDOR
def test_under_raise_the_search_ends_when_its_calls_are_used_up(place: Place) -> None:
    run = place.run(scopes(8, [0, 3, 6]), skip_bad=True, max_calls=3)
    with pytest.raises(PipelineError, match=r"unknown .* Mend the source, or raise pins\.max_calls, and run again"):
        place.send(run)
    assert place.calls() <= 4
    assert len(lines_with(run, "applied")) == len(place.there())
    assert not lines_with(run, "not_sent")


def test_under_raise_a_conflict_is_known_whatever_else_the_answer_is_about(place: Place) -> None:
    place.put(scope("p0", tags=["theirs"]))
    run = place.run(scopes(4, [2]))
    with pytest.raises(PipelineError, match="applied 2, conflict 1, invalid 1"):
        place.send(run)
    assert (lines_with(run, "conflict"), lines_with(run, "invalid")) == ([1], [3])


@pytest.mark.parametrize(
    "said",
    [
        {"pin_definitions.pin_identity": ["item 'p5' is not in the catalogue"]},
        {"body": ["cannot be parsed: line 1: unknown item"]},
        {"target_identity": ["must be one of 'p1', 'p5'"]},
    ],
)
def test_under_raise_a_line_that_an_answer_seems_to_name_is_at_fault_only_if_it_is_refused_alone(
    serve: Any, tmp_path: Path, said: Any
) -> None:
    stored: dict[str, Any] = {}

    def answer(handler: Any) -> None:
        sent = [json.loads(line) for line in handler.take().splitlines()]
        if handler.path.split("?")[0].endswith("export"):
            handler.reply(200, json.dumps([{"id": name, **each} for name, each in stored.items()]).encode())
        elif any(each["target_identity"] == "p6" for each in sent):
            handler.reply(422, json.dumps({"reason": "no", "exception_details": said}).encode())
        else:
            assert not stored.keys() & {each["target_identity"] for each in sent}
            stored.update({each["target_identity"]: each for each in sent})
            handler.reply(200, b"{}")

    run = built(tmp_path / "run", scopes(8), skip_bad=True)
    client = PinClient(Settings(serve(answer), "1-1", "key"), Retry(sleep=lambda _: None))
    with one_sender(tmp_path, NOW, run[0]) as newest:
        figures = send_pins(client, *run, newest, mode="create", conflict_strategy="raise")
    assert (lines_with(run, "invalid"), figures["applied"], len(stored)) == ([7], 7, 7)
