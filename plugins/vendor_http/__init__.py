"""What every vendor client shares: the error tree, the session, time limits, redirects and the one retry loop.

Nothing here knows a vendor, and nothing here imports Airflow.
"""
