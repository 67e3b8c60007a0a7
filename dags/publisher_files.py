"""No DAG: it raises what is wrong in any publisher file, so that Airflow's UI shows it as an import error.

The DAG files leave out a publisher whose file has a mistake and keep those of the others.
"""

from include.publishers.config import check_publishers

check_publishers()
