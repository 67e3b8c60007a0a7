"""The asset that an accepted user set is, for the operator that confirms it and the DAGs that wait for it."""

from airflow.sdk import Asset


def user_set_accepted(publisher: str) -> Asset:
    """Luigi's Box has accepted a new user set of this publisher."""
    return Asset(name=f"user_set_{publisher}", uri=f"luigisbox://{publisher}/user_set", group="luigisbox")
