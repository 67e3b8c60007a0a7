"""One operator for every source of an audience, so that a DAG's shape does not depend on its publisher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from include.errors import ConfigError
from include.publishers.audiences import KlaviyoAudience, SmartEmailingAudience
from include.publishers.config import load_publisher
from luigisbox.retries import RETRY_POLICY
from warehouse.operators import PullAudienceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.audience.pages import Record
    from include.audience.sources import Source, Turn
    from warehouse.operators import Pulled
    from warehouse.queries import Partition


class PullOperator(PullAudienceOperator):
    """Pull one item of ``split``: a partition of a query, a list in a file, or sources of a newsletter platform.

    A platform's pages are staged with their cursor; a retry goes on where the try before stopped.

    Args:
        partition: the item (mapped); one with the key ``sources`` is a platform's.
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
        context["what"] = _what(item)  # type: ignore[typeddict-unknown-key]
        if "sources" not in item:
            return super().execute(context)
        records = self._pull(cast("Turn", item))
        rows = sum(record["rows"] for record in records)
        return {"uri": self.run_folder, "part": item["index"], "rows": rows, "refused": 0}

    def _pull(self, turn: Turn) -> list[Record]:
        from include.audience.pages import Done

        done, records = Done(self._run(), turn), []
        with self._reader() as pull:
            for source in turn["sources"]:
                record = done.record(source)
                if record:
                    self.log.info("%s was read to its end by an earlier try", source["source"])
                records.append(record or pull(source))
        done.close(records)
        return records

    @contextmanager
    def _reader(self) -> Iterator[Callable[[Source], Record]]:
        """Reads a source of the publisher's platform."""
        audience, run = load_publisher(self.publisher).audience, self._run()
        if isinstance(audience, KlaviyoAudience):
            from klaviyo.hooks import KlaviyoHook
            from klaviyo.pull import pull as pull_klaviyo

            with KlaviyoHook(audience.connection).client as klaviyo:
                yield lambda source: pull_klaviyo(klaviyo, audience, source, run)
        elif isinstance(audience, SmartEmailingAudience):
            from smartemailing.hooks import SmartEmailingHook
            from smartemailing.pull import pull as pull_smartemailing

            with SmartEmailingHook(audience.connection).client as smartemailing:
                yield lambda source: pull_smartemailing(smartemailing, audience, source, run)
        else:
            raise ConfigError(
                f"publisher {self.publisher}: audience.kind is {audience.kind} now, but this run was split for a "
                "newsletter platform. Clear `plan` and what follows it."
            )


def _what(item: Mapping[str, Any]) -> str:
    """The item's name in Airflow's list of mapped tasks."""
    if "sources" not in item:
        return f"part {item['index']}"
    return ", ".join(source["source"] for source in item["sources"])
