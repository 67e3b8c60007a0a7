"""Pools of the tasks that talk to a newsletter platform: all readers and writers of an account share its quota."""

from collections.abc import Iterable

from include.publishers.models import Publisher

EVERYBODY = "default_pool"
PLATFORMS = ("smartemailing", "klaviyo")
"""Those with a pool of their own; of a DAG that may talk to both, the narrower one, which is the first, counts."""


def pull_pool(publishers: Iterable[Publisher]) -> str:
    """The pool of the pulls of a DAG that serves these publishers."""
    return _pool({publisher.audience.kind for publisher in publishers})


def write_pool(publishers: Iterable[Publisher]) -> str:
    """The pool of the write-backs of a DAG that serves these publishers."""
    return _pool({delivery.kind for publisher in publishers for delivery in publisher.deliveries})


def _pool(kinds: set[str]) -> str:
    return next((platform for platform in PLATFORMS if platform in kinds), EVERYBODY)
