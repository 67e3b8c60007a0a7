"""Runs of an audience, staged as the extraction stages them."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.audience.build import build_audience
from include.extract import write_rows
from include.publishers.audiences import Audience

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Built = Callable[..., Path]


@pytest.fixture(params=["folder", "store"])
def root(request: pytest.FixtureRequest) -> Path:
    """An empty staging store of either kind."""
    store: Path = request.getfixturevalue({"folder": "staging", "store": "s3_staging"}[request.param])
    return store


@pytest.fixture
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Built:
    """Stage ids (or pairs of id and recipient) and build them; gives the folder of the run."""
    place = request.getfixturevalue("root") if "root" in request.fixturenames else tmp_path

    def build(name: str, ids: Iterable[Any], as_of: datetime = NOON, parts: int = 1, **settings: Any) -> Path:
        run = place / "shop" / "audience" / name
        rows = [one if isinstance(one, tuple) else (one, None) for one in ids]
        write_rows([rows], ["auth_user_id", "recipient"], ["auth_user_id"], ["recipient"], run / "raw", 0)
        build_audience(run, Audience(**settings), as_of, parts)
        return run

    return build
