"""What our DAG files cost Airflow's DAG processor, against a file with an empty DAG.

Measured in a fresh interpreter that has ``airflow.sdk`` already, as Airflow's own processes have: loading the parser
and parsing one file with it. The note says how many milliseconds that is beyond the empty file.
"""

import os
from pathlib import Path

from benchmarks.harness import PROJECT, Case, Measurement, Row, at_most, measure, workplace

MOST = 1.3
EMPTY = """
from airflow.sdk import dag


@dag()
def empty() -> None:
    pass


empty()
"""


def run(quick: bool) -> list[Row]:
    with workplace("dag_parse") as folder:
        os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
        empty = folder / "empty.py"
        empty.write_text(EMPTY, "utf-8")
        files = {path.name: path for path in sorted((PROJECT / "dags").glob("*.py"))}
        cases = {
            name: Case("benchmarks.bench_dag_parse:parse", {"file": str(path)}, imports=["airflow.sdk"])
            for name, path in {"empty.py": empty, **files}.items()
        }
        measure(cases, 1)  # byte code and Airflow's home are made once
        found = measure(cases, 1 if quick else 9)
    peer = found.pop("empty.py")
    return [
        at_most(f"parse dags/{name}", ours, "empty DAG file", peer, MOST, _note(ours, peer))
        for name, ours in found.items()
    ]


def _note(ours: Measurement, peer: Measurement) -> str:
    return f"{(ours.seconds - peer.seconds) * 1000:+.0f} ms, {ours.result} DAGs"


def parse(file: str) -> int:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(Path(file))
    if bag.import_errors:
        raise SystemExit(f"{file}: {bag.import_errors}")
    return len(bag.dags)
