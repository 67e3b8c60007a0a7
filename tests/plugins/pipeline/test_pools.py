"""A task that talks to a platform takes the platform's pool; of several the narrower one."""

from typing import Any

import pytest

from include.publishers.models import Publisher
from pipeline.pools import pull_pool, write_pool

WAREHOUSE: dict[str, Any] = {"connection": "w", "sql": "SELECT 1"}
KLAVIYO: dict[str, Any] = {"kind": "klaviyo", "recipient": "email"}
SMARTEMAILING: dict[str, Any] = {"kind": "smartemailing", "id": "email"}
FEED: dict[str, Any] = {"name": "feed", "kind": "feed"}
PROFILES: dict[str, Any] = {"name": "profiles", "kind": "klaviyo", "identify_by": "email"}
CONTACTS: dict[str, Any] = {"name": "contacts", "kind": "smartemailing", "fields": {"a": 1}}


def publisher(audience: dict[str, Any], *deliveries: dict[str, Any]) -> Publisher:
    batch = {"link": "https://example.com/a.xml"}
    return Publisher(name="shop", audience=audience, batch=batch, deliveries=list(deliveries) or [FEED])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("publishers", "pulls", "writes"),
    [
        ([], "default_pool", "default_pool"),
        ([publisher(WAREHOUSE)], "default_pool", "default_pool"),
        ([publisher(KLAVIYO)], "klaviyo", "default_pool"),
        ([publisher(WAREHOUSE, FEED, PROFILES)], "default_pool", "klaviyo"),
        ([publisher(SMARTEMAILING, CONTACTS), publisher(KLAVIYO, PROFILES)], "smartemailing", "smartemailing"),
    ],
    ids=["none", "warehouse", "pull", "write", "both"],
)
def test_pools(publishers: list[Publisher], pulls: str, writes: str) -> None:
    assert (pull_pool(publishers), write_pool(publishers)) == (pulls, writes)
