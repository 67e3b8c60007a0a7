"""One operator for every source of an audience, so that a DAG's shape does not depend on its publisher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from include.errors import ConfigError
from include.publishers.audiences import KlaviyoAudience, SmartEmailingAudience
from include.publishers.config import load_publisher
from luigisbox.retries import RETRY_POLICY
from warehouse.operators import PullAudienceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.audience.pages import Record
    from include.audience.sources import Source
    from warehouse.operators import Pulled
    from warehouse.queries import Partition


class PullOperator(PullAudienceOperator):
    """Pull one item of ``split``: a partition of a query, a list in a file, or a source of a newsletter platform.

    A platform's pages are staged with their cursor; a retry goes on where the try before stopped.

    Args:
        partition: the item (mapped); one with the key ``source`` is a platform's.
    """

    def __init__(self, *, partition: Mapping[str, Any], **kwargs: Any) -> None:
        options = {"retry_policy": RETRY_POLICY, **kwargs}
        super().__init__(partition=cast("Partition", partition), **options)

    def execute(self, context: Context) -> Pulled:
        """Pull.

        Raises:
            ConfigError: connection, query or partitioning are not set up rightly.
            BadInput: the columns of a query are not those wanted.
            VendorError: what the platform answered at last; what came is staged.
        """
        item = cast("Mapping[str, Any]", self.partition)
        context["what"] = str(item.get("source", f"part {item['index']}"))  # type: ignore[typeddict-unknown-key]
        if "source" not in item:
            return super().execute(context)
        record = self._pull(cast("Source", item))
        return {"uri": self.run_folder, "part": item["index"], "rows": record["rows"], "refused": 0}

    def _pull(self, item: Source) -> Record:
        audience, run = load_publisher(self.publisher).audience, self._run()
        if isinstance(audience, KlaviyoAudience):
            from klaviyo.hooks import KlaviyoHook
            from klaviyo.pull import pull as pull_klaviyo

            with KlaviyoHook(audience.connection).client as klaviyo:
                return pull_klaviyo(klaviyo, audience, item, run)
        if isinstance(audience, SmartEmailingAudience):
            from smartemailing.hooks import SmartEmailingHook
            from smartemailing.pull import pull as pull_smartemailing

            with SmartEmailingHook(audience.connection).client as smartemailing:
                return pull_smartemailing(smartemailing, audience, item, run)
        raise ConfigError(
            f"publisher {self.publisher}: audience.kind is {audience.kind} now, but this run was split for a "
            "newsletter platform. Clear `plan` and what follows it."
        )
