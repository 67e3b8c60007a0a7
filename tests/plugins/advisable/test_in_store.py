"""Interactions whose staging store is S3 and whose ledger is in Postgres: as in a folder, to the byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisable.sending import send_units
from advisable.transfers import send_transfers
from include.ledger import FILE, Ledger, Unsettled, sqlite_ledger
from ledgers import open_ledger
from tests.object_store import contents

from .conftest import Box, build, build_pairs, interactions, rows_of, settle


@pytest.fixture
def season(box: Box) -> Callable[[Path, Ledger], tuple[dict[str, str], Any]]:
    """Two runs of views that overlap, the first with a lost answer; then transfers. Files, and what the vendor has."""

    def season(root: Path, ledger: Ledger) -> tuple[dict[str, str], Any]:
        box.forget()
        settings = interactions(transfers={"files": "none"})
        folder = root / "shop" / "interactions"
        build(folder / "one" / "rows", rows_of(9), settings)
        build(folder / "two" / "rows", [*rows_of(14), (None, "i", 1, None, None, None, None, None)], settings)
        build_pairs(folder / "two" / "transfers", [(f"u{n}", f"c{n}") for n in range(8)], settings)
        box.fault("reset_after_store")
        with box.client(batch_size=6) as client:
            with pytest.raises(Unsettled):
                send_units(client, ledger, "shop", folder / "one" / "rows", settings, "test")
            assert any("/claims/" in name for name in contents(folder))
            settle(ledger, box)
            for run in ("one", "two"):
                send_units(client, ledger, "shop", folder / run / "rows", settings, "test")
            assert send_transfers(client, folder / "two" / "transfers", settings, "test")["absent"] == 1
        stored = box.stored()
        assert (len(stored), stored.total()) == (14, 14)
        names = {name: sha for name, sha in contents(folder).items() if not name.endswith("/sent.json")}
        return names, stored

    return season


def test_interactions_below_an_object_store_are_those_below_a_folder(
    season: Callable[[Path, Ledger], tuple[dict[str, str], Any]],
    tmp_path: Path,
    s3_staging: Path,
    s3_ledger: str,
) -> None:
    in_folder = season(tmp_path, sqlite_ledger(tmp_path / FILE))
    in_store = season(s3_staging, open_ledger())
    assert in_store[0].pop("ledger.json") != in_folder[0].get("ledger.json")
    assert in_store == in_folder
