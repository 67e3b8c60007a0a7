"""Which newsletters start a run, what an event tells of them, and the ids of their runs."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from include.errors import BadInput
from include.newsletters import Newsletter, announced, due
from include.publishers.models import Publisher

NOW = datetime(2026, 11, 27, 6, tzinfo=UTC)
KLAVIYO = {"kind": "klaviyo", "id": "external_id", "lists": ["LIST01"], "segments": ["SEGM01"]}
WAREHOUSE = {"connection": "warehouse", "sql": "SELECT 1"}


def publisher(audience: dict[str, Any], **campaigns: Any) -> Publisher:
    kind = {"kind": "klaviyo", "connection": "klaviyo"}
    return Publisher.model_validate(
        {
            "name": "shop",
            "audience": audience,
            "batch": {"link": "https://example.com/b.xml"},
            "deliveries": [{"name": "ready", "kind": "asset"}],
            "campaigns": kind | campaigns,
        }
    )


def newsletter(hours: float = 2, included: tuple[str, ...] | None = ("LIST01",), **changes: Any) -> Newsletter:
    known = {"platform": "klaviyo", "id": "01CAMP", "name": "Sale", "send_at": NOW + timedelta(hours=hours)}
    return Newsletter(**{**known, "included": included, **changes})


@pytest.mark.parametrize(("hours", "is_due"), [(-1, False), (0, False), (0.01, True), (24, True), (24.01, False)])
def test_a_newsletter_is_due_within_the_lead_time_and_never_once_it_is_sent(hours: float, is_due: bool) -> None:
    one = newsletter(hours)
    assert due(publisher(KLAVIYO), [one], NOW) == ([one] if is_due else [])


@pytest.mark.parametrize(
    ("included", "campaigns", "audience", "is_due"),
    [
        (("LIST01", "OTHER"), {}, KLAVIYO, True),
        (("SEGM01",), {}, KLAVIYO, True),
        (("OTHER",), {}, KLAVIYO, False),
        ((), {}, KLAVIYO, False),
        (("LIST01",), {"audiences": ["OTHER"]}, KLAVIYO, False),
        (("OTHER",), {"audiences": ["OTHER"]}, KLAVIYO, True),
        (("OTHER",), {"audiences": ["OTHER"]}, WAREHOUSE, True),
        (("ANY",), {}, {"kind": "klaviyo"}, True),
        (None, {"kind": "smartemailing"}, WAREHOUSE, True),
    ],
)
def test_a_newsletter_is_a_publishers_by_whom_it_goes_to(
    included: tuple[str, ...] | None, campaigns: dict[str, Any], audience: dict[str, Any], is_due: bool
) -> None:
    one = newsletter(included=included)
    assert due(publisher(audience, **campaigns), [one], NOW) == ([one] if is_due else [])


def test_several_newsletters_are_due_at_once() -> None:
    both = [newsletter(1), newsletter(2, id="01OTHER")]
    assert due(publisher(KLAVIYO), [*both, newsletter(40)], NOW) == both


def test_the_run_id_knows_publisher_newsletter_and_time() -> None:
    one = newsletter()
    assert one.run_id("shop") == "klaviyo__shop__01CAMP__20261127T080000Z"
    prague = timezone(timedelta(hours=1))
    assert newsletter(send_at=one.send_at.astimezone(prague)).run_id("shop") == one.run_id("shop")
    assert len({each.run_id("shop") for each in (one, newsletter(3), newsletter(id="01OTHER"))}) == 3


def test_two_publishers_never_share_a_run() -> None:
    """Accounts number their newsletters alike, and one campaign may go to the lists of two publishers."""
    seventh = newsletter(platform="smartemailing", id="7", included=None)
    assert seventh.run_id("shop_cz") != seventh.run_id("shop_sk")


def test_a_strange_id_makes_a_run_id_all_the_same() -> None:
    strange = newsletter(id="../a b?\n").run_id("shop")
    assert strange.startswith("klaviyo__shop__a-b-")
    assert strange != newsletter(id="a b").run_id("shop")


def test_an_event_tells_of_the_newsletter() -> None:
    one = newsletter(name="Black\nFriday\x00 " + "x" * 500)
    told = announced("shop", one.announcement("shop"))
    assert (told.run_id("shop"), told.send_at) == (one.run_id("shop"), one.send_at)
    assert told.name.startswith("Black Friday x")
    assert len(told.name) == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"publisher": "other"}, "came to the watcher of shop"),
        ({"id": 7}, "each as text"),
        ({"name": None}, "each as text"),
        ({"send_at": "soon"}, "'soon'; must be a time"),
        ({"platform": "a/../b"}, "must be small letters"),
    ],
)
def test_an_event_that_tells_of_none_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        announced("shop", newsletter().announcement("shop") | change)


@pytest.mark.parametrize("payload", [None, "text", [], {}])
def test_an_event_of_another_kind_is_refused(payload: Any) -> None:
    with pytest.raises(BadInput, match="tells of no newsletter"):
        announced("shop", payload)


def test_a_publisher_must_name_what_the_platform_needs() -> None:
    with pytest.raises(ValueError, match=r"campaigns.audiences: name the lists and segments"):
        publisher(WAREHOUSE)
    with pytest.raises(ValueError, match="SmartEmailing does not tell whom a newsletter goes to"):
        publisher(WAREHOUSE, kind="smartemailing", audiences=["1"])
