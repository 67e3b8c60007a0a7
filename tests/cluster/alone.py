"""The same runs on one machine, one after the other, with a folder as store.

Called as ``python alone.py``, with what is to be run as JSON on standard input: prints the states of the runs after
``RESULT``. A run's id is the given one, since folders are called after it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def alone(folder: Path, wishes: list[dict[str, Any]]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Begin the runs in a process of its own; gives what waits for their end and gives what came of them."""
    from cluster.services import drop_databases
    from include.ledger import FILE, sqlite_ledger
    from include.staging import PROJECT_ROOT
    from tests.cluster import outcome, shop

    warehouse = f"newsletters_alone_{os.getpid()}"
    drop_databases([warehouse])
    shop.fill_warehouse(warehouse)
    (folder / "publishers").mkdir(parents=True)
    (folder / "publishers" / "demo.yaml").write_text(shop.PUBLISHER)
    with shop.vendors(folder) as port:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "PUBLISHERS_DIR": str(folder / "publishers"),
            "STAGING_URI": (folder / "staging").as_uri(),
            **shop.connections("127.0.0.1", port, warehouse),
        }
        log = folder / "alone.log"
        with log.open("w") as output:
            command = [sys.executable, __file__]
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output)
        assert process.stdin
        process.stdin.write(json.dumps(wishes).encode())
        process.stdin.close()

        def result() -> dict[str, Any]:
            process.wait(600)
            (line,) = [line for line in log.read_text().splitlines() if line.startswith("RESULT ")] or [log.read_text()]
            states = json.loads(line.removeprefix("RESULT "))
            assert set(states.values()) == {"success"}, states
            return {
                "files": outcome.of_folder(folder / "staging"),
                "ledger": outcome.figures(sqlite_ledger(folder / "staging" / FILE)),
                "received": shop.received(port, folder),
                "rows": shop.delivered_rows(warehouse),
            }

        try:
            yield result
        finally:
            process.kill()
            process.wait()
            drop_databases([warehouse])


def main() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.db import initdb

    initdb()
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    outcomes = {}
    for wish in json.load(sys.stdin):
        DagRun.generate_run_id = staticmethod(lambda wish=wish, **_: wish["run_id"])  # type: ignore[method-assign]
        done = bag.dags[wish["dag"]].test(logical_date=None, run_conf=wish["conf"])
        outcomes[wish["run_id"]] = done.state
    sys.stdout.write("\nRESULT " + json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    main()
