"""Runs of pins that make what is there what is wanted, dry runs, and older runs; the operator."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.errors import BadInput, ConfigError, PipelineError
from include.publishers.senders import Pins
from luigisbox.pin_items import Item, named

from .conftest import NOW, Place, built, lines_with, scope, scopes


def test_a_sync_creates_replaces_and_deletes_what_differs(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.put(*scopes(10), scope("p20", tags=["old"]))
    ids = {name: each["id"] for name, each in place.there().items()}
    wanted = [*scopes(9, start=2), scope("p20", tags=["new"]), scope("p30")]
    run = place.run(wanted, delete=True)
    before = place.there()
    caplog.set_level("INFO")
    shown = place.send(run, mode="sync", dry_run=True)
    assert {name: shown[name] for name in ("create", "replace", "unchanged", "delete")} == {
        "create": 2,
        "replace": 1,
        "unchanged": 8,
        "delete": 2,
    }
    assert "a dry run: nothing was changed" in caplog.text
    assert place.there() == before
    figures = place.send(run, mode="sync")
    assert (figures["applied"], figures["unchanged"], figures["deleted"]) == (3, 8, 2)
    after = place.there()
    assert after.keys() == {each["target_identity"] for each in wanted}
    assert (after["p20"]["id"], after["p20"]["tags"]) == (ids["p20"], ["new"])
    again = place.send(run, mode="sync")
    assert (again["unchanged"], again["applied"], again["calls"]) == (11, 0, 0)


@pytest.mark.parametrize(
    ("strategy", "figures", "actions"),
    [
        ("raise", {"create": 1, "replace": 0, "unchanged": 0, "conflict": 2}, ["conflict", "conflict", "create"]),
        ("ignore", {"create": 1, "replace": 0, "unchanged": 2, "conflict": 0}, ["create"]),
        ("override", {"create": 1, "replace": 1, "unchanged": 1, "conflict": 0}, ["replace", "create"]),
    ],
)
def test_a_dry_run_of_a_creation_goes_by_its_strategy(
    place: Place, strategy: str, figures: dict[str, int], actions: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    place.put(scope("p0"), scope("p1", tags=["theirs"]), scope("p9"))
    run = place.run(scopes(3), delete=True)
    caplog.set_level("INFO")
    shown = place.send(run, strategy, dry_run=True)
    assert {name: shown[name] for name in figures} == figures
    rows = pq.read_table(run[0] / "diff.parquet").to_pylist()
    assert [(row["action"], row["line"]) for row in rows][-1] == ("stays", None)
    assert [row["action"] for row in rows[:-1]] == actions
    assert "create    basket  p2  pins.ndjson line 3" in caplog.text


def test_what_a_sync_would_delete_is_listed_also_when_it_is_too_much(place: Place) -> None:
    place.put(*scopes(3))
    run = place.run(scopes(1), delete=True, max_deletions=1)
    with pytest.raises(BadInput, match=r"All of it is listed in .*diff\.parquet"):
        place.send(run, mode="sync")
    rows = pq.read_table(run[0] / "diff.parquet").to_pylist()
    assert sorted((row["action"], row["target"]) for row in rows) == [("delete", "p1"), ("delete", "p2")]


def test_an_older_run_never_goes_over_a_newer_one(place: Place) -> None:
    old, new = place.run(scopes(3), delete=True), place.run(scopes(2, start=1), delete=True)
    hour = timedelta(hours=1)
    place.send(old, mode="sync")
    place.send(new, mode="sync", at=NOW + hour)
    for strategy, mode in (("raise", "sync"), ("override", "create")):
        with pytest.raises(
            BadInput, match=r"as of 2026-04-01T01:00:00 UTC, were sent already \(run run2\).* trigger a new run"
        ):
            place.send(old, strategy, mode)
    assert place.there().keys() == {"p1", "p2"}
    assert place.calls() == 1
    assert place.send(old, mode="sync", dry_run=True)["delete"] == 0
    place.send(place.run(scopes(1)), "ignore")  # which leaves what is there alone
    place.send(new, mode="sync", at=NOW + hour)  # cleared
    assert place.there().keys() == {"p1", "p2"}
    refused = place.run(scopes(1), delete=True, max_deletions=0)
    with pytest.raises(BadInput, match="max_deletions"):
        place.send(refused, mode="sync", at=NOW + 2 * hour)
    assert place.send(new, mode="sync", at=NOW + hour)["unchanged"] == 2  # what sent nothing is not the newest


def test_a_sync_deletes_only_when_asked_and_within_the_limit(place: Place) -> None:
    place.put(*scopes(10))
    figures = place.send(place.run(scopes(2)), mode="sync")
    assert (figures["not_wanted"], figures["deleted"], len(place.there())) == (8, 0, 10)
    run = place.run([*scopes(2), scope("new")], delete=True, max_deletions=7)
    with pytest.raises(
        BadInput,
        match=re.escape("8 of the 10 scopes that are there would be deleted, more than pins.max_deletions = 7"),
    ):
        place.send(run, mode="sync")
    assert len(place.there()) == 10
    place.send(place.run(scopes(2), delete=True, max_deletions=8), mode="sync")
    assert len(place.there()) == 2


def test_a_sync_with_nothing_wanted_does_nothing(place: Place) -> None:
    place.put(*scopes(2))
    for dry_run in (True, False):
        with pytest.raises(BadInput, match="no pins are wanted"):
            place.send(place.run([], delete=True), mode="sync", dry_run=dry_run)
    assert len(place.there()) == 2
    assert place.send(place.run([]))["scopes"] == 0


def test_nothing_is_deleted_while_a_line_is_refused_here_or_there(place: Place) -> None:
    place.put(*scopes(4))
    rejected = place.run([*scopes(2), {"model": "basket"}], delete=True)
    figures = place.send(rejected, mode="sync")
    assert (figures["deletions_held"], figures["deleted"], len(place.there())) == (2, 0, 4)
    refused = place.run([*scopes(2), scope("new", bad=True), scope("p1000")], delete=True, skip_bad=True)
    figures = place.send(refused, "override", mode="sync")
    assert (figures["invalid"], figures["applied"], figures["deletions_held"]) == (1, 1, 2)
    replaced = place.run([scope("p0", bad=True), scope("p1", tags=["x"])], delete=True)
    with pytest.raises(PipelineError, match="invalid 1, not sent 1"):
        place.send(replaced, mode="sync")
    assert len(place.there()) == 5


def test_a_run_that_was_not_built_is_not_sent(place: Place) -> None:
    with pytest.raises(BadInput, match="not there"):
        place.send((Path("/nowhere"), Pins(files="x")))


@pytest.mark.parametrize(
    ("details", "found"),
    [
        ({}, []),
        ({"pin_definitions.position": ["must be an integer"]}, []),
        ({"position": ["line 2: no", "Row #3: no"]}, [2, 3]),
        ({"target_identity": ["'p4' already exists"]}, [5]),
        ({"pin_definitions.pin_identity": ["'p4' is not in the catalogue"], "p0": ["no"]}, []),
        ({"scopes": [{"target_identity": {"p1": [{"message": "no"}]}}]}, [2]),
        ({"target_identity": ["line 99"]}, []),
        ({"body": ["expected a comma at line 1 column 17"]}, []),
        ("nonsense", []),
    ],
)
def test_what_an_answer_names(details: Any, found: list[int]) -> None:
    items = [Item(number, b"", json.dumps(scope(f"p{number}")).encode()) for number in range(5)]
    assert [item.number + 1 for item in named(items, details)] == found


def test_a_wrong_name_costs_calls_and_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from luigisbox import pin_calls

    monkeypatch.setattr(pin_calls, "named", lambda items, _: list(items[:1]))
    run = place.run(scopes(16, [6, 13]), skip_bad=True)
    place.send(run, "ignore")
    assert lines_with(run, "invalid") == [7, 14]
    assert len(place.there()) == 14


def test_the_operator_takes_what_the_form_gives(shop: Any, tmp_path: Path) -> None:
    from luigisbox.pin_operators import SendPinsOperator

    run = built(tmp_path / "run", scopes(2))[0].as_uri()

    def send(**more: Any) -> dict[str, Any]:
        as_of = "2026-04-01T00:00:00+00:00"
        operator = SendPinsOperator(task_id="send", publisher="shop", run=run, as_of=as_of, **more)
        return operator.execute({})

    with pytest.raises(ConfigError, match="publisher shop: pins is missing"):
        send()
    with (tmp_path / "publishers/shop.yaml").open("a") as file:
        file.write("pins: {files: /x, mode: sync, conflict_strategy: ignore}\n")
    assert (send(only_show="True")["dry_run"], send(only_show="True")["mode"]) == (True, "sync")
    figures = send(mode="create", conflict_strategy="override", only_show="False")
    assert (figures["mode"], figures["conflict_strategy"], figures["applied"]) == ("create", "override", 2)
    for wrong in ({"mode": "None"}, {"conflict_strategy": "fail"}, {"only_show": "perhaps"}):
        with pytest.raises(ConfigError, match="allowed are"):
            send(**wrong)
