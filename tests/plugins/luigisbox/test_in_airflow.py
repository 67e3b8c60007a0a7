"""The operators inside real Airflow: uploads, a wait that defers, its button, and events; arguments are templates."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.audience import user_sets
from include.publishers.config import publishers_folder

pytestmark = pytest.mark.airflow
DAG_FILE = """
from airflow.sdk import DAG, Param
from luigisbox.assets import user_set_accepted
from luigisbox.operators import UploadTransactionsOperator, UploadUsersOperator, WaitForBatchOperator

params = {name: Param("", type="string") for name in ("run", "purchases", "deadline")}
with DAG("shop", schedule=None, params=params):
    purchases = UploadTransactionsOperator(task_id="purchases", publisher="shop", run="{{ params.purchases }}")
    upload = UploadUsersOperator(
        task_id="upload", publisher="shop", run="{{ params.run }}", outlets=[user_set_accepted("shop")]
    )
    user_set = "{{ ti.xcom_pull('upload')['user_set'] }}"
    wait = WaitForBatchOperator(task_id="wait", publisher="shop", user_set=user_set, deadline="{{ params.deadline }}")
    purchases >> upload >> wait
"""


@pytest.fixture
def run_of_purchases(shop: Any) -> Any:
    """A run of purchases that was built, of a publisher who sends them."""
    from include.extract import write_rows
    from include.publishers.config import load_publisher
    from include.transactions.build import build_transactions

    file = publishers_folder() / "shop.yaml"
    file.write_text(f"{file.read_text()}\npast_transactions: {{connection: none, sql: SELECT 1}}\n")
    folder = shop.root / "shop" / "transactions" / "one"
    today = datetime.now(UTC).isoformat()
    rows = [(f"in airflow {n // 2}", f"p{n}", f"u{n // 2 % 3 + 1}", today) for n in range(40)]
    names = ("session_id", "identity", "user_id", "created_at")
    write_rows([rows], names, names, [], folder / "raw", 0)
    settings = load_publisher("shop").past_transactions
    assert settings
    build_transactions(folder, settings)
    return folder


def test_from_upload_to_batch(shop: Any, run_of_purchases: Any, airflow_database: Path) -> None:
    run = shop.audience("one", "u1", "u2", "u3")
    deadline = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    folder = airflow_database.parent / "dags"
    folder.mkdir(exist_ok=True)
    (folder / "shop.py").write_text(DAG_FILE)
    bag = DagBag(folder)
    assert bag.import_errors == {}
    publisher = threading.Timer(0, _publish_when_asked, [shop])
    publisher.start()
    conf = {"run": run.as_uri(), "purchases": run_of_purchases.as_uri(), "deadline": deadline}
    dag_run = bag.dags["shop"].test(run_conf=conf)
    publisher.join()
    tasks = {task.task_id: task for task in dag_run.get_task_instances()}
    assert {name: str(task.state) for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    batch = tasks["wait"].xcom_pull(task_ids="wait")
    live = user_sets.live(shop.root, "shop")
    assert live is not None
    assert (batch["outcome"], batch["user_set"], batch["users"]) == ("fresh", live.name, 3)
    assert tasks["wait"].xcom_pull(task_ids="wait", key="_link_ResultLink") == shop.box.link
    assert _events() == [{"user_set": live.name, "rows": 3}]


def _publish_when_asked(shop: Any) -> None:
    """The vendor is slow: the first look finds nothing."""
    for _ in range(600):
        if any(entry["method"] == "GET" for entry in shop.box.requests()):
            break
        threading.Event().wait(0.05)
    shop.box.publish()


def _events() -> list[dict[str, Any]]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        return [
            {key: event.extra[key] for key in ("user_set", "rows")}
            for event in session.query(AssetEvent)
            if event.asset.name == "user_set_shop"
        ]
