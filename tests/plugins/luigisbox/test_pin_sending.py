"""Runs of pins against a sandbox that keeps a part of a refused call or not, and names lines or not."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from include.errors import BadInput, ConfigError, PipelineError
from include.pins.build import build_pins
from include.pins.newest import one_sender
from include.publishers.senders import Pins
from include.sandbox.server import Running, running
from include.staging import write_json
from luigisbox.client import Settings
from luigisbox.pin_items import Item, named
from luigisbox.pin_sending import send_pins
from luigisbox.pins import PinClient
from vendor_http.errors import ServerError, Unauthorized, Unreachable
from vendor_http.retry import Retry

NOW = datetime(2026, 4, 1, tzinfo=UTC)
BAD = 7
"""A widget_id that is no text: the sandbox refuses it, this project does not look at it."""


EVERY_VENDOR = pytest.mark.parametrize(
    "vendor",
    [(False, "fields"), (True, "fields"), (True, "lines")],
    ids=["whole-fields", "partial-fields", "partial-lines"],
    indirect=True,
)
"""Does a refused call keep the lines before the bad one? Does the answer name lines, or fields only?"""


@pytest.fixture(scope="module")
def vendor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    partial, details = getattr(request, "param", (False, "fields"))
    with running(tmp_path_factory.mktemp("sandbox"), pins_partial=partial, pins_details=details) as started:
        yield started


def built(run: Path, scopes: Sequence[Any], **settings: Any) -> tuple[Path, Pins]:
    """A run with these scopes, ready to be sent."""
    (run / "raw").mkdir(parents=True)
    (run / "raw/s.ndjson").write_text("\n".join(map(json.dumps, scopes)))
    write_json(run / "raw/files.json", {"files": [{"name": "pins.ndjson", "staged": "s.ndjson"}]})
    wanted = Pins(files="x", **{"scopes_per_call": 8, "refuse_reject_percent": 100, **settings})
    build_pins(run, wanted)
    return run, wanted


class Place:
    """A tracker with its pins, and runs that send to it."""

    def __init__(self, vendor: Running, folder: Path) -> None:
        self.url, self._folder, self._runs = vendor.url, folder, 0
        self.client = PinClient(Settings(vendor.url, vendor.tracker, vendor.private_key), Retry(sleep=lambda _: None))
        for what in ("pins", "faults", "requests"):
            requests.delete(f"{vendor.url}/_sandbox/{what}").raise_for_status()
        self.names_lines = vendor.parts.settings.pins_details == "lines"

    def put(self, *scopes: Any) -> None:
        self.client.bulk("\n".join(map(json.dumps, scopes)).encode(), "override")
        requests.delete(f"{self.url}/_sandbox/requests").raise_for_status()

    def fault(self, name: str, **options: Any) -> None:
        requests.post(f"{self.url}/_sandbox/faults", json={"fault": name, **options}).raise_for_status()

    def run(self, scopes: Sequence[Any], **settings: Any) -> tuple[Path, Pins]:
        self._runs += 1
        return built(self._folder / f"run{self._runs}", scopes, **settings)

    def send(
        self, run: tuple[Path, Pins], strategy: Any = "raise", mode: Any = "create", at: datetime = NOW, **more: Any
    ) -> dict[str, Any]:
        with one_sender(self._folder, at, run[0]) as newest:
            return send_pins(self.client, *run, newest, mode=mode, conflict_strategy=strategy, **more)

    def there(self) -> dict[str, Any]:
        return {each["target_identity"]: each for each in requests.get(f"{self.url}/_sandbox/pins").json()}

    def calls(self, ending: str = "_bulk") -> int:
        return sum(each["path"].endswith(ending) for each in requests.get(f"{self.url}/_sandbox/requests").json())


@pytest.fixture
def place(vendor: Running, tmp_path: Path) -> Place:
    return Place(vendor, tmp_path)


def scope(name: str, *, bad: bool = False, **more: Any) -> dict[str, Any]:
    pin: dict[str, Any] = {"pin_type": "item", "pin_identity": "p9", "position": 1}
    if bad:
        pin["widget_id"] = BAD
    return {"model": "basket", "target_type": "item", "target_identity": name, "pin_definitions": [pin], **more}


def scopes(count: int, bad: Sequence[int] = (), start: int = 0) -> list[dict[str, Any]]:
    return [scope(f"p{number}", bad=number in bad) for number in range(start, start + count)]


def outcomes(run: tuple[Path, Pins]) -> dict[int, str]:
    rows = pq.read_table(run[0] / "results.parquet").to_pylist()
    return {row["line"]: row["outcome"] for row in rows if row["line"]}


def reasons(run: tuple[Path, Pins]) -> dict[int, str]:
    return {row["line"]: row["reason"] for row in pq.read_table(run[0] / "results.parquet").to_pylist()}


def lines_with(run: tuple[Path, Pins], outcome: str) -> list[int]:
    return [line for line, found in outcomes(run).items() if found == outcome]


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
