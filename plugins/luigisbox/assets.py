"""The events other DAGs can be scheduled on.

Their scheme begins with ``x-``: for any other one Airflow imports the asset modules of all providers, in each parse of
a DAG file.
"""

from airflow.sdk import Asset, AssetAlias

GROUP = "luigisbox"
RECOMMENDATIONS_READY = AssetAlias("recommendations_ready")
"""Through it a run announces the publisher's own asset; which publisher, a campaign knows only when it runs."""

RECOMMENDATIONS_LATE = AssetAlias("recommendations_late")
"""The same for a campaign that will hardly be ready in time."""


def user_set_accepted(publisher: str) -> Asset:
    """Luigi's Box has accepted a new user set of this publisher."""
    return Asset(name=f"user_set_{publisher}", uri=f"x-luigisbox://{publisher}/user_set", group=GROUP)


def recommendations_ready(publisher: str) -> Asset:
    """A fresh batch of this publisher was delivered; the event's extra holds its figures."""
    return Asset(name=f"recommendations_{publisher}", uri=f"x-luigisbox://{publisher}/recommendations", group=GROUP)


def recommendations_late(publisher: str) -> Asset:
    """A campaign of this publisher will hardly be ready by its deadline; the event's extra holds the figures."""
    return Asset(name=f"recommendations_late_{publisher}", uri=f"x-luigisbox://{publisher}/late", group=GROUP)
