"""Whose batch is it: of this list or another, of this run's interval or the one before, of a list live no more?"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.recommendations import batches
from luigisbox.wait import NoBatchInTime, Superseded
from tests.plugins.luigisbox.waits import BOTH, NewList, Played, soon

Serve = Callable[[Callable[[Any], None]], str]
pytestmark = pytest.mark.usefixtures("purchases")


def test_a_scheduled_run_never_takes_the_batch_of_the_interval_before(shop: Any) -> None:
    monday = soon(-3)
    shop.accepted("one", "u1", "u2", sent_at=datetime.now(UTC) - timedelta(seconds=4))
    shop.box.take_list(shop.root / "list", "u1", "u2")
    with shop.box.behind():
        shop.box.publish()
    first = Played(True, since=monday, run_id="scheduled__monday").run()
    again = Played(True, since=monday, run_id="scheduled__monday").run()
    assert again == first
    with pytest.raises(NoBatchInTime, match="accepted before"):
        Played(True, since=monday, run_id="scheduled__tuesday", deadline=soon(0.4)).run()
    tuesday = soon(0)
    shop.box.publish()
    second = Played(True, since=tuesday, run_id="scheduled__tuesday").run()
    assert second["outcome"] == "fresh"
    assert second["sha256"] != first["sha256"]
    assert second["user_set"] == first["user_set"]


def test_the_late_batch_of_the_run_before_is_too_old_for_this_one(shop: Any) -> None:
    monday = soon(-3 * 3600)
    shop.accepted("one", "u1", "u2", sent_at=datetime.now(UTC) - timedelta(hours=4))
    shop.box.take_list(shop.root / "list", "u1", "u2")
    shop.box.publish()  # late: monday's run has given up
    shop.configure(max_bytes="10000000\n  max_age_hours: 1")
    tuesday = datetime.now(UTC) + timedelta(hours=2)
    options: dict[str, Any] = {"since": monday, "run_id": "scheduled__tuesday", "deadline": soon(0.4)}
    with pytest.raises(NoBatchInTime, match=r"last changed .*, before"):
        Played(True, run_started=tuesday, **options).run()
    assert Played(True, run_started=datetime.now(UTC), **options).run()["outcome"] == "fresh"


def test_a_batch_of_the_previous_list(shop: Any) -> None:
    shop.sent("one", "u1", "u2")
    shop.sent("two", "u1", "u6")
    shop.box.fault("previous_list_batch")
    shop.box.publish()
    with pytest.raises(NoBatchInTime, match="made from the previous list: 1 users that were removed are in it"):
        Played(True, deadline=soon(1)).run()
    shop.box.publish()
    assert Played(True).run()["users"] == 2


class TestSuperseded:
    """A newer list was accepted while the batch of the one before was waited for."""

    def test_the_newer_lists_batch_is_not_taken(self, shop: Any) -> None:
        old = shop.accepted("one", "u1", "u2")
        newer = shop.sent("two", "u1", "u2", "u3")
        shop.box.publish()
        with pytest.raises(Superseded, match=f"superseded by {newer.name}, sent at .*: this list's batch will not"):
            Played(True, user_set=old.name).run()
        assert batches.latest(shop.root, "shop") is None
        assert Played(True).run()["user_set"] == newer.name

    def test_a_batch_made_before_the_newer_list_is_taken(self, shop: Any) -> None:
        old = shop.accepted("one", "u1", "u2", sent_at=datetime.now(UTC) - timedelta(seconds=4))
        shop.box.take_list(shop.root / "list", "u1", "u2")
        with shop.box.behind():
            shop.box.publish()
        shop.accepted("two", "u1", "u3")
        first = Played(True, user_set=old.name).run()
        assert Played(True, user_set=old.name).run() == first
        shop.box.publish()
        with pytest.raises(Superseded):
            Played(True, user_set=old.name).run()

    @BOTH
    def test_a_wait_does_not_go_on_for_ever(self, shop: Any, deferrable: bool, serve: Serve) -> None:
        old = shop.accepted("one", "u1")
        shop.connect("batch_test", host=serve(lambda request: request.reply(404)))
        shop.accepted("two", "u1", "u2")
        with pytest.raises(Superseded, match="nothing is published"):
            Played(deferrable, user_set=old.name).run()

    def test_nothing_stands_in_at_the_deadline(self, shop: Any) -> None:
        NewList(shop, "u1")
        later = datetime.now(UTC) + timedelta(seconds=5)
        options: dict[str, Any] = {"deadline": soon(0.5), "on_deadline": "use_previous"}
        with pytest.raises(Superseded, match="last changed"):
            Played(True, meanwhile=lambda _: shop.accepted("two", "u2", sent_at=later), **options).run()

    def test_the_same_list_sent_again_supersedes_nothing(self, shop: Any) -> None:
        old = shop.accepted("one", "u1", "u2")
        shop.sent("two", "u1", "u2")
        shop.box.publish()
        assert Played(True, user_set=old.name).run()["outcome"] == "fresh"


def test_a_batch_that_never_changes(shop: Any) -> None:
    shop.sent("one", "u1", "u7")
    new = NewList(shop, "u1", "u8")
    shop.box.fault("frozen_batch")
    shop.box.forget_requests()
    new.publish()
    with pytest.raises(NoBatchInTime, match=r"last changed .*, before"):
        Played(True, deadline=soon(1.2)).run()
    looks = [entry["status"] for entry in shop.box.requests() if entry["method"] == "GET"]
    assert looks[:2] == [200, 200]  # the task's, and the first of those who wait
    assert set(looks[2:]) == {304}
