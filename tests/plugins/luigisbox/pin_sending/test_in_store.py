"""Pins whose staging store is S3: as in a folder, to the byte."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from include.errors import BadInput
from include.pins.build import build_pins
from include.pins.changes import DIFF
from include.pins.newest import one_sender
from include.pins.results import RESULTS
from include.publishers.senders import Pins
from include.sandbox.server import running
from luigisbox.client import Settings
from luigisbox.pin_sending import send_pins
from luigisbox.pins import PinClient
from tests.object_store import contents
from vendor_http.retry import Retry
from warehouse.pins import pull_pins

NOW = datetime(2026, 4, 1, tzinfo=UTC)
HEAD = "model,target_type,target_identity,pin_type,pin_identity\n"


def scope(name: str, widget: Any = None) -> str:
    pin = {"pin_type": "item", "pin_identity": "p9", "position": 1, "widget_id": widget}
    return json.dumps({"model": "m", "target_type": "item", "target_identity": name, "pin_definitions": [pin]}) + "\n"


def build(run: Path, files: Path, **settings: Any) -> tuple[Path, Pins]:
    from airflow.sdk import BaseOperator

    context: Any = {"task": BaseOperator(task_id="any"), "params": {}}
    wanted = Pins(
        **{"files": str(files), "scopes_per_call": 8, "skip_bad": True, "refuse_reject_percent": 50, **settings}
    )
    pull_pins(wanted, run, context, "shop", None)
    build_pins(run, wanted)
    return run, wanted


def season(root: Path, client: PinClient, given: Path) -> tuple[dict[str, str], Any]:
    """Scopes of a file with refused lines; a part of them as rows, by a sync that deletes; an older run. The files."""

    def send(run: tuple[Path, Pins], mode: Any, strategy: Any, at: datetime = NOW, **more: Any) -> dict[str, Any]:
        with one_sender(folder, at, run[0]) as newest:
            return send_pins(client, *run, newest, mode=mode, conflict_strategy=strategy, **more)

    folder = root / "shop" / "pins"
    first = build(folder / "first", given / "*.ndjson.gz")
    assert send(first, "create", "raise")["applied"] == 19
    assert send(first, "create", "raise")["calls"] == 1  # the refused line alone is sent again
    rows = build(folder / "rows", given / "rows.csv", delete=True)
    assert send(rows, "sync", "override", dry_run=True)["delete"] == 17
    assert send(rows, "sync", "override")["deleted"] == 17
    with pytest.raises(BadInput, match="newer ones, as of 2026-04-01"):
        send(first, "sync", "override", NOW - timedelta(days=1))
    of_ids = [folder / "rows" / name for name in (DIFF, RESULTS)]
    tables = [pq.read_table(BytesIO(path.read_bytes())).drop_columns("scope_id").to_pylist() for path in of_ids]
    others = {name: sha for name, sha in contents(folder).items() if folder / name not in of_ids}
    return others, tables


@pytest.mark.usefixtures("s3_ledger")
def test_pins_below_an_object_store_are_those_below_a_folder(tmp_path: Path, s3_staging: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    lines = [scope(f"p{number}", 7 if number == 11 else None) for number in range(20)]
    (given / "a.ndjson.gz").write_bytes(gzip.compress("".join([*lines[:10], "{", *lines[:1]]).encode()))
    (given / "b.ndjson.gz").write_bytes(gzip.compress("\n".join(lines[10:]).encode()))
    (given / "rows.csv").write_text(
        HEAD + "m,item,p1,item,p9\nm,item,p2,item,p8\nm,item,p2,item,p7\nm,item,new,item,p9\n"
    )
    found = []
    with running(tmp_path / "sandbox") as vendor:
        client = PinClient(Settings(vendor.url, vendor.tracker, vendor.private_key), Retry(sleep=lambda _: None))
        for root in (s3_staging, tmp_path / "staging"):
            requests.delete(f"{vendor.url}/_sandbox/pins").raise_for_status()
            found.append(season(root, client, given))
    assert found[1][0].pop(".sending.lock")
    assert found[0] == found[1]
