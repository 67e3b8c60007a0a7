"""The steps of the pipeline as Airflow tasks and task groups. No data passes between them, only references."""
