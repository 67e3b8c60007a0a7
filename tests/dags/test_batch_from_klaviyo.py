"""A shop whose customers and recommendations both lie in Klaviyo: its two DAGs, in a real Airflow database."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests

from include.sandbox.fill import fill_klaviyo
from include.sandbox.server import running
from include.staging import PROJECT_ROOT

PROFILES = 300
PUBLISHER = """
luigisbox: {connection: none, upload_users: false}
audience: {kind: klaviyo, connection: shop_klaviyo, segments: [SEGM01]}
guard: {refuse_reject_percent: 60, hold_reject_percent: 60}
batch:
  from: klaviyo
  connection: shop_klaviyo
  poll_seconds: 0.5
  deadline_minutes: 2
  sample: 20
  parts: 2
  recommendation_types: {mail-basket: 3}
deliveries: [{name: feed, kind: feed}]
"""


def test_audience_and_recommendations_come_from_klaviyo(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copyfile(migrated_database, tmp_path / "airflow.db")
    with running(tmp_path / "sandbox", klaviyo_burst=100_000, klaviyo_steady=1_000_000) as sandbox:
        fill_klaviyo(tmp_path / "sandbox", PROFILES)
        environment = _environment(tmp_path, sandbox.url)
        publishing = threading.Thread(target=_publish_after_the_first_look, args=(tmp_path, sandbox.url))
        publishing.start()
        audience, recommendations = _run(environment, "audience__shop", "recommendations__shop")
        publishing.join()
        uploads = requests.get(f"{sandbox.url}/_sandbox/requests", timeout=10).json()
    assert audience["state"] == "success", audience
    assert recommendations["state"] == "success", recommendations
    built, report = audience["results"]["audience.build[-1]"], recommendations["results"]["recommendations.report[-1]"]
    assert built["extracted"] == built["uploaded"] + built["rejected"] + built["duplicates"]
    assert not [entry for entry in uploads if entry["path"].endswith("/users")], "nothing goes to Luigi's Box"
    assert report["outcome"] == "fresh"
    assert report["uploaded"] == built["uploaded"] == report["personalised"] + report["absent"]
    assert report["personalised"] > 0 < report["absent"]
    folder = tmp_path / "staging" / "shop" / "deliveries" / f"{report['batch'][:12]}-for-{report['user_set']}" / "feed"
    lines = [json.loads(line) for part in folder.glob("part-*.jsonl") for line in part.read_text().splitlines()]
    assert len({line["recipient"] for line in lines}) == len(lines) == built["uploaded"]


def _publish_after_the_first_look(home: Path, url: str) -> None:
    """Recommendations that are there before the first look would be taken for old ones."""
    until = time.monotonic() + 240
    while not list(home.glob("staging/shop/samples/[!.]*.json")) and time.monotonic() < until:
        time.sleep(0.1)
    requests.post(f"{url}/_sandbox/klaviyo/publish", json={"types": {"mail-basket": 3}}, timeout=10).raise_for_status()


def _environment(home: Path, url: str) -> dict[str, str]:
    (home / "publishers").mkdir()
    (home / "publishers" / "shop.yaml").write_text(PUBLISHER)
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "PUBLISHERS_DIR": str(home / "publishers"),
        "STAGING_URI": (home / "staging").as_uri(),
        "AIRFLOW_CONN_SHOP_KLAVIYO": json.dumps({"conn_type": "klaviyo", "host": url, "password": "pk_sandbox"}),
    }


def _run(environment: dict[str, str], *dags: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_dags.py"))],
        env=environment,
        input=json.dumps([{"dag": dag} for dag in dags]),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, (done.stdout + done.stderr)[-6000:]
    results: list[dict[str, Any]] = json.loads(lines[0].removeprefix("RESULT "))
    return results
