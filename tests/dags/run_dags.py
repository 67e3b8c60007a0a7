"""Run DAGs one after the other through ``dag.test()`` in a process of their own, and print what became of their tasks.

Called as ``python run_dags.py``; a JSON list of ``{"dag", "logical_date", "conf"}`` comes on standard input.
"""

import json
import sys
from datetime import datetime
from typing import Any


def main() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    sys.stdout.write("RESULT " + json.dumps([run(bag.dags[wish["dag"]], wish) for wish in json.load(sys.stdin)]) + "\n")


def run(dag: Any, wish: dict[str, Any]) -> dict[str, Any]:
    date = wish.get("logical_date")
    done = dag.test(logical_date=datetime.fromisoformat(date) if date else None, run_conf=wish.get("conf"))
    tasks = done.get_task_instances()
    return {
        "state": done.state,
        "run_id": done.run_id,
        "tasks": {f"{task.task_id}[{task.map_index}]": task.state for task in tasks},
        "results": {
            f"{task.task_id}[{task.map_index}]": task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index)
            for task in tasks
        },
    }


if __name__ == "__main__":
    main()
