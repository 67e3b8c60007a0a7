"""Sending against the sandbox and its faults: each interaction once, whatever goes wrong."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advisable.claims import Claims
from advisable.client import Client
from advisable.connections import Settings
from advisable.sending import send_units
from include.errors import BadInput, BooksDoNotBalance, PipelineError
from include.interactions.units import chunks_of, groups, write_units
from include.ledger import Ledger, Unsettled, tables
from include.staging import MANIFEST, read_json, write_json
from vendor_http.errors import NotFound, RateLimited, TransientError, Unauthorized

from .conftest import BOOK, TIME, Box, build, interactions, rows_of, settle

Send = Callable[..., dict[str, Any]]


def keys(rows: list[tuple[Any, ...]]) -> Counter[tuple[str, str, int]]:
    return Counter((user, item, int(at)) for user, item, at, *_ in rows)


def states(ledger: Ledger) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in ledger.entries(BOOK):
        found[entry.state] += entry.units
    return found


@pytest.mark.parametrize("kind", ["purchase", "view", "cart_addition", "bookmark", "rating"])
def test_each_type_is_sent_once(kind: str, box: Box, send: Send, tmp_path: Path) -> None:
    rows, settings = rows_of(10, kind), interactions(kind)
    build(tmp_path / "one", rows, settings)
    figures = send(tmp_path / "one", settings, batch_size=4)
    assert (figures["sent"], figures["already_sent"]) == (10, 0)
    assert figures["requests"] == (3 if kind == "purchase" else 10)
    again = send(tmp_path / "one", settings)
    assert (again["sent"], again["already_sent"], again["requests"]) == (0, 10, 0)
    assert box.stored(kind) == keys(rows)
    assert not list((tmp_path / "one" / "claims").iterdir())


def test_another_run_with_the_same_rows_sends_only_the_new_ones(box: Box, send: Send, tmp_path: Path) -> None:
    settings = interactions()
    build(tmp_path / "one", rows_of(5), settings)
    send(tmp_path / "one", settings)
    build(tmp_path / "two", rows_of(8), settings)
    assert send(tmp_path / "two", settings)["sent"] == 3
    assert box.stored() == keys(rows_of(8))


def test_the_same_of_another_type_is_another(box: Box, send: Send, tmp_path: Path) -> None:
    for kind in ("view", "bookmark"):
        build(tmp_path / kind, rows_of(2), interactions(kind))
        assert send(tmp_path / kind, interactions(kind))["sent"] == 2


def refused(run: Path) -> list[dict[str, str]]:
    return list(pq.read_table(run / "refused.parquet").to_pylist())


def write(run: Path, kind: str, lines: list[str]) -> None:
    """A run whose lines the vendor may refuse: none of our own rules was asked."""
    batch = {name: pa.array([f"{line}\n" for line in lines], pa.large_string()) for name in ("key", "line")}
    batch["moment"] = pa.array([TIME + n for n in range(len(lines))])
    books = {"extracted": len(lines), "rejected": 0, "duplicates": 0, "uploaded": len(lines)}
    units = write_units(run, kind, [pa.record_batch(batch)])
    write_json(run / MANIFEST, {"kind": "interactions", "type": kind, "source": "rows", **units, "books": books})


def line(number: int, **more: Any) -> str:
    return json.dumps({"user_id": f"customer-{number}", "item_id": "i", "timestamp": TIME + number, **more})


@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_what_the_vendor_refuses_is_kept_and_the_others_go_on(
    kind: str, box: Box, send: Send, ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, settings = tmp_path / "one", interactions(kind, refuse_reject_percent=20)
    write(run, kind, [line(n, **({"price": -1} if n in (3, 17) else {})) for n in range(20)])
    figures = send(run, settings, batch_size=8)
    assert (figures["sent"], figures["refused"]) == (18, 2)
    assert [json.loads(row["line"])["user_id"] for row in refused(run)] == ["customer-3", "customer-17"]
    assert all("answered 422" in row["reason"] for row in refused(run))
    assert sum(box.stored().values()) == len(box.stored()) == 18
    assert states(ledger)["confirmed"] == 18
    again = send(run, settings)
    assert (again["sent"], again["already_sent"], again["refused"]) == (0, 18, 2)
    assert "customer-" not in caplog.text
    assert not list((run / "claims").iterdir())


def test_too_many_refused_fail_at_the_end(box: Box, send: Send, tmp_path: Path) -> None:
    write(tmp_path / "one", "view", [line(n, **({"price": -1} if n % 2 else {})) for n in range(10)])
    with pytest.raises(BadInput, match="of 10 units 5 were refused by the vendor, 5 taken") as caught:
        send(tmp_path / "one", interactions())
    assert "customer-" not in str(caught.value)
    assert len(box.stored()) == 5


@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_where_all_are_refused_it_ends_soon(kind: str, box: Box, send: Send, tmp_path: Path) -> None:
    write(tmp_path / "one", kind, [line(n, price=-1) for n in range(500)])
    with pytest.raises(BadInput, match="0 taken"):
        send(tmp_path / "one", interactions(kind, refuse_reject_percent=100), batch_size=500)
    assert len(box.requests()) < 60


def test_a_wrong_path_is_told_of(box: Box, send: Send, tmp_path: Path) -> None:
    build(tmp_path / "one", rows_of(9, "purchase"), interactions("purchase"))
    with pytest.raises(NotFound, match="POST /v1/sales/batch answered 404"):
        send(tmp_path / "one", interactions("purchase"), paths={"purchase": "sales"})
    assert len(box.requests()) == 1


def test_wrong_credentials_end_it_at_once(box: Box, send: Send, ledger: Ledger, tmp_path: Path) -> None:
    build(tmp_path / "one", rows_of(9), interactions())
    with pytest.raises(Unauthorized, match="Connection: shop"):
        send(tmp_path / "one", interactions(), app_secret="wrong")
    assert not states(ledger)["confirmed"] + states(ledger)["unknown"]
    assert send(tmp_path / "one", interactions())["sent"] == 9


@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_what_did_not_arrive_is_sent_again_at_once(kind: str, box: Box, send: Send, tmp_path: Path) -> None:
    build(tmp_path / "one", rows_of(4, kind), interactions(kind))
    box.fault("429", times=2, retry_after=0)
    assert send(tmp_path / "one", interactions(kind))["sent"] == 4
    assert sum(box.stored().values()) == len(box.stored()) == 4


def test_a_vendor_that_says_later_for_too_long_ends_the_attempt(
    box: Box, send: Send, ledger: Ledger, tmp_path: Path
) -> None:
    build(tmp_path / "one", rows_of(9), interactions())
    box.fault("429", times=12, retry_after=0)
    with pytest.raises(RateLimited):
        send(tmp_path / "one", interactions())
    assert not states(ledger)["unknown"] + states(ledger)["sending"]
    box.forget()
    assert send(tmp_path / "one", interactions())["sent"] == 9


@pytest.mark.parametrize("fault", ["reset_after_store", "500", "503"])
def test_each_unknown_interaction_is_settled_for_itself(
    fault: str, box: Box, send: Send, ledger: Ledger, tmp_path: Path
) -> None:
    build(tmp_path / "one", rows_of(9), interactions())
    box.fault(fault, times=2)
    with pytest.raises(Unsettled, match="2 file"):
        send(tmp_path / "one", interactions())
    record = read_json(tmp_path / "one" / "sent.json")
    assert [record[name] for name in ("complete", "sent", "unknown", "not_sent")] == [False, 1, 2, 6]
    assert states(ledger) == {"confirmed": 1, "unknown": 2, **({"prepared": 0} if "prepared" in states(ledger) else {})}
    build(tmp_path / "two", rows_of(12), interactions())
    with pytest.raises(Unsettled):  # after all others were sent
        send(tmp_path / "two", interactions())
    assert states(ledger)["confirmed"] == 10
    settle(ledger, box)
    assert send(tmp_path / "two", interactions())["unknown"] == 0
    assert box.stored() == keys(rows_of(12))


@pytest.mark.parametrize(("policy", "sent_twice"), [("resend", True), ("assume_sent", False)])
@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_a_policy_settles_what_is_unknown(
    policy: str, sent_twice: bool, kind: str, box: Box, send: Send, tmp_path: Path
) -> None:
    settings = interactions(kind, on_unknown=policy)
    build(tmp_path / "one", rows_of(6, kind), settings)
    box.fault("reset_after_store")
    with pytest.raises(TransientError, match=f"on_unknown: {policy}"):  # so Airflow tries again
        send(tmp_path / "one", settings, batch_size=3)
    send(tmp_path / "one", settings, batch_size=3)
    assert set(box.stored()) == set(keys(rows_of(6, kind)))
    assert (sum(box.stored().values()) > 6) is sent_twice


def test_lines_that_were_changed_are_not_sent(box: Box, send: Send, tmp_path: Path) -> None:
    build(tmp_path / "one", rows_of(3), interactions())
    path = tmp_path / "one" / "lines" / "units-00000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"u1", b"u9"))
    with pytest.raises(BadInput, match="not the file that was built"):
        send(tmp_path / "one", interactions())
    assert not box.stored()


def test_nothing_to_send_is_fine(send: Send, tmp_path: Path) -> None:
    build(tmp_path / "one", [], interactions())
    figures = send(tmp_path / "one", interactions())
    assert (figures["sent"], figures["requests"]) == (0, 0)
    record = read_json(tmp_path / "one" / "sent.json")
    assert (record["by"], record["complete"], "absent" in record) == ("test", True, False)


def test_what_changed_since_it_was_sent_is_kept_and_not_sent_again(
    box: Box, send: Send, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = interactions("purchase")
    rows = rows_of(4, "purchase")
    build(tmp_path / "one", rows, settings)
    send(tmp_path / "one", settings)
    dearer = [(*row[:5], 12.5 if number < 2 else None, *row[6:]) for number, row in enumerate(rows_of(6, "purchase"))]
    manifest = build(tmp_path / "two", dearer, settings)
    with caplog.at_level("INFO"):
        figures = send(tmp_path / "two", settings)
    assert [figures[name] for name in ("sent", "changed", "already_sent")] == [2, 2, 2]
    assert box.stored() == keys(rows_of(6))
    changed = pq.read_table(tmp_path / "two" / "changed.parquet")["line"].to_pylist()
    assert [(json.loads(line)["user_id"], json.loads(line)["price"]) for line in changed] == [
        ("u0", 12.5),
        ("u1", 12.5),
    ]
    assert manifest["books"]["uploaded"] == 6
    assert "2 interactions were sent before with another price" in caplog.text
    assert f"changed since they were sent  {2:>13}" in caplog.text
    assert "u0" not in caplog.text


@pytest.mark.parametrize("policy", ["fail", "resend"])
@pytest.mark.parametrize("kind", ["view", "purchase"])
def test_a_page_is_no_confirmation(
    kind: str, policy: str, serve: Callable[..., str], ledger: Ledger, tmp_path: Path
) -> None:
    requests: list[Any] = []

    def sign_in(handler: Any) -> None:
        requests.append(handler.take())
        handler.reply(200, b"<!doctype html><title>Sign in</title>", **{"Content-Type": "text/html"})

    settings, url = interactions(kind, on_unknown=policy), serve(sign_in)
    build(tmp_path / "one", rows_of(30, kind), settings)
    error = Unsettled if policy == "fail" else TransientError
    with Client(Settings(url, "app", "hush", batch_size=10)) as client, pytest.raises(error) as caught:
        send_units(client, ledger, "shop", tmp_path / "one", settings, "test")
    assert url in f"{caught.value} {caught.value.__cause__}"
    assert states(ledger).keys() - {"prepared"} == {"unknown"}
    assert len(requests) == (1 if kind == "purchase" else 3)


def test_what_a_dead_sender_left_is_not_settled_as_one(box: Box, send: Send, ledger: Ledger, tmp_path: Path) -> None:
    settings, run = interactions(), tmp_path / "one"
    build(run, rows_of(3), settings)
    [chunk] = chunks_of(run, read_json(run / MANIFEST))
    [group] = groups(chunk, pa.array([True] * 3), 3)
    dead = Claims(ledger, BOOK, run, "one", "dead")
    dead.claim(group, together=False)
    assert "clear the task `send` first" in tables.open_table(ledger.entries(BOOK))
    with pytest.raises(PipelineError, match="Clear the task `send`"):
        ledger.settle_by_hand(BOOK, group.sha256, "confirmed", "me", "the first one is there")
    with pytest.raises(Unsettled, match="3 file"):
        send(run, settings)
    settle(ledger, box)
    assert send(run, settings)["sent"] == 3
    assert box.stored() == keys(rows_of(3))


def test_what_was_settled_before_the_sender_died_stays_so(box: Box, send: Send, ledger: Ledger, tmp_path: Path) -> None:
    settings, run = interactions(), tmp_path / "one"
    build(run, rows_of(3), settings)
    [chunk] = chunks_of(run, read_json(run / MANIFEST))
    [group] = groups(chunk, pa.array([True] * 3), 3)
    dead = Claims(ledger, BOOK, run, "one", "dead")
    dead.claim(group, together=False)
    refused = group.take([1])  # killed between this note and the next one
    ledger.split(BOOK, group.sha256, dead._note(refused), refused.index, "refused", "dead", "answered 422")
    with pytest.raises(Unsettled, match="2 file"):
        send(run, settings)
    assert box.stored() == keys([rows_of(3)[1]])
    settle(ledger, box)
    assert send(run, settings)["sent"] == 2
    assert box.stored() == keys(rows_of(3))


def test_books_that_do_not_balance_are_told_of(box: Box, send: Send, tmp_path: Path) -> None:
    write(tmp_path / "one", "view", [line(n) for n in range(3)])
    manifest = read_json(tmp_path / "one" / MANIFEST)
    manifest["books"]["extracted"] += 1
    write_json(tmp_path / "one" / MANIFEST, manifest)
    with pytest.raises(BooksDoNotBalance, match="4 rows were extracted"):
        send(tmp_path / "one", interactions())
    assert not (tmp_path / "one" / "sent.json").exists()
