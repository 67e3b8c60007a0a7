"""What the installed distribution tells Airflow of itself: connection types, their forms, extra links."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider description, as Airflow's schema for it wants."""
    return {
        "package-name": "luigisbox-newsletter-airflow",
        "name": "Luigi's Box newsletter recommendations",
        "description": "Audiences in, validated uploads, batches out.",
    }
