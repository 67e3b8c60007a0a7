"""The campaign watcher in real Airflow: each newsletter starts one run of the DAG campaign, once."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from include.newsletters import Newsletter
from include.staging import PROJECT_ROOT

PUBLISHER = """
audience: {kind: klaviyo, connection: klaviyo, segments: [SEGM01]}
batch: {link: "https://example.com/b.xml"}
deliveries: [{name: ready, kind: asset}]
campaigns: {kind: klaviyo, connection: klaviyo}
"""
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)


def newsletter(name: str, send_at: datetime = LATER) -> Newsletter:
    return Newsletter("klaviyo", name, f"The {name}", send_at)


def wish(*payloads: Any, paused: bool = False) -> dict[str, Any]:
    return {"dag": "campaign_watcher__shop", "asset": "newsletters_shop", "payloads": payloads, "paused": paused}


def watch(home: Path, *wishes: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    (home / "publishers").mkdir()
    (home / "publishers" / "shop.yaml").write_text(PUBLISHER)
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "PUBLISHERS_DIR": str(home / "publishers"),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_watcher.py"))],
        env={**os.environ, **settings},
        input=json.dumps(wishes),
        capture_output=True,
        text=True,
        check=False,
    )
    log = done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, log[-6000:]
    return json.loads(lines[0].removeprefix("RESULT ")), log


def test_each_newsletter_starts_one_run_once(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copyfile(migrated_database, tmp_path / "airflow.db")
    sale, gone = newsletter("SALE"), newsletter("GONE", datetime.now(UTC) - timedelta(minutes=1))
    moved = newsletter("SALE", LATER + timedelta(hours=1))
    told = [each.announcement("shop") for each in (sale, sale, gone, newsletter("NEWS"), moved)]
    wishes = [
        wish({"newsletters": told[:1]}, paused=True),
        wish({"newsletters": told[:3]}, {"newsletters": told[3:]}, {"not": "ours"}, None),
        wish({"newsletters": told}),
    ]
    (paused, started, again), log = watch(tmp_path, *wishes)

    assert paused["states"] == {"newsletters[-1]": "success", "start[0]": "failed"}, log[-6000:]
    assert paused["runs"] == {}
    assert "campaign is paused" in log

    assert started["states"] == {"newsletters[-1]": "success", **{f"start[{n}]": "success" for n in range(3)}}
    assert set(started["runs"]) == {each.run_id("shop") for each in (sale, moved, newsletter("NEWS"))}
    conf = {"publisher": "shop", "send_at": LATER.isoformat(), "newsletter": "The SALE (SALE)"}
    assert started["runs"][sale.run_id("shop")] == {"conf": conf, "state": "queued"}
    assert "newsletter GONE was to be sent at" in log
    assert log.count("an event tells of no newsletter") == 2

    assert again["states"] == {"newsletters[-1]": "success", **{f"start[{n}]": "skipped" for n in range(3)}}
    assert again["runs"] == started["runs"]
