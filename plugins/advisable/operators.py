"""The operators: interactions of one source, each sent once, and transfers from guests to customers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from advisable.hooks import AdvisableHook
from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.staging import to_path
from luigisbox.retries import RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from advisable.client import Client
    from include.publishers.senders import Interactions


class _SendOperator(BaseOperator):
    """What both share: the publisher's settings, its connection, and who sends."""

    template_fields: Sequence[str] = ("publisher", "run")
    ui_color = "#e6e4f4"

    def __init__(self, *, publisher: str, run: str, **options: Any) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, "multiple_outputs": True, **options})
        self.publisher = publisher
        self.run = run

    def execute(self, context: "Context") -> dict[str, Any]:
        """Send the run; gives the figures."""
        settings = self._settings()
        by = f"{context['ti'].dag_id}/{context['ti'].task_id} {context['run_id']}"
        hook = AdvisableHook(settings.connection, requests_per_second=settings.requests_per_second)
        with hook.client as client:
            return self._send(client, settings, by)

    def _send(self, client: "Client", settings: "Interactions", by: str) -> dict[str, Any]:
        raise NotImplementedError

    def _settings(self) -> "Interactions":
        settings = load_publisher(self.publisher).interactions
        if settings is None:
            raise ConfigError(f"publisher {self.publisher}: interactions is missing in its file")
        return settings


class SendInteractionsOperator(_SendOperator):
    """Send the interactions that ``include.interactions.build`` staged: purchases in batches, others one by one.

    What the ledger knows as sent is not sent again. Returns ``{"sent", "already_sent", "changed", "refused", "unknown",
    "requests", "seconds"}``, counts of interactions. Concurrency and pace are those of the publisher's file.

    Args:
        publisher: name of the publisher file. Templated.
        run: URI of the folder of the run's source. Templated.
    """

    def _send(self, client: "Client", settings: "Interactions", by: str) -> dict[str, Any]:
        from advisable.sending import send_units
        from ledgers import open_ledger

        return send_units(client, open_ledger(), self.publisher, to_path(self.run), settings, by)


class TransferInteractionsOperator(_SendOperator):
    """Send the transfers that ``include.interactions.transfers`` staged: guests who became customers, one by one.

    What a guest did moves to the customer, or the guest gets the customer's id (``how`` of the publisher's file). All
    pairs of the run are sent; repeating one does no harm.
    Returns ``{"sent", "absent", "refused", "unknown", "requests", "seconds"}``, counts of transfers; ``absent`` are
    guests whom the vendor does not know.

    Args:
        publisher: name of the publisher file. Templated.
        run: URI of the folder of the run's transfers. Templated.
    """

    def _send(self, client: "Client", settings: "Interactions", by: str) -> dict[str, Any]:
        from advisable.transfers import send_transfers

        return send_transfers(client, to_path(self.run), settings, by)
