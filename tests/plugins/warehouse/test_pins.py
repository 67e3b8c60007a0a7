"""Pins from queries, tables in files and files of scopes: staged, and built from what was staged."""

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.errors import BadInput, ConfigError
from include.pins.build import build_pins
from include.publishers.senders import Pins
from warehouse.pins import pull_pins

WINDOW = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"}
HEAD = "model,target_type,target_identity,pin_type,pin_identity,pin_criteria,nobody_asked\n"


def line(product: str) -> str:
    pin = {"pin_type": "item", "pin_identity": "p9"}
    return (
        json.dumps({"model": "m", "target_type": "item", "target_identity": product, "pin_definitions": [pin]}) + "\n"
    )


def pull(context: Any, run: Path, settings: Pins, window: Any = None, files: str | None = None) -> list[str]:
    """Pull and build; gives the targets, in order."""
    pull_pins(settings, run, context, "shop", window, files)
    build_pins(run, settings)
    lines = [each for path in sorted((run / "chunks").glob("*")) for each in path.read_text().splitlines()]
    return [json.loads(each)["target_identity"] for each in lines]


def test_scopes_in_files_are_staged_as_they_are(context: Any, tmp_path: Path) -> None:
    (tmp_path / "b-2026-03-01.ndjson").write_text(line("b") + line("c"))
    (tmp_path / "a-2026-03-01.jsonl.gz").write_bytes(gzip.compress(line("a").encode()))
    settings = Pins(files=f"{tmp_path}/?-{{{{ window_start | ds }}}}.ndjson")
    assert pull(context, tmp_path / "run", settings, WINDOW) == ["b", "c"]
    found = pq.read_table(tmp_path / "run/lines.parquet").to_pylist()
    assert [(each["file"], each["line"]) for each in found] == [
        (f"{tmp_path}/b-2026-03-01.ndjson", 1),
        (f"{tmp_path}/b-2026-03-01.ndjson", 2),
    ]
    assert pull(context, tmp_path / "run", settings, files=f"{tmp_path}/a*.jsonl.gz") == ["a"]
    assert not (tmp_path / "run/.files").exists()


def test_scopes_in_objects_of_a_store(context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.io import store
    from fsspec.implementations.memory import MemoryFileSystem

    bucket = MemoryFileSystem()
    monkeypatch.setitem(store._STORE_CACHE, "memory", store.ObjectStore("memory", None, bucket))
    bucket.pipe({f"/pinned/in/{name}.ndjson.gz": gzip.compress((line(name) * 2).encode()) for name in ("b", "a")})
    settings = Pins(files="memory://pinned/in/*.ndjson.gz")
    assert pull(context, tmp_path / "run", settings) == ["a", "b"]
    rejects = pq.read_table(tmp_path / "run/rejects.parquet").to_pylist()
    assert [(each["file"], each["line"], each["reason"]) for each in rejects] == [
        ("memory://pinned/in/a.ndjson.gz", "2", "duplicate"),
        ("memory://pinned/in/b.ndjson.gz", "2", "duplicate"),
    ]
    bucket.rm("/pinned", recursive=True)


def test_tables_in_files_and_queries_are_rows(shop: sqlite3.Connection, context: Any, tmp_path: Path) -> None:
    (tmp_path / "pins.csv").write_text(
        HEAD + 'm,item,b,item,1,,x\nm,item,a,criteria,,"{""k"": [1]}",x\nm,item,b,item,2,,\n'
    )
    settings = Pins(files=f"{tmp_path}/pins.csv")
    assert pull(context, tmp_path / "run", settings) == ["b", "a"]
    assert [each["rows"] for each in pq.read_table(tmp_path / "run/lines.parquet").to_pylist()] == [2, 1]
    shop.execute("CREATE TABLE pinned (product TEXT, companion TEXT)")
    shop.execute("INSERT INTO pinned VALUES ('q', '1')")
    sql = """SELECT 'm' AS model, 'item' AS target_type, product AS target_identity, 'item' AS pin_type,
             companion AS pin_identity FROM pinned"""
    assert pull(context, tmp_path / "run", Pins(connection="shop", sql=sql)) == ["q"]
    assert pull(context, tmp_path / "run", Pins(connection="shop", sql=sql), files=f"{tmp_path}/pins.csv") == ["b", "a"]


def test_what_a_former_try_left_is_gone(context: Any, tmp_path: Path) -> None:
    for name in ("one.ndjson", "two.ndjson"):
        (tmp_path / name).write_text(line(name))
    run = tmp_path / "run"
    assert len(pull(context, run, Pins(files=f"{tmp_path}/*.ndjson"))) == 2
    assert pull(context, run, Pins(files=f"{tmp_path}/two.ndjson")) == ["two.ndjson"]
    with pytest.raises(BadInput, match=r"publisher shop: files: .*there is no such file"):
        pull_pins(Pins(files=f"{tmp_path}/none*.ndjson"), run, context, "shop", None)
    with pytest.raises(BadInput):  # nothing is staged, so nothing is built
        build_pins(run, Pins(files="x"))


def test_mistakes_are_named(context: Any, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("model,target_type\nm,all\n")
    with pytest.raises(BadInput, match="pin_type"):
        pull_pins(Pins(files=f"{tmp_path}/few.csv"), tmp_path / "run", context, "shop", None)
    with pytest.raises(ConfigError, match="window_start"):
        pull_pins(Pins(files="/x/{{ window_start | ds }}.ndjson"), tmp_path / "run", context, "shop", None)
    with pytest.raises(ConfigError, match="ds"):
        pull_pins(Pins(files="/x/y.ndjson"), tmp_path / "run", context, "shop", None, "/x/{{ ds }}.ndjson")
