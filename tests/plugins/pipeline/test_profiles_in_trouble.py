"""A batch into Klaviyo's profiles when something goes wrong: who is refused, what a retry does, which batch wins."""

import random
import signal
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from include.deliveries.claims import Overtaken
from tests.forks import forking
from tests.include.recommendations.documents import User, products
from tests.plugins.pipeline.profiles import PARTS, Shop, ids, people
from vendor_http.errors import Unauthorized


def test_refused_profiles_are_set_aside_and_the_others_arrive(shop: Shop) -> None:
    shop.configure("job_profiles: 7, profile_bytes: 4000")
    users = people(30)
    users[4] = User("u4", {"basket": products(60)})
    mails = [f"u{n}@shop.example" for n in range(30)]
    mails[7], mails[8], mails[9] = "not an address", "u8@invalid.example", "u10@shop.example"
    figures = shop.deliver(shop.batch("one", users, [f"u{n}" for n in range(30)], mails))
    reasons = shop.rejects()
    assert reasons.pop("u8@invalid.example").startswith("invalid")
    assert reasons == {
        "not an address": "malformed",
        "u4@shop.example": "profile_too_long",
        "u10@shop.example": "recipient_repeated",
    }
    assert (figures["recipients"], figures["sent"], figures["set_aside"]) == (30, 26, 4)
    assert len(shop.found()) == 27
    again = shop.deliver(shop.batch("two", users, [f"u{n}" for n in range(30)], mails))
    assert (again["sent"], again["unchanged"], again["set_aside"]) == (0, 26, 4)


def test_trouble_on_the_way_is_waited_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import platforms
    from vendor_http.retry import Retry

    shop.configure("job_profiles: 5")
    calm = Retry(sleep=lambda _: None)
    plain = platforms.write_back

    def impatient(work: Any, client: Any) -> Any:
        client._retry = calm
        return plain(work, client)

    monkeypatch.setattr(platforms, "write_back", impatient)
    shop.fault("503", times=2)
    figures = shop.deliver(shop.batch("one", people(20), [f"u{n}" for n in range(20)]))
    assert figures["sent"] == 20
    assert len(shop.found()) == 21


@pytest.mark.parametrize(("place", "parts"), [("staging", PARTS), ("s3_staging", 1)])
def test_a_newer_batch_wins_and_the_older_one_stops(shop: Shop, parts: int) -> None:
    listed = ["u0", "u1", "u2", "u3"]
    one = shop.batch("one", people(4), listed, parts=parts)
    for part in range(parts):
        with pytest.raises(TaskDeferred):
            shop.operator(one, part)().execute({})
    two = shop.batch("two", people(4, start=50), listed, parts=parts)
    figures = shop.deliver(two)  # waits for the jobs of the older one, then sends
    assert (figures["recipients"], figures["sent"]) == (4, 4)
    event = {"status": "done", "reason": "", "deadline": time.time() + 60}
    for part in range(parts):
        with pytest.raises(Overtaken, match="for-list-two, which is newer"):
            shop.operator(one, part)().resume({}, event=event)
        with pytest.raises(Overtaken, match="for-list-two, which is newer"):
            shop.operator(one, part)().execute({})
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(50 + n) for n in range(4)}}
    assert shop.deliver(two)["rows"] == 0


def test_a_run_that_failed_for_good_blocks_nobody(shop: Shop) -> None:
    one = shop.batch("one", people(4), ["u0", "u1", "u2", "u3"])
    shop.fault("401", times=10)
    with pytest.raises(Unauthorized):
        shop.operator(one, 0)().execute({})
    shop.forget()
    assert shop.deliver(shop.batch("two", people(4), ["u0", "u1", "u2", "u3"]))["sent"] == 4


def test_a_connection_that_breaks_after_the_store(shop: Shop) -> None:
    shop.fault("reset_after_store", times=1)
    shop.configure("job_profiles: 50")
    assert shop.deliver(shop.batch("one", people(4), ["u0", "u1", "u2", "u3"]))["sent"] == 4
    assert shop.jobs() == 3  # one of the two was sent twice
    assert len(shop.found()) == 5


def test_killed_anywhere_nothing_is_lost(shop: Shop) -> None:
    """A worker is killed in the middle of write-backs, twelve times; then one is left to finish."""
    shop.configure("job_profiles: 9, on_absent: clear")
    shop.deliver(shop.batch("a-first", people(50), [f"u{n}" for n in range(50)]))
    listed = [f"u{n}" for n in range(40)]
    starts = iter(range(100, 1000, 10))
    start = next(starts)
    batch = shop.batch(f"at-{start}", people(40, start), listed)
    chance, killed = random.Random(11), 0
    with forking("tests.plugins.pipeline.profiles_writer") as run:
        while killed < 12:
            code, _ = run(batch, kill_after=chance.random() * 0.45)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            if code == 0:  # it was through before the signal
                start = next(starts)
                batch = shop.batch(f"at-{start}", people(40, start), listed)
    figures = shop.deliver(batch)
    assert figures["recipients"] == figures["sent"] + figures["unchanged"] == 40
    wanted = {f"u{n}@shop.example": ids(start + n) for n in range(40)}
    assert shop.found() == {"default": ids(900, 1), **wanted}
    assert shop.deliver(batch)["rows"] == 0
