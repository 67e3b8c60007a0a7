"""A batch into Klaviyo's profiles, against the sandbox: who gets what, and that only what changed is sent."""

import json
import os
from typing import Any

import pytest

from tests.include.recommendations.documents import User, products
from tests.plugins.pipeline.profiles import Shop, ids, people


def test_only_what_changed_is_sent_again(shop: Shop) -> None:
    listed = [f"u{n}" for n in range(20)]
    first = shop.deliver(shop.batch("one", people(20), listed))
    assert (first["recipients"], first["sent"], first["unchanged"]) == (20, 20, 0)
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(n) for n in range(20)}}
    jobs = shop.jobs()
    again = people(20)
    again[3] = User("u3", {"basket": products(2, start=77)})
    second = shop.deliver(shop.batch("two", again, listed))
    assert (second["sent"], second["unchanged"], second["rows"]) == (1, 19, 1)
    assert shop.jobs() == jobs + 1
    assert shop.found()["u3@shop.example"] == ids(77)


def test_who_left_or_has_nothing_is_cleared_once(shop: Shop) -> None:
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(10), [f"u{n}" for n in range(10)]))
    batch = shop.batch("two", people(6), [f"u{n}" for n in range(8)])
    second = shop.deliver(batch)
    assert (second["recipients"], second["sent"], second["unchanged"]) == (8, 2, 6)
    assert (second["left"], second["cleared"]) == (2, 4)
    assert set(shop.found()) == {"default", *(f"u{n}@shop.example" for n in range(6))}
    assert shop.deliver(batch)["rows"] == 0


def test_the_default_set_for_those_who_left(shop: Shop) -> None:
    shop.configure("on_absent: default")
    shop.deliver(shop.batch("one", people(4), [f"u{n}" for n in range(4)]))
    second = shop.deliver(shop.batch("two", people(2), ["u0", "u1", "u2"]))
    assert (second["defaulted"], second["left"], second["sent"]) == (2, 1, 1)
    assert shop.found()["u3@shop.example"] == shop.found()["u2@shop.example"] == ids(900, 1)


@pytest.mark.parametrize(("on_absent", "who_left"), [("keep", ["p4", "p5"]), ("clear", None), ("default", ["p900"])])
def test_without_a_fresh_batch_everybody_gets_the_default_set(shop: Shop, on_absent: str, who_left: Any) -> None:
    shop.configure(f"on_absent: {on_absent}")
    first = [User(f"u{n}", {"basket": products(2, start=n), "top": products(1, start=50)}) for n in range(5)]
    shop.deliver(shop.batch("one", [*first, people(0)[-1]], [f"u{n}" for n in range(5)]))
    figures = shop.deliver(shop.batch("two", first[:3] + people(0), ["u0", "u1", "u2", "u3"], outcome="default_only"))
    assert (figures["recipients"], figures["sent"], figures["left"]) == (4, 4, on_absent != "keep")
    assert figures["defaulted"] == 4 + (on_absent == "default")
    found = shop.found()
    for n in range(4):
        assert found[f"u{n}@shop.example"] == {**ids(900, 1), "top": ["p50"]}  # of top there is no default set
    assert found.get("u4@shop.example", {}).get("basket") == who_left


def test_a_type_that_vanished_is_cleared(shop: Shop) -> None:
    both = [User(f"u{n}", {"basket": products(1, start=n), "top": products(1, start=50 + n)}) for n in range(4)]
    shop.configure("on_absent: clear, properties: {top: lb_top}")
    shop.deliver(shop.batch("one", both, ["u0", "u1", "u2", "u3"]))
    assert shop.found()["u3@shop.example"] == {"lb_top": ["p53"], "basket": ["p3"]}
    shop.deliver(shop.batch("two", people(3), ["u0", "u1", "u2"]))
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}@shop.example": ids(n) for n in range(3)}}


def test_another_account_is_written_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shop.batch("one", people(4), ["u0", "u1", "u2", "u3"])
    assert shop.deliver(one)["sent"] == 4
    file = shop.publishers / "shop.yaml"
    monkeypatch.setenv("AIRFLOW_CONN_KLAVIYO_OTHER", os.environ["AIRFLOW_CONN_KLAVIYO_TEST"])
    file.write_text(file.read_text().replace("klaviyo_test", "klaviyo_other"))
    assert shop.deliver(one)["sent"] == 4
    file.write_text(file.read_text().replace("identify_by: email", "identify_by: external_id"))
    assert shop.deliver(one)["sent"] == 4
    assert shop.deliver(one)["unchanged"] == 4


def test_a_campaigns_own_list_clears_nobody_else(shop: Shop) -> None:
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(4), [f"u{n}" for n in range(4)]))
    batch = shop.batch("two", people(2), ["u0"])
    for record in shop.root.glob("shop/user_sets/list-two/record.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "segment": True}))
    assert shop.deliver(batch)["left"] == 0
    assert len(shop.found()) == 5


def test_properties_of_ones_own_name_for_some_types_only(shop: Shop) -> None:
    shop.configure("on_absent: clear, properties: {basket: lb_basket}")
    users = [User(f"u{n}", {"basket": products(1, start=n), "top": products(1, start=50 + n)}) for n in range(4)]
    listed = [user.id for user in users]
    shop.deliver(shop.batch("one", users, listed))
    both = {f"u{n}@shop.example": {"lb_basket": [f"p{n}"], "top": [f"p{50 + n}"]} for n in range(4)}
    assert shop.found() == both
    newer = [User(f"u{n}", {"basket": products(1, start=n + 1), "top": products(1, start=90)}) for n in range(4)]
    batch = shop.batch("two", newer, listed)
    assert shop.deliver(batch, ["basket"])["sent"] == 4
    for n in range(4):
        both[f"u{n}@shop.example"]["lb_basket"] = [f"p{n + 1}"]
    assert shop.found() == both
    assert shop.deliver(batch)["sent"] == 4
    assert {tuple(each["top"]) for each in shop.found().values()} == {("p90",)}
    assert shop.deliver(batch, ["basket"])["unchanged"] == 4


def test_recipients_by_external_id(shop: Shop) -> None:
    text = (shop.publishers / "shop.yaml").read_text().replace("identify_by: email", "identify_by: external_id")
    (shop.publishers / "shop.yaml").write_text(text)
    users = people(4)
    shop.deliver(shop.batch("one", users, ["u0", "u1", "u2", "u3"], ["u0", "u1", "u2", "u3"]))
    assert shop.found() == {"default": ids(900, 1), **{f"u{n}": ids(n) for n in range(4)}}


def test_another_number_of_parts_at_the_next_batch(shop: Shop) -> None:
    listed = [f"u{n}" for n in range(12)]
    shop.configure("on_absent: clear")
    shop.deliver(shop.batch("one", people(12), listed))
    third = shop.deliver(shop.batch("three", people(12), listed[:-1], parts=3))
    assert (third["unchanged"], third["sent"], third["left"]) == (11, 0, 1)
    folders = {path.parents[1].name for path in shop.root.glob("shop/deliveries/confirmed/profiles-*/of-*/*/*.parquet")}
    assert folders == {"of-3"}
    assert shop.deliver(shop.batch("two-again", people(12), listed[:-1], parts=2))["rows"] == 0
