"""A batch read from profiles into an object store is the one that is read into a folder."""

from pathlib import Path
from typing import Any

import pytest

from include.staging import read_json, sha256_file, to_path
from tests.plugins.klaviyo.batches import Account, Played, Shop

FILES = ("raw.json", "digests.parquet", "problems.parquet", "manifest.json", "default.parquet")


def waited(shop: Shop, publication: int, run: str, users: int) -> dict[str, Any]:
    shop.accepted(run, range(users))
    played = Played(True, meanwhile=lambda _: shop.account.publish(publication), run_id=run)
    result = played.run()
    assert len(played.deferrals) == 1
    folder = to_path(result["uri"])
    verdict, parts = read_json(folder / "freshness.json"), read_json(folder / "manifest.json")["parts"]
    names = (*FILES, *(part["name"] for part in parts))
    return {
        "figures": [result[name] for name in ("outcome", "sha256", "rows", "users", "bytes")],
        "verdict": verdict["sentence"],
        "known": read_json(folder / "fetch.json")["profiles"],
        **{name: sha256_file(folder / name) for name in names},
    }


def test_the_same_batches(
    shop: Shop, s3_staging: Path, tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for root in (shop.root, s3_staging):
        monkeypatch.setenv("STAGING_URI", root.as_uri())
        account.properties.clear()
        own = Shop(root, tmp_path / "publishers", account, monkeypatch)
        found.append([waited(own, 1, "one", 20), waited(own, 2, "two", 19)])
        assert not list((root / "shop" / "reading").glob("*/*/*"))
    assert found[0] == found[1]
    assert found[1][1]["verdict"].startswith("Fresh: 19 of 19 profiles")
