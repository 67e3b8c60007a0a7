"""Published batches: the documented shapes, byte for byte parseable, whatever the ids and titles are."""

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import etree

NASTY = ["<&>\"'", "ž€😀 x", "a/b?c=d#e", "100%", "]]>", "\\\\", "a b", "\ufffe"]
Batch = dict[str, dict[str, list[dict[str, str]]]]


def read_xml(content: bytes) -> Batch:
    root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    assert root.tag == "users"
    batch: Batch = {}
    for user in root:
        assert [each.tag for each in user] == ["auth_user_id", "data"]
        blocks = user.findall("data/recommendations/recommendation")
        batch[user.findtext("auth_user_id")] = {
            block.findtext("recommendation_type"): [
                {part.tag: part.text or "" for part in result} for result in block.findall("results/result")
            ]
            for block in blocks
        }
    return batch


def read_json(content: bytes) -> Batch:
    users = [json.loads(line) for line in content.splitlines()]
    assert all(list(user) == ["id", "data"] for user in users)
    return {user["id"]: user["data"] for user in users}


@pytest.fixture
def published(client: Any, purchases: Any) -> Any:
    client.send_users([*(f"u{number}" for number in range(10)), "u-silent"])
    client.send_purchases(purchases)
    client.publish(today="2024-05-20")
    return client


def test_both_shapes_say_the_same(published: Any) -> None:
    xml, json_ = read_xml(published.link("xml").content), read_json(published.link("json").content)
    assert xml == json_
    assert set(xml) == {*(f"u{number}" for number in range(10)), "default"}
    assert set(xml["u0"]) <= {"mail-basket", "mail-discovery"}
    record = published.control("state")["batch"]
    assert (record["personalised"], record["made_from"], record["today"]) == (10, "current", "2024-05-20")


def test_one_line_is_one_user(published: Any) -> None:
    lines = published.link("xml").text.splitlines()
    assert lines[:2] == ['<?xml version="1.0" encoding="UTF-8"?>', "<users>"]
    assert lines[-1] == "</users>"
    assert len(lines) == 11 + 3
    assert all(line.startswith("<user><auth_user_id>") and line.endswith("</user>") for line in lines[2:-1])
    assert "<auth_user_id>default</auth_user_id>" in lines[-2]


def test_updated_at_is_now_without_a_zone(published: Any) -> None:
    times = etree.fromstring(published.link().content).findall(".//_metadata/updated_at")
    assert len(times) == 11
    age = datetime.now(UTC) - datetime.fromisoformat(str(times[0].text)).replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_links_of_products(published: Any) -> None:
    product = read_xml(published.link().content)["u1"]["mail-basket"][0]
    url = urlsplit(product["url"])
    query = parse_qs(url.query, strict_parsing=True)
    assert len(query["recommendation_id"][0]) == 20
    assert {"utm_source", "utm_medium", "utm_campaign"} < set(query)
    assert b"&amp;utm_" in published.link().content
    assert published.session.get(product["url"], timeout=30).ok
    picture = published.session.get(product["image_link"], timeout=30)
    assert picture.headers["Content-Type"].startswith("image/svg+xml")


def test_nasty_ids_and_titles_survive(client: Any) -> None:
    when = "2024-05-01 00:00:00"
    client.send_users(NASTY)
    client.send_purchases([(f"s{number}", item, user, when) for number, user in enumerate(NASTY) for item in NASTY[:4]])
    client.send_purchases([(f"t{number}", item, "stranger", when) for number, item in enumerate(NASTY[4:])])
    titles = [{"id": each, "title": f" <b>{each}</b>\n&\tmore\x01 ", "category": None} for each in NASTY]
    body = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(titles), body)
    answer = client.session.put(client.url + "/_sandbox/catalogue", data=body.getvalue().to_pybytes(), timeout=30)
    assert answer.json() == {"products": len(NASTY)}
    client.publish(today="2024-05-20")
    users = read_json(client.link("json").content)
    assert set(users) == {*NASTY, "default"}
    assert all({p["id"] for block in data.values() for p in block} <= set(NASTY) for data in users.values())
    for product in users["default"]["mail-basket"]:
        assert product["title"] == f"<b>{product['id']}</b> & more\x01"
        assert unquote(urlsplit(product["url"]).path) == f"/products/{product['id']}"
        assert client.session.get(product["url"], timeout=30).ok
    xml = read_xml(client.link().content)
    assert set(xml) == {each.replace("\ufffe", "") for each in users}
    assert len(client.link().text.splitlines()) == len(users) + 3


def test_what_a_publication_may_choose(published: Any) -> None:
    record = published.publish(types={"only": "3:popular"}, today="2024-05-20")
    assert record["types"] == {"only": 3}
    assert set(read_xml(published.link().content)["default"]) == {"only"}
    published.publish(today="2030-01-01")
    assert read_xml(published.link().content) == {}
    for body in ({"types": {}}, {"types": {"a": 0}}, {"today": "tomorrow"}, {"other": 1}):
        assert published.session.post(published.url + "/_sandbox/publish", json=body, timeout=30).status_code == 422


def test_today_can_be_configured(start: Callable[..., Any], purchases: Any) -> None:
    client = start(today=date(2024, 9, 10), types={"a": 2})
    client.send_users([f"u{number}" for number in range(10)])
    client.send_purchases(purchases)
    client.publish()
    months = {user: time_of for _, _, user, time_of in purchases}
    recent = {user for user, time_of in months.items() if time_of >= "2024-03-10"}
    assert set(read_xml(client.link().content)) == recent | {"default"}


def wait_for_a_batch(client: Any, other_than: str | None = None) -> Any:
    for _ in range(500):
        batch = client.control("state")["batch"]
        if batch and batch["folder"] != other_than:
            return batch
        time.sleep(0.02)
    raise AssertionError("no batch was published")


def test_published_after_an_upload(start: Callable[..., Any], purchases: Any) -> None:
    client = start(publish_after=0.1)
    client.send_purchases(purchases)
    client.send_users(["u1"])
    first = wait_for_a_batch(client)
    assert first["users_upload"] == "000002"
    client.send_users(["u2"])
    assert wait_for_a_batch(client, other_than=first["folder"])["users_upload"] == "000003"


def test_published_at_an_interval(start: Callable[..., Any]) -> None:
    client = start(publish_every=0.1)
    first = wait_for_a_batch(client)
    assert wait_for_a_batch(client, other_than=first["folder"])["published_at"] > first["published_at"]


def test_a_publication_that_was_due_is_made_up_for_after_a_restart(start: Callable[..., Any], tmp_path: Path) -> None:
    from include.sandbox.server import running

    state = tmp_path / "due"
    with running(state, publish_after=600) as sandbox:
        client = type(start(tmp_path / "other"))(sandbox)
        client.send_users(["u1"])
        client.session.close()
    again = start(state, publish_after=0)
    assert wait_for_a_batch(again)["users_upload"] == "000001"


def test_old_batches_are_removed(published: Any) -> None:
    for _ in range(4):
        published.publish()
    assert len(list((published.sandbox.state / "batches").iterdir())) == 2


def test_a_catalogue_that_cannot_be_read(client: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    for body in (b"", b"sku,name\n1,One\n", b"PAR1 rubbish", b"\xff\xfe\x00"):
        answer = client.session.put(client.url + "/_sandbox/catalogue", data=body, timeout=30)
        assert (answer.status_code, "id and title" in answer.json()["reason"]) == (422, True)


def test_a_catalogue_from_a_file(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text('id,title,category\n1,"Milk, whole",Dairy\n01,,\n')
    client = start(catalogue=tmp_path / "catalogue.csv")
    client.send_purchases([("s", "1", "u", "2024-05-01 00:00:00"), ("s", "01", "u", "2024-05-01 00:00:00")])
    client.publish(today="2024-05-20")
    (default,) = read_xml(client.link().content).values()
    assert [each["title"] for each in default["mail-basket"]] == ["Product 01", "Milk, whole"]
