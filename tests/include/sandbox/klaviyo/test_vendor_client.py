"""The vendor's own client, unchanged, reads and writes: the test of the stand-in's fidelity."""

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.sandbox.fill import fill_klaviyo
from include.sandbox.server import Running, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the client's generated models, when they are imported

    from klaviyo_api import KlaviyoAPI
    from openapi_client.exceptions import ApiException

COUNT = 250
FAST = {"klaviyo_burst": 100_000, "klaviyo_steady": 100_000, "klaviyo_job_seconds": 0.1}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Any]]]:
    state = tmp_path_factory.mktemp("klaviyo")
    with running(state, **FAST) as sandbox:
        yield sandbox, fill_klaviyo(state, COUNT, seed=7)


@pytest.fixture(scope="module")
def api(filled: tuple[Running, dict[str, Any]]) -> KlaviyoAPI:
    return KlaviyoAPI("pk_sandbox", max_delay=1, max_retries=3, test_host=filled[0].url)


def whole(call: Callable[..., Any], *args: Any, **more: Any) -> list[Any]:
    """All rows, page after page, by each page's next link."""
    rows, cursor = [], None
    while True:
        page = call(*args, page_cursor=cursor, **more) if cursor else call(*args, **more)
        rows += page.data
        if page.links.next is None:
            return rows
        cursor = page.links.next  # the client takes the cursor out of it


def test_all_profiles_are_read(filled: Any, api: KlaviyoAPI) -> None:
    rows = whole(api.Profiles.get_profiles, page_size=100)
    assert type(rows[0]).__name__.startswith("ProfileResponse")
    assert len({row.id for row in rows}) == COUNT + 1
    found = {row.attributes.external_id for row in rows}
    assert "default" in found
    assert None in found


@pytest.mark.parametrize("source", ["LIST01", "LIST02", "SEGM01", "SEGM02"])
def test_members_and_their_count(filled: Any, api: KlaviyoAPI, source: str) -> None:
    if source.startswith("LIST"):
        rows = whole(api.Lists.get_profiles_for_list, source, page_size=50)
        time.sleep(1.05)  # one count a second
        one = api.Lists.get_list(source, additional_fields_list=["profile_count"])
    else:
        rows = whole(api.Segments.get_profiles_for_segment, source, page_size=50)
        time.sleep(1.05)
        one = api.Segments.get_segment(source, additional_fields_segment=["profile_count"])
    assert one.data.attributes.profile_count == len({row.id for row in rows})


def test_lists_and_segments(api: KlaviyoAPI) -> None:
    assert [row.id for row in whole(api.Lists.get_lists, page_size=1)] == ["LIST01", "LIST02"]
    assert [row.id for row in whole(api.Segments.get_segments, page_size=1)] == ["SEGM01", "SEGM02"]


def test_consent_sparse_fields_and_filters(api: KlaviyoAPI) -> None:
    rows = whole(api.Profiles.get_profiles, additional_fields_profile=["subscriptions"], page_size=100)
    consents = {row.attributes.subscriptions.email.marketing.can_receive_email_marketing for row in rows}
    assert consents == {True, False}
    sparse = api.Profiles.get_profiles(fields_profile=["external_id"], filter='equals(external_id,"default")')
    assert [row["attributes"] for row in sparse["data"]] == [{"external_id": "default"}]  # the client leaves them raw
    ids = ",".join(f'"{row.id}"' for row in rows[:3])
    assert len(api.Profiles.get_profiles(filter=f"any(id,[{ids}])").data) == 3


def query(*profiles: dict[str, Any]) -> dict[str, Any]:
    data = [{"type": "profile", **profile} for profile in profiles]
    return {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": data}}}}


def finished(api: KlaviyoAPI, job: str) -> Any:
    for _ in range(100):
        attributes = api.Profiles.get_bulk_import_profiles_job(job).data.attributes
        if attributes.status == "complete":
            return attributes
        time.sleep(0.15)
    raise AssertionError("the job does not end")


def test_an_import_job_is_written_and_polled(api: KlaviyoAPI) -> None:
    body = query(
        {"attributes": {"external_id": "sdk-1", "email": "sdk1@example.com", "properties": {"a": 1, "b": 2}}},
        {"id": "01UNKNOWN", "attributes": {"properties": {"a": 1}}},
    )
    made = api.Profiles.bulk_import_profiles(body)
    assert made.data.attributes.status in ("queued", "processing")
    done = finished(api, made.data.id)
    assert (done.total_count, done.completed_count, done.failed_count) == (2, 1, 1)
    (error,) = api.Profiles.get_errors_for_bulk_import_profiles_job(made.data.id).data
    assert error.attributes.source.pointer
    again = api.Profiles.bulk_import_profiles(
        query({"attributes": {"external_id": "sdk-1", "properties": {"b": None, "c": 3}}})
    )
    finished(api, again.data.id)
    (profile,) = api.Profiles.get_profiles(filter='equals(external_id,"sdk-1")').data
    kept = profile.attributes.properties
    assert (kept["a"], kept.get("b"), kept["c"]) == (1, None, 3)
    assert profile.attributes.email == "sdk1@example.com"


def test_campaigns_and_their_messages(filled: Any, api: KlaviyoAPI) -> None:
    body = {
        "name": "Spring",
        "status": "scheduled",
        "send_at": "2030-03-01T08:00:00+00:00",
        "included": ["LIST01"],
        "excluded": ["SEGM01"],
    }
    answer = requests.put(f"{filled[0].url}/_sandbox/klaviyo/campaigns/CAMP01", json=body, timeout=30)
    assert answer.ok, answer.text
    assert [row.id for row in api.Campaigns.get_campaigns().data] == ["CAMP01"]
    (message,) = api.Campaigns.get_campaign_messages(filter="equals(status,'scheduled')").data
    assert message.attributes.definition.status == "scheduled"
    assert message.attributes.definition.send_options.send_time.isoformat() == "2030-03-01T08:00:00+00:00"
    assert message.relationships.campaign.data.id == "CAMP01"
    audience = api.Campaigns.get_campaign_audience(message.relationships.campaign_audience.data.id)
    assert audience.data.attributes.definition.included == ["LIST01"]
    assert audience.data.attributes.definition.excluded == ["SEGM01"]


def test_a_wrong_key_is_refused(filled: Any) -> None:
    with pytest.raises(ApiException) as caught:
        KlaviyoAPI("pk_wrong", max_retries=1, test_host=filled[0].url).Profiles.get_profiles()
    assert caught.value.status == 401


def test_it_waits_as_it_is_told_to(tmp_path: Path) -> None:
    with running(tmp_path, klaviyo_burst=1) as sandbox:
        fill_klaviyo(tmp_path, 3)
        api = KlaviyoAPI("pk_sandbox", max_delay=2, max_retries=4, test_host=sandbox.url)
        assert [len(api.Profiles.get_profiles().data) for _ in range(3)] == [4, 4, 4]
