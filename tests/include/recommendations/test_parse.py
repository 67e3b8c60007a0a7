"""A batch becomes parts: same rows in every format and by every way, the books balance."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include.errors import BadInput, NotReady
from include.recommendations import stretches
from include.recommendations.parse import parse_batch
from include.recommendations.rows import SCHEMA, user_key
from include.staging import read_json
from tests.include.recommendations.documents import (
    Product,
    User,
    batch_of,
    json_array,
    json_lines,
    products,
    read_parts,
    settings,
    xml,
)

WRITERS: dict[str, tuple[Callable[..., bytes], str]] = {
    "xml": (xml, "xml"),
    "lines": (json_lines, "json"),
    "array": (json_array, "json"),
}
_UNPRINTABLE = "".join(map(chr, [*range(0x20), 0x7F, 0xFFFE, 0xFFFF])).replace("\t", "").replace("\n", "")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=_UNPRINTABLE), max_size=12)
ids = texts.filter(lambda text: text == text.strip() and text != "")
a_product = st.builds(Product, texts | st.none(), texts | st.just("https://x/?recommendation_id=1"), texts, st.none())
a_user = st.builds(
    User,
    ids | st.sampled_from(["default", "a", "b"]),
    st.dictionaries(ids, st.lists(a_product, max_size=4), max_size=3),
    st.sampled_from([None, "2026-11-20T10:00:00"]),
)


def expected_rows(users: list[User], timed: bool) -> list[dict[str, Any]]:
    """What the rows must be, computed in the plainest way; each user's first appearance counts."""
    first: dict[str, User] = {}
    for user in users:
        first.setdefault(user.id, user)
    moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
    return [
        {
            "auth_user_id": user.id,
            "recommendation_type": kind,
            "rank": rank,
            "item_id": product.id or None,
            "url": product.url or None,
            "title": product.title or None,
            "image_link": product.image_link or None,
            "updated_at": moment if timed and user.updated_at else None,
        }
        for user in first.values()
        for kind, own in user.data.items()
        for rank, product in enumerate(own, 1)
    ]


def without_recommendation_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "recommendation_id"} for row in rows]


@pytest.mark.parametrize("writer", WRITERS)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(users=st.lists(a_user, min_size=1, max_size=8))
def test_whatever_comes_in_comes_out(writer: str, users: list[User]) -> None:
    write, suffix = WRITERS[writer]
    with tempfile.TemporaryDirectory() as folder:
        batch = batch_of(Path(folder), write(users), suffix)
        manifest = parse_batch(batch, settings())
        rows = without_recommendation_id(read_parts(batch))
    order = {user.id: number for number, user in reversed(list(enumerate(users)))}
    assert sorted(rows, key=lambda row: order[row["auth_user_id"]]) == expected_rows(users, timed=writer == "xml")
    books = manifest["books"]
    assert books["users_in_file"] == len(users)
    assert len(users) == sum(books[key] for key in ("default", "empty", "duplicates", "personalised"))
    assert books["duplicates"] == len(users) - len({user.id for user in users})
    assert manifest["rows"] == sum(part["rows"] for part in manifest["parts"])


@pytest.mark.parametrize("writer", WRITERS)
def test_each_user_lies_in_the_user_key_its_hash(tmp_path: Path, writer: str) -> None:
    write, suffix = WRITERS[writer]
    users = [User(f"user-{n}") for n in range(50)]
    batch = batch_of(tmp_path, write(users), suffix)
    manifest = parse_batch(batch, settings(parts=4))
    for number, part in enumerate(manifest["parts"]):
        table = pq.read_table(batch / part["name"])
        assert table.schema.equals(SCHEMA)
        assert {user_key(name) % 4 for name in table["auth_user_id"].to_pylist()} == {number}
        assert (table.num_rows, part["users"]) == (part["rows"], len(set(table["auth_user_id"].to_pylist())))


def test_the_manifest_counts_types_times_and_problems(tmp_path: Path) -> None:
    users = [
        User("a", {"basket": products(2), "other": products(1)}, "2026-11-20T10:00:00"),
        User("b", {"basket": [*products(1), *products(1)]}, None),
        User("c", {"basket": [Product(None, "https://x/", None, None)]}, "2026-11-21T10:00:00+02:00"),
        User("d", {}),
        User("a", {"basket": products(5)}),
        User("default", {"other": products(3)}),
    ]
    manifest = parse_batch(batch_of(tmp_path, xml(users)), settings(updated_at_time_zone="Europe/Prague"))
    assert manifest["types"] == {"basket": {"users": 3, "rows": 5}, "other": {"users": 1, "rows": 1}}
    assert manifest["updated_at"] == {
        "min": "2026-11-20T09:00:00.000000+00:00",
        "max": "2026-11-21T08:00:00.000000+00:00",
        "missing": 1,
    }
    assert manifest["books"] == {"users_in_file": 6, "default": 1, "empty": 1, "duplicates": 1, "personalised": 3}
    assert manifest["default"] == {"name": "default.parquet", "rows": 3, "types": ["other"]}
    assert manifest["problems"] == {
        "no_recommendation_id": 1,
        "no_item_id": 1,
        "no_url": 0,
        "no_title": 1,
        "no_image": 1,
        "repeated_products": 1,
        "ignored_fields": 0,
    }


@pytest.mark.parametrize(
    ("url", "recommendation_id"),
    [
        ("https://x/?recommendation_id=abc", "abc"),
        ("https://x/?a=1&recommendation_id=a%2Fb+c&z=%20#top", "a%2Fb+c"),
        ("https://x/?a=1;recommendation_id=2#recommendation_id=3", "2"),
        ("https://x/recommendation_id=1?x=2", None),
        ("https://x/?my_recommendation_id=1", None),
        ("https://x/#?recommendation_id=1", None),
        ("https://x/?recommendation_id=", None),
        ("https://x/?recommendation_id=&recommendation_id=2", "2"),
        ("https://x/?q=žluť&recommendation_id=ž", "ž"),
        ("", None),
    ],
)
@pytest.mark.parametrize("beside", ["https://x/?recommendation_id=plain", "https://x/#none"])
def test_the_recommendation_id_is_read_and_the_url_left_alone(
    tmp_path: Path, url: str, recommendation_id: str | None, beside: str
) -> None:
    users = [User("a", {"t": [Product("p", url), Product("q", beside)]})]
    batch = batch_of(tmp_path, xml(users))
    parse_batch(batch, settings())
    row = read_parts(batch)[0]
    assert (row["url"], row["recommendation_id"]) == (url or None, recommendation_id)


def test_two_blocks_of_one_type_are_one_list(tmp_path: Path) -> None:
    doubled = xml([User("a", {"t": products(2)})]).replace(
        b"</recommendations>",
        b"<recommendation><recommendation_type>t</recommendation_type><results><result><id>x</id><url/><title/>"
        b"<image_link/></result></results></recommendation></recommendations>",
    )
    batch = batch_of(tmp_path, doubled)
    manifest = parse_batch(batch, settings())
    assert [(row["rank"], row["item_id"]) for row in read_parts(batch)] == [(1, "p1"), (2, "p2"), (3, "x")]
    assert manifest["types"] == {"t": {"users": 1, "rows": 3}}


def pretty(raw: bytes) -> bytes:
    return raw.replace(b"><", b">\n    <")


def one_line(raw: bytes) -> bytes:
    return raw.replace(b"\n", b"")


def reordered(raw: bytes) -> bytes:
    return re.sub(rb"(<id>.*?</id>)(<url>.*?</title>)", rb"\2\1", raw)


def commented(raw: bytes) -> bytes:
    return raw.replace(b"<data>", b"<!-- </user> --><data>") + b"<!-- the end -->"


def with_cdata(raw: bytes) -> bytes:
    return raw.replace(b"Title 1", b"<![CDATA[</user><user>]]>")


@pytest.mark.parametrize("change", [pretty, one_line, reordered, commented, with_cdata])
def test_layout_of_the_xml_does_not_matter(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    users = [User(f"user-{n}") for n in range(20)]
    plain, changed = batch_of(tmp_path / "plain", xml(users)), batch_of(tmp_path / "changed", change(xml(users)))
    parse_batch(plain, settings())
    parse_batch(changed, settings())
    rows = [{**row, "title": row["title"].replace("Title 1", "</user><user>")} for row in read_parts(plain)]
    assert [{**row, "title": row["title"].replace("Title 1", "</user><user>")} for row in read_parts(changed)] == rows


@pytest.mark.parametrize(
    "style",
    [
        {"indent": 2},
        {"separators": (",", ":")},
        {"sort_keys": True, "separators": (" ,\n", "\t: ")},
        {"ensure_ascii": False},
    ],
)
def test_layout_of_the_json_does_not_matter(tmp_path: Path, style: dict[str, Any]) -> None:
    users = [User(f'"}}}}, {{ user-{n}', {'t"]}},{': products(2)}) for n in range(20)]
    plain, changed = batch_of(tmp_path / "a", json_lines(users), "json"), tmp_path / "b"
    batch_of(changed, json_array(users, **style), "json")
    first, second = parse_batch(plain, settings()), parse_batch(changed, settings())
    assert read_parts(changed) == read_parts(plain)
    assert first["books"] == second["books"]


def test_unknown_fields_of_a_product_are_left_out_and_counted(tmp_path: Path) -> None:
    raw = xml([User("a")]).replace(b"</result>", b"<price>3</price><brand/></result>")
    assert parse_batch(batch_of(tmp_path / "x", raw), settings())["problems"]["ignored_fields"] == 4
    content = User("a").as_dict()
    content["data"]["mail-basket"][0]["price"] = {"now": 3}
    raw = json.dumps(content).encode()
    assert parse_batch(batch_of(tmp_path / "j", raw, "json"), settings())["problems"]["ignored_fields"] == 1


@pytest.mark.parametrize("missing", ["title", "image_link", "url", "id"])
@pytest.mark.parametrize("null", [True, False])
def test_a_field_may_be_missing_or_null(tmp_path: Path, missing: str, null: bool) -> None:
    content = User("a").as_dict()
    for product in content["data"]["mail-basket"]:
        del product[missing]
        if null:
            product[missing] = None
    batch = batch_of(tmp_path, json.dumps(content).encode(), "json")
    manifest = parse_batch(batch, settings())
    column = {"id": "item_id"}.get(missing, missing)
    assert [row[column] for row in read_parts(batch)] == [None, None]
    assert manifest["problems"]["ignored_fields"] == 0


@pytest.mark.parametrize("writer", WRITERS)
def test_every_way_of_reading_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 20_000)
    write, suffix = WRITERS[writer]
    raw = write([User(f"user-{n % 300}", {"t": products(n % 4, start=n)}) for n in range(400)])
    ways = {"one": 1, "two": 2, "exactly": 1}
    found = {}
    for way, processes in ways.items():
        batch = batch_of(tmp_path / way, raw, suffix)
        if way == "exactly":
            monkeypatch.setattr(stretches, "_cut", _not_plain)
        manifest = parse_batch(batch, settings(), processes=processes)
        found[way] = (manifest, [(batch / part["name"]).read_bytes() for part in manifest["parts"]])
        assert not list(batch.glob(".*"))
    assert found["one"] == found["two"] == found["exactly"]
    assert found["one"][0]["books"]["duplicates"] == 100


def _not_plain(job: stretches.Job) -> None:
    raise stretches.Odd("look closely")


@pytest.mark.parametrize("broken", [3, 26])
def test_what_either_process_finds_is_said_with_its_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 9_000)
    raw = xml([User(f"user-{n:02d}") for n in range(30)])
    name = f"user-{broken:02d}".encode()
    offset = raw.index(name)
    with pytest.raises(BadInput, match=f"byte {offset + len(name) + 2}: not XML"):
        parse_batch(batch_of(tmp_path, raw.replace(name, name + b"</")), settings(), processes=2)


def test_a_dead_second_process_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches.sys, "executable", "/bin/false")
    batch = batch_of(tmp_path, xml([User("a")]))
    with pytest.raises(ChildProcessError, match="ended with 1"):
        parse_batch(batch, settings(), processes=2)
    assert [path.name for path in batch.iterdir()] == ["raw.xml"]


@pytest.mark.parametrize(
    "changed", [{"parts": 2}, {"parts": 5}, {"updated_at_time_zone": "Europe/Prague"}, {"format": "json"}]
)
def test_changed_settings_make_the_same_as_a_new_parse(tmp_path: Path, changed: dict[str, Any]) -> None:
    users = [User(f"u{number}", updated_at="2026-11-20T09:00:00") for number in range(30)]
    batches = [batch_of(tmp_path / name, xml(users)) for name in ("again", "new")]
    parse_batch(batches[0], settings())
    for batch in batches:
        if "format" in changed:
            batch_of(batch, json_lines(users), "json")
    again, new = (parse_batch(batch, settings(**changed)) for batch in batches)
    assert again == new == read_json(batches[0] / "manifest.json")
    files = [sorted(path.name for path in batch.rglob("*")) for batch in batches]
    assert files[0] == files[1]
    assert read_parts(batches[0]) == read_parts(batches[1])


def test_a_whole_manifest_is_left_alone(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, xml([User("a")]))
    manifest = parse_batch(batch, settings())
    shutil.rmtree(batch / "recommendations")
    assert parse_batch(batch, settings(poll_seconds=9)) == manifest


def test_a_part_may_be_empty(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, xml([User("a")]))
    manifest = parse_batch(batch, settings(parts=64))
    assert [part["rows"] for part in manifest["parts"]].count(0) == 63
    assert len(list((batch / "recommendations").iterdir())) == 64
    assert not (batch / "default.parquet").exists()
    assert manifest["default"] is None


def test_a_file_shorter_than_announced_is_not_ready(tmp_path: Path) -> None:
    raw = json_lines([User("a"), User("b")])
    batch = batch_of(tmp_path, raw[: raw.index(b"\n") + 1], "json")
    (batch / "fetch.json").write_text(json.dumps({"bytes": len(raw), "content_length": None, "headers": {}}))
    with pytest.raises(NotReady, match=f"bytes of fetch.json says {len(raw)}"):
        parse_batch(batch, settings())


def test_nothing_fetched(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"raw\.xml"):
        parse_batch(tmp_path, settings())
