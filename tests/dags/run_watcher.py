"""Run a campaign watcher through ``dag.test()`` on events as a trigger leaves them, and print the runs it started.

Called as ``python run_watcher.py``; on standard input comes a JSON list of ``{"dag", "asset", "payloads", "paused"}``.
"""

import json
import sys
from typing import Any


def main() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    sync()
    give_events_to_tested_runs()
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    results = []
    for wish in json.load(sys.stdin):
        announce(wish["asset"], wish["payloads"], wish["paused"])
        results.append({"states": run(bag.dags[wish["dag"]]), "runs": campaign_runs()})
    sys.stdout.write("RESULT " + json.dumps(results) + "\n")


def sync() -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)


def announce(name: str, payloads: list[Any], paused: bool) -> None:
    """Leave events as ``Trigger.submit_event`` does."""
    from airflow.assets.manager import AssetManager
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    with create_session() as session:
        session.execute(delete(AssetEvent))
        for dag in session.scalars(select(DagModel)):
            dag.is_paused = paused and dag.dag_id == "campaign"
        asset = session.scalars(select(AssetModel).where(AssetModel.name == name)).one()
        for payload in payloads:
            extra = {"from_trigger": True, "payload": payload}
            AssetManager.register_asset_change(asset=asset.to_serialized(), extra=extra, session=session)


def give_events_to_tested_runs() -> None:
    """The scheduler attaches events to the runs it makes; ``dag.test()`` does not."""
    import airflow.models.dagrun
    from airflow.models.asset import AssetEvent
    from sqlalchemy import select

    make = airflow.models.dagrun.get_or_create_dagrun

    def make_with_events(*, session: Any, **named: Any) -> Any:
        made = make(session=session, **named)
        made.consumed_asset_events.extend(session.scalars(select(AssetEvent)))
        session.commit()
        return made

    airflow.models.dagrun.get_or_create_dagrun = make_with_events


def run(dag: Any) -> dict[str, str]:
    done = dag.test()
    return {f"{task.task_id}[{task.map_index}]": task.state for task in done.get_task_instances()}


def campaign_runs() -> dict[str, Any]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        runs = session.scalars(select(DagRun).where(DagRun.dag_id == "campaign"))
        return {each.run_id: {"conf": each.conf, "state": each.state} for each in runs}


if __name__ == "__main__":
    main()
