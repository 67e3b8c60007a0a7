"""What every vendor client shares: connections, the session, redirects, pacing, the one retry loop, the error tree.

Nothing here knows a vendor, and nothing here imports Airflow.
"""
