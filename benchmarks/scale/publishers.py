"""What each DAG file costs the DAG processor, with more and more publisher files."""

import os

from benchmarks.harness import PROJECT, Case, measure, workplace
from benchmarks.scale.curves import Point, point

TITLE = "Publishers: one reading of each DAG file"
UNIT = "publishers"
SIZES = (1, 10, 100)
QUICK = (1, 2)
PUBLISHER = """
luigisbox: {{connection: luigisbox_{number:03d}}}
audience:
  connection: warehouse
  sql: SELECT customer_id AS auth_user_id, email AS recipient FROM customers
past_transactions:
  connection: warehouse
  sql: SELECT * FROM purchases WHERE bought_at >= '{{{{ data_interval_start }}}}'
batch:
  link: https://shop.example/batches/{number:03d}.xml
  recommendation_types: {{mail-basket: 8}}
deliveries:
  - {{name: feed, kind: feed}}
  - {{name: ready, kind: asset}}
schedule:
  audience: "0 4 * * *"
  past_transactions: "0 3 * * *"
"""


def run(sizes: list[int], quick: bool) -> list[Point]:
    points = []
    files = ["recommendations.py"] if quick else sorted(path.name for path in (PROJECT / "dags").glob("*.py"))
    with workplace("scale-publishers") as folder:
        os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
        os.environ["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "600"  # what is measured is how far Airflow's 30 s reach
        parse = "benchmarks.bench_dag_parse:parse"
        for size in sizes:
            place = folder / str(size)
            place.mkdir()
            for number in range(size):
                (place / f"shop_{number:03d}.yaml").write_text(PUBLISHER.format(number=number), "utf-8")
            os.environ["PUBLISHERS_DIR"] = str(place)
            cases = {
                name: Case(parse, {"file": str(PROJECT / "dags" / name)}, imports=["airflow.sdk"]) for name in files
            }
            points += [point(name, size, measured) for name, measured in measure(cases, 1).items()]
    del os.environ["PUBLISHERS_DIR"]
    return points
