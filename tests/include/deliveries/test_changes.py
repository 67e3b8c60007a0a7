"""What changed, what is confirmed, who may write, and the books: one delivery's life, batch by batch."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.deliveries import books, claims, confirmed
from include.deliveries.changes import SHARED, Change, Wanted, changes, compare
from include.deliveries.part import CHANGES, CLEARED, DEFAULT_SET, OWN, REJECTS, Part
from include.errors import BooksDoNotBalance
from include.objects import arrow
from include.staging import sha256_file, write_json

GONE = Wanted("", "", CLEARED, {"a": "null"})
Listed = dict[str, str]


class Delivery:
    """Deliveries of one part to a platform that refuses whom it is told to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.has: dict[str, dict[str, str]] = {}

    def part(self, batch: str, listed: Listed, number: int = 0, parts: int = 1) -> Part:
        recon = self.root / "recon" / batch
        columns = {"auth_user_id": list(listed), "recipient": list(listed.values())}
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        for at in range(parts):  # the first holds the whole list
            path = recon / "recipients" / f"part-{at:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table[: 0 if at else None], str(path), filesystem=arrow(path))
        folder = self.root / "deliveries" / batch / "d" / f"part-{number:03d}"
        return Part(folder, self.root / "deliveries" / "confirmed" / "d", recon, number, parts, batch, batch)

    def begin(self, part: Part, wanted: Iterable[Wanted], instead: Wanted | None = None) -> list[Change]:
        claims.begin(part)
        compare(part, wanted, instead)
        confirmed.doubt(part)
        return list(changes(part))

    def send(self, found: Iterable[Change], but: Iterable[str] = ()) -> list[tuple[int, str]]:
        for change in found:
            if change.recipient not in but:
                self.has.setdefault(change.recipient, {}).update(change.fields)
        return [(change.row, "no") for change in found if change.recipient in but]

    def deliver(
        self, batch: str, wanted: list[Wanted], instead: Wanted | None = None, but: Iterable[str] = (), **place: int
    ) -> dict[str, int]:
        part = self.part(batch, {one.auth_user_id: one.recipient for one in wanted}, **place)
        found = self.begin(part, wanted, instead)
        figures = books.settle(part, self.send(found, but))
        books.total([figures])
        return figures


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    return Delivery(tmp_path)


def own(number: int, **fields: str) -> Wanted:
    return Wanted(f"u{number}", f"r{number}", OWN, fields)


def figures_of(figures: dict[str, int], *names: str) -> tuple[int, ...]:
    return tuple(figures[name] for name in names)


def test_first_all_then_what_changed_and_nothing_twice(delivery: Delivery) -> None:
    first = delivery.deliver("1", [own(0, a="x", b="y"), own(1, a="x"), own(2)])
    assert figures_of(first, "recipients", "sent", "unchanged", "kept") == (3, 2, 0, 1)
    second = delivery.deliver("2", [own(0, a="x", b="z"), own(1, a="x"), own(2)])
    assert figures_of(second, "recipients", "sent", "unchanged", "kept") == (3, 1, 1, 1)
    assert delivery.has == {"r0": {"a": "x", "b": "z"}, "r1": {"a": "x"}}
    assert delivery.deliver("3", [own(0, a="x", b="z"), own(1, a="x"), own(2)])["rows"] == 0


def test_who_was_refused_is_kept_with_the_reason_and_tried_again(delivery: Delivery) -> None:
    people = [own(number, a="x") for number in range(3)]
    assert figures_of(delivery.deliver("1", people, but=["r1"]), "sent", "set_aside", "rows") == (2, 1, 2)
    rejects = pq.read_table(delivery.root / "deliveries" / "1" / "d" / "part-000" / REJECTS).to_pylist()
    assert rejects == [{"recipient": "r1", "reason": "no"}]
    assert figures_of(delivery.deliver("2", people), "sent", "unchanged") == (1, 2)


def test_who_left_is_cleared_once_and_only_of_what_was_delivered(delivery: Delivery) -> None:
    delivery.deliver("1", [own(0, a="x"), own(1, a="x", b="y"), own(2, b="y")])
    second = delivery.deliver("2", [own(0, a="x")], GONE, but=["r1"])
    assert figures_of(second, "left", "left_set_aside", "cleared", "sent") == (1, 1, 0, 0)
    third = delivery.deliver("3", [own(0, a="x")], GONE)
    assert figures_of(third, "left", "cleared") == (1, 1)
    assert delivery.has == {"r0": {"a": "x"}, "r1": {"a": "null", "b": "y"}, "r2": {"b": "y"}}
    assert delivery.deliver("4", [own(0, a="x")], GONE)["left"] == 0


def test_a_dead_try_leaves_nothing_that_passes_for_unchanged(delivery: Delivery) -> None:
    people = [own(number, a="old") for number in range(4)]
    delivery.deliver("1", people)
    newer = delivery.part("2", {one.auth_user_id: one.recipient for one in people})
    found = delivery.begin(newer, [one._replace(fields={"a": "new"}) for one in people])
    delivery.send(found[:2])  # and dies
    assert delivery.deliver("3", people)["sent"] == 4
    assert delivery.has == {f"r{number}": {"a": "old"} for number in range(4)}


def test_a_recipient_of_two_customers_counts_once(delivery: Delivery) -> None:
    both = [Wanted("u0", "r0", OWN, {"a": "x"}), Wanted("u1", "r0", OWN, {"a": "y"}), own(2)]
    figures = delivery.deliver("1", both)
    assert figures_of(figures, "recipients", "sent", "set_aside", "kept") == (3, 1, 1, 1)
    assert delivery.has == {"r0": {"a": "x"}}
    rejects = pq.read_table(delivery.root / "deliveries" / "1" / "d" / "part-000" / REJECTS).to_pylist()
    assert rejects == [{"recipient": "r0", "reason": SHARED}]


def test_a_recipient_that_changes_hands_between_parts_and_returns(delivery: Delivery) -> None:
    """What the first part once confirmed is wrong by then: the second part has written another value."""
    halves = {number: next(f"u{n}" for n in range(99) if _part(f"u{n}") == number) for number in (0, 1)}

    def deliver(batch: str, number: int, owner: int) -> dict[str, int]:
        mine = [Wanted(halves[owner], "r", OWN, {"a": f"of {owner}"})]
        part = delivery.part(batch, {halves[owner]: "r"}, number, 2)
        return books.settle(part, delivery.send(delivery.begin(part, mine if number == owner else [])))

    for batch, owner in (("1", 0), ("2", 1), ("3", 0)):
        assert sum(deliver(batch, number, owner)["sent"] for number in (0, 1)) == 1
        assert delivery.has == {"r": {"a": f"of {owner}"}}


def test_another_number_of_parts_knows_what_was_confirmed(delivery: Delivery) -> None:
    people = [own(number, a="x") for number in range(20)]
    delivery.deliver("1", people)
    listed = {one.auth_user_id: one.recipient for one in people}
    for number in range(3):
        part = delivery.part("2", listed, number, 3)
        found = delivery.begin(part, [one for one in people if _part(one.auth_user_id, 3) == number])
        assert found == []
        books.settle(part, [])
    claims.forget_older(part.confirmed, "2")
    assert {path.name for path in part.confirmed.glob("of-*") if list(path.glob("*/*"))} == {"of-3"}
    assert list(claims.begun(part.confirmed)) == [part.name]


def test_the_default_set_is_no_recipient(delivery: Delivery) -> None:
    default = Wanted("default", "default", DEFAULT_SET, {"a": "top"})
    figures = delivery.deliver("1", [own(0, a="x"), default])
    assert figures_of(figures, "recipients", "sent", "default_set", "rows") == (1, 1, 1, 2)
    assert delivery.deliver("2", [own(0, a="x"), default])["rows"] == 0


def test_a_slice_of_the_changes(delivery: Delivery) -> None:
    people = [own(number, a=str(number)) for number in range(12_000)]
    part = delivery.part("1", {one.auth_user_id: one.recipient for one in people})
    assert [change.row for change in delivery.begin(part, people)] == list(range(12_000))
    found = list(changes(part, 4_990, 10_010))
    assert [change.row for change in found] == list(range(4_990, 10_010))
    assert [change.recipient for change in found] == [f"r{number}" for number in range(4_990, 10_010)]


def test_the_newest_batch_wins_whoever_began_first(delivery: Delivery) -> None:
    older, newer = delivery.part("1", {}), delivery.part("2", {})
    claims.begin(newer)
    with pytest.raises(claims.Overtaken, match="batch 2, which is newer"):
        claims.begin(older)
    claims.begin(newer)
    claims.begin(delivery.part("3", {}))
    with pytest.raises(claims.Overtaken, match="batch 3"):
        claims.check(newer)


def test_the_same_batch_may_begin_again_and_finished_begins_anew(delivery: Delivery) -> None:
    part = delivery.part("1", {})
    claims.begin(part)
    (part.folder / "a note").touch()
    claims.begin(part)
    assert (part.folder / "a note").exists()
    delivery.deliver("1", [])
    claims.begin(part)
    assert list(part.folder.iterdir()) == []


def life(delivery: Delivery) -> list[Any]:
    """Batches that are refused in part, sent again, overtaken, cut anew and cleared; all that came of it."""
    people = [own(number, a="x") for number in range(30)]
    done: list[Any] = [delivery.deliver("1", people, but=["r1"]), delivery.deliver("1", people)]
    older = delivery.part("2", {one.auth_user_id: one.recipient for one in people})
    done.append(len(delivery.begin(older, people)))
    done.append(delivery.deliver("3", people[:20], GONE))
    with pytest.raises(claims.Overtaken):
        claims.begin(older)
    for number in range(2):
        mine = [one for one in people if _part(one.auth_user_id) == number]
        part = delivery.part("4", {one.auth_user_id: one.recipient for one in people}, number, 2)
        done.append(books.settle(part, delivery.send(delivery.begin(part, mine))))
    claims.forget_older(part.confirmed, "4")
    done.append(delivery.deliver("5", people)["unchanged"])
    done.append([sorted(claims.begun(part.confirmed)), delivery.has])
    refused = delivery.root / "deliveries" / "1" / "d" / "part-000" / REJECTS
    return [*done, sha256_file(refused), sha256_file(refused.with_name(CHANGES))]


def test_the_same_in_an_object_store_that_lists_nothing(
    tmp_path: Path, s3_staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = life(Delivery(tmp_path))
    monkeypatch.setattr(claims, "remove_folder", lambda _: None)
    monkeypatch.setattr(type(s3_staging), "glob", None)
    assert life(Delivery(s3_staging)) == expected


def test_batches_that_begin_at_once_on_many_machines(s3_staging: Path) -> None:
    delivery = Delivery(s3_staging)
    parts = [delivery.part("1", {}, number, 2) for number in range(2)] + [delivery.part("2", {})]
    with ThreadPoolExecutor(3) as workers:
        tries = [workers.submit(claims.begin, part) for part in parts]
        assert tries[2].exception() is None
    assert {batch["batch"] for batch in claims.begun(parts[0].confirmed).values()} == {"1", "2"}
    for part in parts[:2]:
        with pytest.raises(claims.Overtaken, match="batch 2"):
            claims.check(part)


def test_what_an_earlier_version_noted_counts(delivery: Delivery) -> None:
    """Each batch that began had a file of its own, and a comparison no id."""
    people = [own(number, a="x") for number in range(3)]
    delivery.deliver("2", people)
    part = delivery.part("2", {})
    ((name, note),) = claims.begun(part.confirmed).items()
    (part.confirmed / claims.BEGUN).unlink()
    write_json(part.confirmed / "begun" / f"{name}.json", dict(note))
    write_json(part.folder / "compared.json", {"changes": 3})
    with pytest.raises(claims.Overtaken, match="batch 2"):
        claims.begin(delivery.part("1", {}))
    assert list(claims.overtaken_sendings(delivery.part("3", {}))) == []
    assert figures_of(delivery.deliver("3", people[:2], GONE), "unchanged", "left") == (2, 1)


def test_notes_of_an_overtaken_batch_take_nothing_away(delivery: Delivery) -> None:
    """The older batch, slow to notice, writes its notes again after the newer one confirmed."""
    people = [own(number, a="x") for number in range(3)]
    older = delivery.part("1", {one.auth_user_id: one.recipient for one in people})
    delivery.begin(older, people)
    newer = [one._replace(fields={"a": "y"}) for one in people]
    delivery.deliver("2", newer)
    confirmed.doubt(older)
    assert delivery.deliver("3", newer)["rows"] == 0


def test_a_missing_recipient_is_no_balance() -> None:
    sums: dict[str, Any] = dict.fromkeys(books.SUMS, 0)
    with pytest.raises(BooksDoNotBalance, match="do not add up"):
        books.total([{**sums, "recipients": 3, "sent": 2}])


def _part(user: str, parts: int = 2) -> int:
    import duckdb

    with duckdb.connect() as database:
        row = database.execute("SELECT md5_number_upper(?) % ?", [user, parts]).fetchone()
    assert row
    return int(row[0])
