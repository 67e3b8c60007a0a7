"""The pipeline itself: plain Python over files, Arrow and SQL. Nothing here imports Airflow or ``plugins/``."""
