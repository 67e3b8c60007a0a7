"""The warehouse through any Airflow connection whose hook is a DbApiHook: pulling from it, loading into it."""
