"""A batch in an object store: parsed, judged, accepted and reconciled to the same bytes as in a local folder."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from include.errors import NotReady
from include.publishers.batches import Coverage
from include.recommendations import batches, coverage, freshness, index, stretches
from include.recommendations.parse import parse_batch
from include.staging import MANIFEST, sha256_file, write_json
from tests.include.recommendations.documents import (
    User,
    batch_of,
    json_array,
    json_lines,
    products,
    settings,
    user_set,
    xml,
)

USERS = [*(User(f"u{n}", {"t": products(n % 4, start=n)}, "2026-11-20T10:00:00") for n in range(400)), User("default")]


def parsed(root: Path, raw: bytes, suffix: str, processes: int) -> tuple[Path, dict[str, Any]]:
    batch = batch_of(batches.batch_folder(root, "shop", "x"), raw, suffix)
    write_json(batch / "fetch.json", {"bytes": len(raw), "headers": {}, "finished_at": "2026-11-20T11:00:00+00:00"})
    index.register(batch)
    manifest = parse_batch(batch, settings(), processes=processes)
    assert [sha256_file(batch / part["name"]) for part in manifest["parts"]] == [
        part["sha256"] for part in manifest["parts"]
    ]
    return batch, manifest


@pytest.mark.parametrize(
    ("write", "suffix", "processes"), [(xml, "xml", 2), (json_lines, "json", 1), (json_array, "json", 1)]
)
def test_parts_are_the_same_in_every_format(
    tmp_path: Path,
    s3_staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., bytes],
    suffix: str,
    processes: int,
) -> None:
    monkeypatch.setattr(stretches, "STRETCH", 20_000)
    raw = write(USERS)
    (here, manifest), (there, same) = (parsed(root, raw, suffix, processes) for root in (tmp_path, s3_staging))
    assert same == manifest
    for name in (MANIFEST, "default.parquet"):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_verdict_and_coverage_are_the_same(tmp_path: Path, s3_staging: Path) -> None:
    found = []
    for root in (tmp_path, s3_staging):
        batch, _ = parsed(root, xml(USERS), "xml", 1)
        now, before = user_set(root, "now", ["u1", "u2", "u3", "new"]), user_set(root, "before", ["u1", "u9"])
        verdict = freshness.judge(batch, now, before, batches.latest(root, "shop"))
        batches.accept(root, "shop", batch, "now", verdict)
        again = freshness.judge(batch, now, before, batches.latest(root, "shop"))
        figures = coverage.reconcile(batch, now, settings(), Coverage())
        recipients = [batch / "for-now" / "recipients" / f"part-{part:03d}.parquet" for part in range(3)]
        found.append((verdict, again, figures, [sha256_file(path) for path in recipients]))
    assert found[0] == found[1]
    assert "Fresh: this batch was accepted for now before." in found[1][1].sentence


def test_what_came_is_not_what_was_fetched(s3_staging: Path) -> None:
    """The upload of another writer, or a store that lost some: the hash tells."""
    batch = batch_of(batches.batch_folder(s3_staging, "shop", "x"), xml(USERS))
    write_json(batch / "fetch.json", {"bytes": len(xml(USERS)), "sha256": "f" * 64})
    with pytest.raises(NotReady, match=r"not the file of fetch\.json"):
        parse_batch(batch, settings())
    assert not (batch / MANIFEST).exists()


def test_batches_that_come_at_once_on_many_machines(s3_staging: Path) -> None:
    folder, names = batches.batches_folder(s3_staging, "shop"), [f"{number:02d}" for number in range(6)]
    with ThreadPoolExecutor(6) as workers:
        list(workers.map(index.register, [folder / name for name in names]))
    assert sorted(index.entries(folder)) == names


def test_old_batches_go(s3_staging: Path) -> None:
    folder, names = batches.batches_folder(s3_staging, "shop"), [f"{n:02d}" for n in range(batches.KEPT + 1)]
    for name in names:
        index.register(folder / name)
        write_json(folder / name / MANIFEST, {})
    assert batches.prune(s3_staging, "shop") == ["00"]
    assert sorted(index.entries(folder)) == names[1:]
    assert [(folder / name / MANIFEST).exists() for name in names[:2]] == [False, True]
