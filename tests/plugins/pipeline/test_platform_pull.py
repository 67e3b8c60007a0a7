"""Audiences of the newsletter platforms, from their sandboxes over a real socket to books that balance."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
import yaml

from include.audience.build import build_audience
from include.audience.gather import gather
from include.audience.pages import Stream, stage, staged
from include.audience.profiles import Page, Row
from include.audience.segments import OpenPages
from include.audience.sources import Source, sources_of, turns_of
from include.errors import BadInput, ConfigError
from include.publishers.audiences import KlaviyoAudience, SmartEmailingAudience
from include.sandbox.fill import fill_klaviyo, fill_smartemailing
from include.sandbox.server import Running, running
from pipeline.pools import pull_pool
from pipeline.pull import PullOperator
from vendor_http.errors import NotFound, RateLimited

PROJECT = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROFILES = 1000
KILLS = 6  # of each source; there are five
KLAVIYO = {"kind": "klaviyo", "lists": ["LIST02"], "segments": ["SEGM01"], "connection": "account"}
SMARTEMAILING = {"kind": "smartemailing", "lists": [1, 2], "id": "customfields.3", "connection": "account"}
AUDIENCES = {"klaviyo": KLAVIYO, "smartemailing": SMARTEMAILING}
AnyPlatform = KlaviyoAudience | SmartEmailingAudience


class Shop:
    """A sandbox with both platforms, a publisher of one of them, and a run."""

    def __init__(self, sandbox: Running, folder: Path, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.filled, self.run, self.publishers = sandbox.url, filled, folder / "run", folder / "publishers"
        self._set = monkeypatch.setenv
        self.publishers.mkdir()
        monkeypatch.setattr("klaviyo.client.Pacer.before", lambda _: None)  # this account has no limits
        self._set("PUBLISHERS_DIR", str(self.publishers))

    def publish(self, audience: dict[str, Any], **connection: Any) -> AnyPlatform:
        kind = audience["kind"]
        form = {"conn_type": kind, "host": self.url, "login": "sandbox", "password": "sandbox_key"}
        form |= {"password": "pk_sandbox"} if kind == "klaviyo" else {"extra": {"pause_seconds": 0.0001}}
        self._set("AIRFLOW_CONN_ACCOUNT", json.dumps(form | connection))
        batch = {"link": "https://example.com/batch.xml", "recommendation_types": {"mail-basket": 8}}
        deliveries = [{"name": "feed", "kind": "feed"}]
        path = self.publishers / "shop.yaml"
        content = {"luigisbox": {}, "audience": audience, "batch": batch, "deliveries": deliveries}
        path.write_text(yaml.safe_dump(content), "utf-8")
        return {"klaviyo": KlaviyoAudience, "smartemailing": SmartEmailingAudience}[kind](**audience)

    def pull(self, *items: Source) -> Any:
        """Pull sources in one turn, named by the first."""
        turn: Any = {"index": items[0]["index"], "of": items[0]["of"], "sources": list(items)}
        operator = PullOperator(task_id="pull", publisher="shop", run_folder=self.run.as_uri(), partition=turn)
        context: dict[str, Any] = {}
        pulled = operator.execute(context)  # type: ignore[arg-type]
        assert context["what"] == ", ".join(item["source"] for item in items)
        return pulled

    def build(self, audience: AnyPlatform) -> dict[str, Any]:
        gather(self.run, sources_of(audience), audience)
        return build_audience(self.run, audience, NOON, 1)

    def members(self, *sources: str) -> Counter[str]:
        """Of the distinct profiles of Klaviyo's sources, how many there are of each kind."""
        return sum((Counter(self.filled["klaviyo"]["sources"][source]) for source in sources), Counter())


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("platforms"), klaviyo_burst=100_000, klaviyo_steady=1_000_000) as started:
        yield started


@pytest.fixture(scope="module")
def filled(sandbox: Running) -> dict[str, Any]:
    return {
        "klaviyo": fill_klaviyo(sandbox.state, PROFILES),
        "smartemailing": fill_smartemailing(sandbox.state, PROFILES),
    }


@pytest.fixture
def shop(sandbox: Running, filled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    yield Shop(sandbox, tmp_path, filled, monkeypatch)
    requests.delete(f"{sandbox.url}/_sandbox/faults").raise_for_status()


def test_a_list_of_klaviyo_comes_out_exactly(shop: Shop) -> None:
    audience = shop.publish({"kind": "klaviyo", "lists": ["LIST01"], "connection": "account"})
    (item,) = sources_of(audience)
    pulled = shop.pull(item)
    kinds, manifest = shop.members("list:LIST01"), shop.build(audience)
    repeated = pulled["rows"] - kinds.total()
    assert repeated >= 0
    uploaded = manifest["books"]["uploaded"]
    assert manifest["complete"]
    assert manifest["books"]["extracted"] == pulled["rows"]
    assert manifest["reasons"].get("duplicate", 0) == kinds["duplicate"] + repeated
    assert manifest["reasons"]["null_id"] == kinds["no_id"]
    assert manifest["reasons"]["suppressed"] >= kinds["suppressed"]
    assert uploaded == kinds["clean"] + kinds["never_subscribed"] + kinds["unsubscribed"] - (
        manifest["reasons"]["suppressed"] - kinds["suppressed"]
    )


def test_several_sources_of_klaviyo_without_those_left_out(shop: Shop) -> None:
    settings = {**KLAVIYO, "lists": ["LIST01"], "segments": ["SEGM02"], "exclude_segments": ["SEGM01"]}
    settings |= {"id": "properties.shop.customer_id", "require_consent": True, "recipient": "email"}
    audience = shop.publish(settings)
    for item in sources_of(audience):
        shop.pull(item)
    manifest, everyone, left_out = shop.build(audience), shop.members("list:LIST01"), shop.members("segment:SEGM01")
    assert manifest["complete"]
    assert manifest["books"]["uploaded"] == everyone["clean"] - left_out["clean"]
    recipients = pq.read_table(shop.run / "accepted.parquet")["recipient"].to_pylist()
    assert all(each.endswith("@example.com") for each in recipients)


def test_the_profile_of_the_default_set_is_nobody_whatever_id_it_has_elsewhere(shop: Shop) -> None:
    profile = {"type": "profile", "attributes": {"external_id": "default", "properties": {"other_id": "c1"}}}
    other = {"type": "profile", "attributes": {"external_id": "c0000001", "properties": {"other_id": "c2"}}}
    attributes = {"profiles": {"data": [profile, other]}}
    job = {"data": {"type": "profile-bulk-import-job", "attributes": attributes}}
    headers = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": "2026-07-15"}
    requests.post(f"{shop.url}/api/profile-bulk-import-jobs", json=job, headers=headers, timeout=10).raise_for_status()
    audience = shop.publish({**KLAVIYO, "lists": [], "segments": [], "id": "properties.other_id"})
    for item in sources_of(audience):
        shop.pull(item)
    manifest = shop.build(audience)
    assert manifest["reasons"]["reserved"] == 1
    assert pq.read_table(shop.run / "accepted.parquet")["auth_user_id"].to_pylist() == ["c2"]


def test_lists_of_smartemailing_come_out_exactly(shop: Shop) -> None:
    audience = shop.publish(SMARTEMAILING)
    for item in sources_of(audience):
        shop.pull(item)
    manifest, filled = shop.build(audience), shop.filled["smartemailing"]
    dirt = filled["dirt"]
    twice = sum(filled["lists"]["2"].values())
    assert manifest["complete"]
    assert manifest["reasons"] == {
        "blacklisted": dirt["blacklisted"],
        "unsubscribed": dirt["unsubscribed"],
        "null_id": dirt["no_id"],
        "empty": dirt["empty_id"],
        "reserved": dirt["default"],
        "duplicate": dirt["duplicate"] + twice,
    }
    assert manifest["books"]["uploaded"] == filled["customers"]
    assert manifest["books"]["extracted"] == filled["contacts"] + twice


def test_contacts_of_a_list_that_is_left_out_are_counted(shop: Shop) -> None:
    audience = shop.publish({**SMARTEMAILING, "lists": [1], "exclude_lists": [2], "id": "email"})
    for item in sources_of(audience):
        shop.pull(item)
    manifest, lists = shop.build(audience), shop.filled["smartemailing"]["lists"]
    assert manifest["complete"]
    assert manifest["reasons"]["left_out"] + manifest["books"]["uploaded"] < lists["1"]["confirmed"]
    assert manifest["books"]["extracted"] == sum(lists["1"].values())


def in_between(monkeypatch: pytest.MonkeyPatch, shop: Shop, **fault: Any) -> None:
    """Ask for a fault after the first page of the next pull."""
    add = OpenPages.add

    def add_and_ask(open_pages: OpenPages, page: Page) -> None:
        add(open_pages, page)
        monkeypatch.undo()
        requests.post(f"{shop.url}/_sandbox/faults", json={"path": "/api/", **fault}).raise_for_status()

    monkeypatch.setattr(OpenPages, "add", add_and_ask)


@pytest.mark.parametrize("platform", ["klaviyo", "smartemailing"])
def test_a_long_rate_limit_ends_the_try_and_the_next_one_goes_on(shop: Shop, platform: str) -> None:
    audience = shop.publish(AUDIENCES[platform])
    item = sources_of(audience)[0]
    with pytest.MonkeyPatch.context() as patch:
        in_between(patch, shop, fault="429", retry_after=3600)
        with pytest.raises(RateLimited):
            shop.pull(item)
    paths, record = staged(shop.run, item)
    assert record is None
    before = sum(pq.read_metadata(path).num_rows for path in paths)
    assert before == {"klaviyo": 100, "smartemailing": 500}[platform]
    pulled = shop.pull(item)
    paths, record = staged(shop.run, item)
    assert record is not None
    assert len(paths) == 2
    assert pulled["rows"] == record["rows"] > before
    assert record["complete"]


def test_what_may_be_read_side_by_side(shop: Shop) -> None:
    klaviyo, smartemailing = (turns_of(shop.publish(each)) for each in (KLAVIYO, SMARTEMAILING))
    assert [[item["source"] for item in turn["sources"]] for turn in klaviyo] == [["list:LIST02"], ["segment:SEGM01"]]
    assert [[item["source"] for item in turn["sources"]] for turn in smartemailing] == [
        ["list:1", "list:2", "customfield:3"]
    ]


def test_a_retry_reads_what_is_left_of_a_turn_and_a_new_pull_reads_all(shop: Shop) -> None:
    (turn,) = turns_of(shop.publish(SMARTEMAILING))
    items, read = turn["sources"], []

    def stop_at_the_field(run: Path, stream: Stream, tolerance: float) -> Any:
        read.append(stream.item["source"])
        if stream.item["role"] == "ids" and len(read) == 3:
            raise BadInput("stop")
        return stage(run, stream, tolerance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smartemailing.pull.stage", stop_at_the_field)
        with pytest.raises(BadInput, match="stop"):
            shop.pull(*items)
        pulled = shop.pull(*items)
        again = shop.pull(*items)
    names = ["list:1", "list:2", "customfield:3"]
    assert read == [*names, "customfield:3", *names]
    assert pulled["rows"] == again["rows"] > shop.filled["smartemailing"]["contacts"]


def test_a_list_that_moves_while_it_is_read_loses_nobody(sandbox: Running, shop: Shop) -> None:
    audience = shop.publish({**SMARTEMAILING, "lists": [1], "id": "email"})
    (item,) = sources_of(audience)
    with pytest.MonkeyPatch.context() as patch:
        in_between(patch, shop, fault="moving_list", path="/api/v3/", times=2)
        shop.pull(item)
    paths, record = staged(shop.run, item)
    fill_smartemailing(sandbox.state, PROFILES)
    assert record is not None
    assert record["complete"]
    keys = [key for path in paths for key in pq.read_table(path)["key"].to_pylist()]
    assert {str(number) for number in range(3, PROFILES + 2)} <= set(keys)
    assert len(keys) == len(set(keys))


def test_a_cursor_that_klaviyo_does_not_know_starts_the_source_over(shop: Shop) -> None:
    audience = shop.publish(KLAVIYO)
    item = sources_of(audience)[0]
    stop = BadInput("stop")

    def one_page(cursor: str | None) -> Iterator[Page]:
        yield Page([Row("gone", "c0")], "no cursor of Klaviyo's")
        raise stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("klaviyo.pull.stage", lambda run, stream, part: stage(run, replace(stream, read=one_page), part))
        with pytest.raises(BadInput, match="stop"):
            shop.pull(item)
    pulled = shop.pull(item)
    record = staged(shop.run, item)[1]
    assert record is not None
    assert record["complete"]
    assert pulled["rows"] >= shop.members("list:LIST02").total()


def test_a_source_that_is_not_there_is_refused(shop: Shop) -> None:
    for settings in ({**KLAVIYO, "lists": ["NONE00"]}, {**SMARTEMAILING, "lists": [99]}):
        item = sources_of(shop.publish(settings))[0]
        with pytest.raises(NotFound):
            shop.pull(item)


def test_a_run_that_was_split_for_another_kind_of_audience_says_so(shop: Shop) -> None:
    item = sources_of(shop.publish(KLAVIYO))[0]
    shop.publish({**KLAVIYO})
    path = shop.publishers / "shop.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump({**content, "audience": {"connection": "shop", "sql": "SELECT 1"}}), "utf-8")
    with pytest.raises(ConfigError, match="Clear `plan`"):
        shop.pull(item)


def kill_at_random(job: dict[str, Any], kills: int, chance: random.Random, driver: "subprocess.Popen[str]") -> None:
    """Pull and kill the process at random points so many times; then pull to the end."""
    while True:
        assert driver.stdin
        assert driver.stdout
        driver.stdin.write(json.dumps(job) + "\n")
        driver.stdin.flush()
        pid = int(driver.stdout.readline())
        if kills:
            time.sleep(chance.uniform(0, 0.1))
            with suppress(ProcessLookupError):  # it came to its end before; the next one reads the source anew
                os.kill(pid, signal.SIGKILL)
        code = int(driver.stdout.readline())
        assert code in (0, -signal.SIGKILL)
        if not kills:
            return
        kills -= code == -signal.SIGKILL


@pytest.mark.parametrize("platform", ["klaviyo", "smartemailing"])
def test_processes_killed_at_random_points_lose_and_double_nobody(shop: Shop, platform: str) -> None:
    audience = shop.publish(AUDIENCES[platform])
    command = [sys.executable, str(Path(__file__).with_name("pull_child.py"))]
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}"}
    chance, pipe = random.Random(7), subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as driver:
        for item in sources_of(audience):
            job = {"platform": platform, "url": shop.url, "run": str(shop.run), "item": item}
            kill_at_random({**job, "audience": audience.model_dump()}, KILLS, chance, driver)
        assert driver.stdin
        driver.stdin.close()
    with_kills = shop.build(audience)
    killed, shop.run = shop.run, shop.run.with_name("undisturbed")
    for item in sources_of(audience):
        shop.pull(item)
    without = shop.build(audience)
    assert with_kills["complete"]
    assert with_kills["books"]["uploaded"] == without["books"]["uploaded"] > 0
    assert (killed / "accepted.parquet").read_bytes() == (shop.run / "accepted.parquet").read_bytes()
    counts = {each: Counter(manifest["reasons"]) for each, manifest in (("killed", with_kills), ("not", without))}
    for each in counts.values():
        del each["duplicate"]  # a platform may repeat rows at the border of two pages
    assert counts["killed"] == counts["not"]


@pytest.mark.parametrize(("audience", "pool"), [(KLAVIYO, "klaviyo"), (SMARTEMAILING, "smartemailing")])
def test_pulls_of_one_account_share_a_pool(shop: Shop, audience: dict[str, Any], pool: str) -> None:
    from include.publishers.config import load_publisher

    shop.publish(audience)
    assert pull_pool([load_publisher("shop")]) == pool
