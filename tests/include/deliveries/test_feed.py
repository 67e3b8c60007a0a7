"""The feed holds a line for every recipient, and every text as it came."""

import csv
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from include import objects
from include.deliveries import feed
from include.deliveries.feed import finish, write_feed_part
from include.publishers.batches import Coverage
from include.publishers.deliveries import FeedDelivery
from include.recommendations import coverage
from include.recommendations.parse import parse_batch
from include.staging import read_json, sha256_file, to_path
from tests.include.recommendations.documents import Product, User, batch_of, json_lines, products, settings, user_set

NASTY = 'Ťažký "kôň", <b>&amp;\u2028 \U0001f600\n\r\t\\ ;'
NASTY_URL = 'https://x/%C5%BE?q=a%20b+c&amp;x="1"&recommendation_id=ž%2F1&z=,\'#top'


def delivered(root: Path, users: list[User], ids: list[str], parts: int = 3, **delivery: Any) -> dict[str, Any]:
    batch = batch_of(root / "shop" / "batches" / "x", json_lines(users), "json")
    parse_batch(batch, settings(parts=parts))
    listed = user_set(root, "now", ids, [f'"{name}",@x' for name in ids])
    coverage.reconcile(batch, listed, settings(), Coverage())
    wanted = FeedDelivery.model_validate({"name": "feed", "kind": "feed", **delivery})
    out = root / "out"
    figures = [write_feed_part(batch, batch / "for-now", part, out, wanted) for part in range(parts)]
    manifest = finish(out, figures)
    assert read_json(out / "manifest.json") == manifest
    for file in manifest["files"]:
        assert sha256_file(to_path(file["uri"])) == file["sha256"]
    return manifest


def lines(root: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted((root / "out").glob("*.jsonl")) for line in path.read_bytes().splitlines()
    ]


def table(root: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in sorted((root / "out").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as handle:
            rows += csv.DictReader(handle)
    return rows


def test_every_text_survives_byte_for_byte(tmp_path: Path) -> None:
    product = Product(NASTY, NASTY_URL, NASTY, NASTY_URL)
    manifest = delivered(tmp_path, [User("ž", {NASTY: [product]})], ["ž"])
    assert lines(tmp_path) == [
        {
            "recipient": '"ž",@x',
            "auth_user_id": "ž",
            "personalised": True,
            "recommendations": {NASTY: [product.as_dict()]},
        }
    ]
    row = {"recipient": '"ž",@x', "recommendation_type": NASTY, "rank": "1", "item_id": NASTY, "url": NASTY_URL}
    assert table(tmp_path) == [row]
    assert (manifest["recipients"], manifest["rows"]) == (1, 1)


@hypothesis_settings(max_examples=20, deadline=None)
@given(
    present=st.dictionaries(st.sampled_from("abcdefgh"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))),
    uploaded=st.lists(st.sampled_from("abcdefghijkl"), unique=True, min_size=1),
    default=st.dictionaries(st.sampled_from("xyz"), st.integers(1, 2)),
    types=st.lists(st.sampled_from("xyz"), unique=True, min_size=1) | st.none(),
    use_default_set=st.booleans(),
)
def test_the_books_of_a_feed_balance(
    present: dict[str, dict[str, int]],
    uploaded: list[str],
    default: dict[str, int],
    types: list[str] | None,
    use_default_set: bool,
) -> None:
    def narrowed(counts: dict[str, int]) -> dict[str, int]:
        return {kind: count for kind, count in counts.items() if count and (types is None or kind in types)}

    everybody = {**present, "default": default}
    users = [User(name, {k: products(n) for k, n in counts.items()}) for name, counts in everybody.items()]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = delivered(root, users, uploaded, 2, use_default_set=use_default_set, recommendation_types=types)
        found = {line["auth_user_id"]: line for line in lines(root)}
        rows = table(root)
    own = {name: narrowed(counts) for name, counts in present.items() if narrowed(counts)}
    instead = narrowed(default) if use_default_set else {}
    assert set(found) == set(uploaded)
    for name, line in found.items():
        counts = {kind: len(block) for kind, block in line["recommendations"].items()}
        assert counts == own.get(name, instead)
        assert line["personalised"] == (name in own)
    personalised = len(own.keys() & set(uploaded))
    without = len(uploaded) - personalised
    assert manifest["recipients"] == len(uploaded)
    assert manifest["personalised"] == personalised
    assert manifest["default"] == (without if instead else 0)
    assert manifest["nothing"] == (0 if instead else without)
    assert manifest["rows"] == len(rows)


def test_a_retry_writes_the_same_bytes(tmp_path: Path) -> None:
    users = [User(f"u{n}") for n in range(30)]
    first = delivered(tmp_path / "1", users, [f"u{n}" for n in range(40)])
    second = delivered(tmp_path / "2", users, [f"u{n}" for n in range(40)])
    assert [file["sha256"] for file in first["files"]] == [file["sha256"] for file in second["files"]]
    assert sorted(path.name for path in (tmp_path / "1" / "out").iterdir()) == [
        "manifest.json",
        *(f"part-{part:03d}.{kind}" for part in range(3) for kind in ("csv", "jsonl")),
    ]


LEAST_PART = 5 << 20
"""Bytes of a part of an upload to S3, at least."""


class Stop(Exception):
    """The delivery dies."""


def test_in_an_object_store_the_same_bytes_and_never_a_torn_file(
    tmp_path: Path, s3_staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a delivery that dies has written is seen by nobody; what was there stays until the new file is whole."""
    users = [User(f"u{n}", {"t": products(12)}) for n in range(3_000)]
    expected = delivered(tmp_path, users, [f"u{n}" for n in range(4_000)], parts=1)
    assert expected["files"][0]["bytes"] > LEAST_PART
    for path in (path for path in (tmp_path / "shop").rglob("*") if path.is_file()):
        (s3_staging / path.relative_to(tmp_path).as_posix()).write_bytes(path.read_bytes())
    batch, out = s3_staging / "shop" / "batches" / "x", s3_staging / "out"
    wanted = FeedDelivery.model_validate({"name": "feed", "kind": "feed"})

    def dying(*_: Any) -> None:
        raise Stop

    def deliver() -> dict[str, Any]:
        return write_feed_part(batch, batch / "for-now", 0, out, wanted)

    with monkeypatch.context() as change:
        change.setattr(objects, "BLOCK_BYTES", LEAST_PART)
        change.setattr(feed._Feed, "write", _until(feed._Feed.write, 3_500, dying))
        with pytest.raises(Stop):
            deliver()
        assert not out.exists()
    files = finish(out, [deliver()])["files"]
    assert [file["sha256"] for file in files] == [file["sha256"] for file in expected["files"]]
    with monkeypatch.context() as change:
        change.setattr(feed._Feed, "write", _until(feed._Feed.write, 3_500, dying))
        with pytest.raises(Stop):
            deliver()
    assert [sha256_file(to_path(file["uri"])) for file in files] == [file["sha256"] for file in files]


def _until(plain: Any, calls: int, then: Any) -> Any:
    count = itertools.count()
    return lambda *arguments: then() if next(count) == calls else plain(*arguments)


@pytest.mark.parametrize("recipients", [20_001])
def test_a_recipient_is_never_split_between_arrow_batches(tmp_path: Path, recipients: int) -> None:
    users = [User(f"u{n}", {"t": products(2)}) for n in range(recipients)]
    manifest = delivered(tmp_path, users, [user.id for user in users], parts=1)
    assert (manifest["personalised"], manifest["rows"]) == (recipients, 2 * recipients)
    assert len({line["auth_user_id"] for line in lines(tmp_path)}) == recipients
