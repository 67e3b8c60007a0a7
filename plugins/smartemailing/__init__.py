"""SmartEmailing: contacts read page by page, custom fields written by import, newsletters looked at.

Airflow is needed by ``hooks`` alone; everything else is plain Python over HTTP.
"""
