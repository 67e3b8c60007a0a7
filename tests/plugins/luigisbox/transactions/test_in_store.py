"""Purchases whose staging store is S3 and whose ledger is in Postgres: as in a folder, to the byte."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.extract import write_rows
from include.ledger import Unsettled
from include.publishers.senders import Transactions
from include.staging import read_json
from include.transactions.__main__ import main
from include.transactions.build import build_transactions
from luigisbox.operators import UploadTransactionsOperator
from tests.object_store import contents

NOW = datetime(2026, 4, 1, tzinfo=UTC)
NAMES = ["session_id", "identity", "user_id", "created_at"]
ROWS = [(f"s{n // 2:03}", f"p{n}", "u1", f"2026-03-{n % 28 + 1:02}T{n % 24:02}:00:00Z") for n in range(160)]
BOOK = "shop/transactions"


def build(run: Path, rows: list[tuple[Any, ...]]) -> Path:
    write_rows([[*rows, (None, "p", None, None)]], NAMES, NAMES, [], run / "raw", 0)
    settings = Transactions(connection="w", sql="SELECT 1", max_file_bytes=7_000, max_age_weeks=None)
    build_transactions(run, settings, now=NOW)
    return run


def send(run: Path) -> dict[str, Any]:
    context: Any = {"ti": SimpleNamespace(dag_id="dag", task_id="upload"), "run_id": "manual__1"}
    return UploadTransactionsOperator(task_id="upload", publisher="shop", run=run.as_uri()).execute(context)


def season(root: Path, shop: Any, settle: Callable[[str], None]) -> tuple[dict[str, str], list[Any]]:
    """A small run, an answer that is lost, a run with the rest and with what has changed; files, and what was sent."""
    requests = shop.box.requests
    shop.box.forget()
    few = build(root / BOOK / "few", ROWS[4:44])
    shop.box.fault("reset_after_store")
    with pytest.raises(Unsettled) as caught:
        send(few)
    (lost,) = caught.value.entries
    settle(lost.sha256)
    everything = build(root / BOOK / "all", [*ROWS, ("s007", "late", "u1", "2026-03-16T10:00:00Z")])
    figures = send(everything)
    assert {name: figures[name]["sessions"] for name in ("sent", "already_sent", "changed", "unknown")} == {
        "sent": 60,
        "already_sent": 19,
        "changed": 1,
        "unknown": 0,
    }
    files = {
        name: sha
        for name, sha in contents(root / BOOK).items()
        if name.split("/")[-1] not in ("ledger.json", "sent.json")
    }
    assert {"all/changed.parquet", "all/rest/transactions-00000-000.json"} <= set(files)
    return files, [(each["status"], each.get("sha256"), each.get("bytes")) for each in requests()]


def test_purchases_below_an_object_store_are_those_below_a_folder(
    shop: Any,
    staging: Path,
    s3_staging: Path,
    s3_ledger: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    def settle(sha256: str) -> None:
        at = ["--publisher", "shop", *database]
        if database:
            assert main(["ledger", "--publisher", "shop"]) == 1
            assert "--database" in capsys.readouterr().err
        assert main(["ledger", *at]) == 0
        assert "of unknown fate" in capsys.readouterr().out
        assert main(["settle", *at, "--sha256", sha256[:12], "--as", "confirmed", "--why", "seen"]) == 0

    database: list[str] = []
    with monkeypatch.context() as local:
        local.setenv("STAGING_URI", staging.as_uri())
        local.delenv("LEDGER_CONNECTION")
        in_folder = season(staging, shop, settle)
    database = ["--database", s3_ledger]
    assert season(s3_staging, shop, settle) == in_folder
    assert read_json(s3_staging / BOOK / "ledger.json")["change"] > 0
