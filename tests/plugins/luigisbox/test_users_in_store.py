"""Users whose staging store is S3: as in a folder, to the byte; and no torn chunk is ever taken by the vendor."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.audience import user_sets
from include.audience.build import build_audience
from include.audience.gather import gather
from include.audience.guard import judge
from include.audience.pages import Stream, stage
from include.audience.profiles import Page, Row
from include.audience.sending import SENDING
from include.audience.sources import Source, sources_of
from include.errors import ConfigError, StoreError
from include.extract import write_rows
from include.publishers.audiences import Audience, KlaviyoAudience
from include.publishers.models import Guard
from include.staging import copy_file, read_json, to_path
from luigisbox.uploads import send_users
from tests.object_faults import Faults
from tests.object_store import connection, contents

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOMY = Guard(
    **dict.fromkeys((name for name in Guard.model_fields if name.endswith("_percent")), 100),
    min_users=1,  # type: ignore[arg-type]
)
PLATFORM = KlaviyoAudience(kind="klaviyo", lists=["A"], exclude_segments=["B"])


def from_query(run: Path) -> None:
    for part in range(3):
        rows = [(f"u{number:04}", None) for number in range(part, 600, 3)]
        write_rows(
            [rows, [(None, None)]], ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], run / "raw", part
        )
    build_audience(run, Audience(chunk_rows=200), NOON, 3)


def from_platform(run: Path) -> None:
    """Pages that break off once, and a segment that is left out."""
    broken = [40]

    def read(cursor: str | None) -> Iterator[Page]:
        for start in range(int(cursor or 0), 100, 20):
            if start in broken:
                broken.remove(start)
                raise ConnectionError("lost")
            rows = [Row(f"p{number:03}", f"u{number:04}") for number in range(start, start + 20)]
            yield Page(rows, str(start + 20) if start < 80 else None)

    def pulled(item: Source) -> Stream:
        left_out = [Page([Row("p001", None), Row("p999", None)], None)]
        return Stream(item, {}, read if item["role"] == "take" else lambda _: iter(left_out), lambda: None)

    sources = sources_of(PLATFORM)
    with pytest.raises(ConnectionError):
        stage(run, pulled(sources[0]), 1)
    for item in sources:
        assert stage(run, pulled(item), 1)["complete"]
    assert gather(run, sources, PLATFORM)["complete"]
    build_audience(run, PLATFORM, NOON + timedelta(hours=1), 1)


def season(root: Path, shop: Any) -> tuple[dict[str, str], list[tuple[Any, ...]], dict[str, Any]]:
    """Two lists, from a query and from a platform, one after the other; what lies there and what was sent."""
    shop.box.forget_requests()
    for name, made in (("query", from_query), ("platform", from_platform)):
        run = root / "shop" / "audience" / name
        made(run)
        verdict = judge(run, user_sets.live(root, "shop"), ROOMY)
        assert verdict.passed
        send_users(shop.box.client(), root, "shop", run)
    live = user_sets.live(root, "shop")
    assert live
    before = user_sets.previous(live)
    assert before
    assert not (live.folder.parent / SENDING).exists()
    own = ("/pages/", "platform/raw/part-00000.json", "verdict.json")  # they name the pass, or the live list
    found = contents(root / "shop" / "audience").items()
    files = {name: sha for name, sha in found if not any(each in name for each in own)}
    sent = [(each["status"], each.get("bytes"), each.get("sha256")) for each in shop.box.requests()]
    ids = {"live": live.record["ids"], "before": before.record["ids"], "figures": {**verdict.figures, "live": None}}
    return files, sent, ids


def test_an_audience_below_an_object_store_is_that_below_a_folder(
    shop: Any, staging: Path, s3_staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as local:
        local.setenv("STAGING_URI", staging.as_uri())
        in_folder = season(staging, shop)
    in_store = season(s3_staging, shop)
    assert in_store == in_folder
    assert {f"query/chunks/users-0000{number}.json" for number in range(3)} < set(in_store[0])


@pytest.fixture
def faults(faulty_s3: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Faults:
    """What breaks in the store that is reached by the connection ``faulty``."""
    address, told = faulty_s3
    told.forget()
    for variable, value in connection(address, "faulty").items():
        monkeypatch.setenv(variable, value)
    return told


def through_the_proxy(run: Path) -> Path:
    """The same place, by that connection."""
    return to_path(run.as_uri().replace("store@", "faulty@"))


def big_run(shop: Any, root: Path) -> Path:
    """A list of one chunk of 10 MB, which is read in two ranges."""
    shop.root = root
    run: Path = shop.audience("big", *(f"{number:0180d}" for number in range(50_000)))
    return run


@pytest.mark.parametrize("fault", ["cut", "503"])
def test_what_breaks_while_a_list_streams_is_asked_for_again(
    shop: Any, s3_staging: Path, faults: Faults, fault: str
) -> None:
    run = big_run(shop, s3_staging)
    faults.add(fault, "GET", "users-00000")
    figures = send_users(shop.box.client(), through_the_proxy(s3_staging), "shop", through_the_proxy(run))
    assert figures["attempts"] == 1
    assert sum("GET" in each and "users-00000" in each for each in faults.asked) == 3
    assert shop.box.uploads("users")[-1]["sha256"] == read_json(run / "manifest.json")["sha256"]


@pytest.mark.parametrize(("fault", "error"), [("short", StoreError), ("403", ConfigError)])
def test_a_list_that_cannot_be_read_to_its_end_is_not_taken_and_the_store_is_blamed(
    shop: Any, s3_staging: Path, faults: Faults, fault: str, error: type[Exception]
) -> None:
    run, taken = big_run(shop, s3_staging), len(shop.box.uploads("users"))
    faults.add(fault, "GET", "users-00000", times=99)
    with pytest.raises(error, match=r"users-00000.json: the object store"):
        send_users(shop.box.client(), through_the_proxy(s3_staging), "shop", through_the_proxy(run))
    assert len(shop.box.uploads("users")) == taken
    assert user_sets.live(s3_staging, "shop") is None
    assert not (s3_staging / "shop" / "user_sets" / SENDING).exists()


def test_chunks_of_another_build_are_not_taken(shop: Any, s3_staging: Path) -> None:
    """Of the same length, so that only the hash tells them apart."""
    shop.root = s3_staging
    run, other, taken = shop.audience("one", "u1"), shop.audience("two", "u2"), len(shop.box.uploads("users"))
    copy_file(other / "chunks" / "users-00000.json", run / "chunks" / "users-00000.json")
    with pytest.raises(Exception, match="not what their manifest lists"):
        send_users(shop.box.client(), s3_staging, "shop", run)
    assert len(shop.box.uploads("users")) == taken
    assert user_sets.live(s3_staging, "shop") is None
